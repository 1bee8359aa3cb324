"""Which backend serves, by `FLOTILLA_PROVIDER`, and by whether there is a vault key."""

from typing import Final

from flotilla.contracts.errors import SettingsError
from flotilla.inference.provider_choice import serving_in
from flotilla.inference.serving import Serving
from local_inference.settings import LocalSettings

REDACTION: Final = "redaction"
"""The provider of a pool without models that redacts and restores."""


def serving_for(settings: LocalSettings) -> Serving:
    """
    Make what this worker serves.

    Raises:
        SettingsError: The provider is not known here, or lacks a setting; says which.
    """
    if settings.provider != REDACTION and not settings.has_vault_key:
        if settings.adds_to_redaction:
            raise SettingsError(
                "settings FLOTILLA_REDACTION_*: this worker does not redact; give it FLOTILLA_VAULT_KEY"
            )
        return serving_in("local", settings, context_tokens=settings.context_tokens)
    if settings.zone != "local":
        raise SettingsError("setting FLOTILLA_ZONE: this service works in the local zone")
    keys = settings.vault_keys()
    try:
        from local_inference.redaction import serving_redaction, with_redaction  # noqa: PLC0415  (an extra)
    except ImportError as error:
        raise SettingsError(
            "setting FLOTILLA_VAULT_KEY: what redacts is not here; install flotilla-local-inference[redaction], "
            "or take the image local-inference-redaction"
        ) from error
    if settings.provider == REDACTION:
        return serving_redaction(settings, keys)
    models = serving_in("local", settings, context_tokens=settings.context_tokens)
    return with_redaction(models, settings, keys)
