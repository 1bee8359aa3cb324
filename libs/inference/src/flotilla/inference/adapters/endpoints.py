"""What a base URL means: people paste them with and without a scheme, a port, `/v1`, or the whole path of a call."""

from typing import Final
from urllib.parse import urlsplit, urlunsplit

OLLAMA_PORT: Final = 11434
OPENAI_URLS: Final = {
    "openai": "https://api.openai.com/v1",
    "gemini": "https://generativelanguage.googleapis.com/v1beta/openai",
}
ANTHROPIC_URL: Final = "https://api.anthropic.com"


def ollama_url(base_url: str | None) -> str:
    """
    Where an Ollama server is, without a slash at the end; `http://127.0.0.1:11434` by default.

    Takes what `OLLAMA_HOST` takes (`gpu-1`, `gpu-1:8080`, `https://gpu-1`): 11434 is the port when there is no scheme,
    and the address of a server that listens everywhere means this machine.

    Raises:
        ValueError: It is not an HTTP URL.
    """
    given = (base_url or "127.0.0.1").strip()
    if "://" not in given:
        parts = urlsplit(f"http://{given}")
        host = parts.netloc if parts.port else f"{parts.netloc.rstrip(':')}:{OLLAMA_PORT}"
        given = urlunsplit(("http", host, parts.path, "", ""))
    url = _without(_checked(given), "/api/chat", "/v1/chat/completions", "/api", "/v1")
    return url.replace("://0.0.0.0", "://127.0.0.1", 1)


def openai_url(base_url: str | None, provider: str) -> str:
    """
    The base of an OpenAI-compatible API, without a slash at the end.

    A URL without a path gets `/v1`, as OpenAI, vLLM, llama.cpp and LM Studio have it; one with a path is kept.

    Raises:
        ValueError: It is not an HTTP URL, or there is none and `provider` has no public one.
    """
    given = base_url or OPENAI_URLS.get(provider)
    if not given:
        raise ValueError(f"provider {provider!r} needs a base URL")
    url = _without(_checked(given), "/chat/completions", "/embeddings", "/models")
    return url if urlsplit(url).path else f"{url}/v1"


def anthropic_url(base_url: str | None) -> str:
    """
    The base of Anthropic's API, without `/v1` (the SDK adds it) and without a slash at the end.

    Raises:
        ValueError: It is not an HTTP URL.
    """
    return _without(_checked(base_url or ANTHROPIC_URL), "/v1/messages", "/v1")


def _checked(url: str) -> str:
    parts = urlsplit(url.strip())
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("a base URL looks like http://host:port or https://host/path")
    return urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/"), "", ""))


def _without(url: str, *endings: str) -> str:
    for ending in endings:
        if url.endswith(ending):
            return url.removesuffix(ending).rstrip("/")
    return url
