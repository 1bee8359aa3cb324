"""Which backend serves, by `FLOTILLA_PROVIDER`."""

from flotilla.inference.provider_choice import serving_in
from flotilla.inference.serving import Serving
from local_inference.settings import LocalSettings


def serving_for(settings: LocalSettings) -> Serving:
    """
    Make what this worker serves.

    Raises:
        SettingsError: The provider is not known here, or lacks a setting; says which.
    """
    return serving_in("local", settings, context_tokens=settings.context_tokens)
