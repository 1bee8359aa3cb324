"""What a local worker can be told."""

from typing import ClassVar

from flotilla.inference.settings import WorkerSettings


class LocalSettings(WorkerSettings, frozen=True, kw_only=True):
    """
    Settings of a local worker.

    Attributes:
        ollama_host: `OLLAMA_HOST`: the Ollama server, as Ollama's own tools read it.
        openai_base_url: `OPENAI_BASE_URL`: of an OpenAI-compatible server of one's own (vLLM, llama.cpp).
        openai_api_key: `OPENAI_API_KEY`: if that server wants one.
        context_tokens: `FLOTILLA_CONTEXT_TOKENS`: the context with which Ollama loads models.
    """

    __foreign__: ClassVar[dict[str, str]] = {
        "ollama_host": "OLLAMA_HOST",
        "openai_base_url": "OPENAI_BASE_URL",
        "openai_api_key": "OPENAI_API_KEY",
    }

    ollama_host: str | None = None
    openai_base_url: str | None = None
    openai_api_key: str | None = None
    context_tokens: int | None = None
