"""Which backend serves, by `FLOTILLA_PROVIDER`."""

from cloud_inference.settings import CloudSettings
from flotilla.inference.provider_choice import serving_in
from flotilla.inference.serving import Serving


def serving_for(settings: CloudSettings) -> Serving:
    """
    Make what this worker serves.

    Raises:
        SettingsError: The provider is not known here, or lacks its key; says which.
    """
    return serving_in("cloud", settings)
