"""Which backend serves, by `FLOTILLA_PROVIDER`. SDKs are imported only when they are chosen."""

from cloud_inference.settings import CloudSettings
from flotilla.contracts.errors import SettingsError
from flotilla.inference.backend import Model
from flotilla.inference.engines.choice import ENGINES, serving_engine
from flotilla.inference.models import serving_model
from flotilla.inference.serving import Serving

PROVIDERS = ("anthropic", "openai", "gemini")


def serving_for(settings: CloudSettings) -> Serving:
    """
    Make what this worker serves.

    Raises:
        SettingsError: The provider is not known here, or lacks its key; says which.
    """
    if settings.zone != "cloud":
        raise SettingsError("setting FLOTILLA_ZONE: this service works in the cloud zone")
    if settings.provider in ENGINES:
        return serving_engine(settings)
    return serving_model(settings, _model(settings))


def _model(settings: CloudSettings) -> Model:
    try:
        match settings.provider:
            case "anthropic":
                from flotilla.inference.adapters.anthropic_messages import AnthropicMessages  # noqa: PLC0415

                return AnthropicMessages(
                    api_key=_key("ANTHROPIC_API_KEY", settings.anthropic_api_key),
                    base_url=settings.anthropic_base_url,
                    egress=settings.egress(),
                    connections_max=settings.slots,
                )
            case "openai":
                from flotilla.inference.adapters.openai_chat import OpenAIChat  # noqa: PLC0415

                return OpenAIChat(
                    api_key=_key("OPENAI_API_KEY", settings.openai_api_key),
                    base_url=settings.openai_base_url,
                    egress=settings.egress(),
                    connections_max=settings.slots,
                )
            case "gemini":
                from flotilla.inference.adapters.openai_chat import OpenAIChat  # noqa: PLC0415

                return OpenAIChat(
                    api_key=_key("GEMINI_API_KEY", settings.gemini_api_key),
                    base_url=settings.openai_base_url,
                    provider="gemini",
                    egress=settings.egress(),
                    connections_max=settings.slots,
                )
            case _:
                known = ", ".join((*ENGINES, *PROVIDERS))
                raise SettingsError(f"setting FLOTILLA_PROVIDER: expected one of {known}")
    except ValueError as error:
        raise SettingsError(f"the {settings.provider} API: {error}") from error


def _key(name: str, value: str | None) -> str:
    if not value:
        raise SettingsError(f"setting {name} is missing")
    return value
