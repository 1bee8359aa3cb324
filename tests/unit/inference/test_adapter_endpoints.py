"""What a base URL means."""

import pytest

from flotilla.inference.adapters.endpoints import anthropic_url, ollama_url, openai_url


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, "http://127.0.0.1:11434"),
        ("", "http://127.0.0.1:11434"),
        ("gpu-1", "http://gpu-1:11434"),
        ("gpu-1:8080", "http://gpu-1:8080"),
        ("0.0.0.0", "http://127.0.0.1:11434"),  # noqa: S104 - an address to connect to, not to bind
        ("0.0.0.0:8080", "http://127.0.0.1:8080"),
        ("[::1]", "http://[::1]:11434"),
        ("http://gpu-1", "http://gpu-1"),
        ("https://gpu-1/", "https://gpu-1"),
        ("http://gpu-1:11434/v1/", "http://gpu-1:11434"),
        ("http://gpu-1:11434/api", "http://gpu-1:11434"),
        ("https://proxy/ollama", "https://proxy/ollama"),
    ],
)
def test_ollamas_url(given: str | None, expected: str):
    """
    As `OLLAMA_HOST` is written, and as people paste it.
    """
    assert expected == ollama_url(given)


@pytest.mark.parametrize(
    ("given", "provider", "expected"),
    [
        (None, "openai", "https://api.openai.com/v1"),
        (None, "gemini", "https://generativelanguage.googleapis.com/v1beta/openai"),
        ("http://vllm:8000", "vllm", "http://vllm:8000/v1"),
        ("http://vllm:8000/", "vllm", "http://vllm:8000/v1"),
        ("http://vllm:8000/v1", "vllm", "http://vllm:8000/v1"),
        ("http://vllm:8000/v1/chat/completions", "vllm", "http://vllm:8000/v1"),
        ("https://openrouter.ai/api/v1/", "openrouter", "https://openrouter.ai/api/v1"),
    ],
)
def test_openais_url(given: str | None, provider: str, expected: str):
    """
    A bare host gets the usual version; a path is kept.
    """
    assert expected == openai_url(given, provider)


def test_anthropics_url():
    """
    The SDK adds the version.
    """
    assert "https://api.anthropic.com" == anthropic_url(None)
    assert "https://proxy/anthropic" == anthropic_url("https://proxy/anthropic/v1/")


@pytest.mark.parametrize("given", ["ftp://host", "host:8000", "http://", "not a url"])
def test_what_is_no_http_url_is_refused(given: str):
    """
    At the start, not at the first call.
    """
    with pytest.raises(ValueError, match="http"):
        openai_url(given, "vllm")
    with pytest.raises(ValueError, match="http"):
        anthropic_url(given)


def test_a_provider_without_a_public_endpoint_needs_a_url():
    """
    Nothing is guessed.
    """
    with pytest.raises(ValueError, match="base URL"):
        openai_url(None, "vllm")
