"""What a cloud worker can be told."""

from typing import ClassVar

from flotilla.inference.settings import WorkerSettings


class CloudSettings(WorkerSettings, frozen=True, kw_only=True):
    """
    Settings of a cloud worker.

    Attributes:
        anthropic_api_key: `ANTHROPIC_API_KEY`.
        anthropic_base_url: `ANTHROPIC_BASE_URL`: of a gateway, instead of the public API.
        openai_api_key: `OPENAI_API_KEY`.
        openai_base_url: `OPENAI_BASE_URL`: of a gateway or a compatible provider.
        gemini_api_key: `GEMINI_API_KEY`, for Gemini's OpenAI-compatible endpoint.
    """

    __foreign__: ClassVar[dict[str, str]] = {
        "anthropic_api_key": "ANTHROPIC_API_KEY",
        "anthropic_base_url": "ANTHROPIC_BASE_URL",
        "openai_api_key": "OPENAI_API_KEY",
        "openai_base_url": "OPENAI_BASE_URL",
        "gemini_api_key": "GEMINI_API_KEY",
    }

    anthropic_api_key: str | None = None
    anthropic_base_url: str | None = None
    openai_api_key: str | None = None
    openai_base_url: str | None = None
    gemini_api_key: str | None = None
