"""What a cloud worker can be told."""

from flotilla.inference.provider_settings import settings_of


class CloudSettings(settings_of("cloud"), frozen=True, kw_only=True):
    """Settings of a cloud worker: each provider's key and base URL (`ANTHROPIC_API_KEY`, `OPENAI_BASE_URL`, ...)."""
