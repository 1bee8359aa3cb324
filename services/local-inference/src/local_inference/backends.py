"""Which backend serves, by `FLOTILLA_PROVIDER`. SDKs are imported only when they are chosen."""

from flotilla.contracts.errors import SettingsError
from flotilla.inference.backend import Model
from flotilla.inference.engines.choice import ENGINES, serving_engine
from flotilla.inference.models import serving_model
from flotilla.inference.serving import Serving
from local_inference.settings import LocalSettings

COMPATIBLE = ("vllm", "llamacpp", "openai-compatible")


def serving_for(settings: LocalSettings) -> Serving:
    """
    Make what this worker serves.

    Raises:
        SettingsError: The provider is not known here, or lacks a setting; says which.
    """
    if settings.zone != "local":
        raise SettingsError("setting FLOTILLA_ZONE: this service works in the local zone")
    if settings.provider in ENGINES:
        return serving_engine(settings)
    return serving_model(settings, _model(settings))


def _model(settings: LocalSettings) -> Model:
    try:
        if settings.provider == "ollama":
            from flotilla.inference.adapters.ollama_chat import OllamaChat  # noqa: PLC0415

            return OllamaChat(
                settings.ollama_host,
                egress=settings.egress(),
                context_tokens=settings.context_tokens,
                connections_max=settings.slots,
            )
        if settings.provider in COMPATIBLE:
            from flotilla.inference.adapters.openai_chat import OpenAIChat  # noqa: PLC0415

            if not settings.openai_base_url:
                raise SettingsError(f"setting OPENAI_BASE_URL is missing: where the {settings.provider} server is")
            return OpenAIChat(
                api_key=settings.openai_api_key,
                base_url=settings.openai_base_url,
                provider=settings.provider,
                egress=settings.egress(),
                connections_max=settings.slots,
            )
    except ValueError as error:
        raise SettingsError(f"the {settings.provider} server: {error}") from error
    known = ", ".join((*ENGINES, "ollama", *COMPATIBLE))
    raise SettingsError(f"setting FLOTILLA_PROVIDER: expected one of {known}")
