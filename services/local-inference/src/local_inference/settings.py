"""What a local worker can be told."""

from flotilla.inference.provider_settings import settings_of


class LocalSettings(settings_of("local"), frozen=True, kw_only=True):
    """
    Settings of a local worker: where each provider's server is (`OLLAMA_HOST`, `OPENAI_BASE_URL`), its key if it wants one.

    Attributes:
        context_tokens: `FLOTILLA_CONTEXT_TOKENS`: the context with which Ollama loads models.
    """

    context_tokens: int | None = None
