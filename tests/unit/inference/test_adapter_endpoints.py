"""What a base URL means."""

import contextlib
from urllib.parse import urlsplit

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from ollama._client import _parse_host  # pyright: ignore[reportPrivateUsage]

from flotilla.inference.adapters.endpoints import anthropic_url, ollama_url, openai_url

USUAL = {"http": 80, "https": 443}


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
        (":8080", "http://127.0.0.1:8080"),
        ("http://:8080", "http://127.0.0.1:8080"),
        ("::1", "http://[::1]:11434"),
        ("::", "http://[::1]:11434"),
        ("[::]:8080", "http://[::1]:8080"),
        ("http://[::]", "http://[::1]"),
        ("fe80::1", "http://[fe80::1]:11434"),
        ("[0001:002:003:0004::1]:8080/path/", "http://[0001:002:003:0004::1]:8080/path"),
        ("gpu-1:", "http://gpu-1:11434"),
        ("gpu-1:99999", "http://gpu-1:11434"),
        ("gpu-1:port", "http://gpu-1:11434"),
        ("gpu-1/path", "http://gpu-1:11434/path"),
        (' "gpu-1:8080" ', "http://gpu-1:8080"),
        ("'http://gpu-1:8080/'", "http://gpu-1:8080"),
        ("HTTP://gpu-1:8080", "http://gpu-1:8080"),
        ("ollama.com", "https://ollama.com"),
    ],
)
def test_ollamas_url(given: str | None, expected: str):
    """
    As `OLLAMA_HOST` is written, and as people paste it.
    """
    assert expected == ollama_url(given)


@given(
    st.sampled_from(["", "http://", "https://"]),
    st.sampled_from(["", "gpu-1", "gpu.example.org", "10.0.0.7", "[::1]", "[fd00::7]", "localhost"]),
    st.one_of(st.just(""), st.integers(1, 65_535).map(lambda port: f":{port}")),
    st.sampled_from(["", "/", "/path", "/path/"]),
)
def test_an_address_means_the_server_that_it_means_to_ollamas_own_client(scheme: str, host: str, port: str, path: str):
    """
    In every form that both of them read.
    """
    written = f"{scheme}{host}{port}{path}"
    assume(host or port or not scheme)  # theirs takes `http://` for a host called `http`
    theirs = urlsplit(_parse_host(written))

    ours = urlsplit(ollama_url(written))

    assert (theirs.scheme, theirs.hostname) == (ours.scheme, ours.hostname)
    assert theirs.path.rstrip("/") == ours.path
    assert (theirs.port or USUAL[theirs.scheme]) == (ours.port or USUAL[ours.scheme])


@given(st.text(max_size=40))
def test_an_address_is_one_or_refused(written: str):
    """
    Whatever stands in the variable.
    """
    with contextlib.suppress(ValueError):
        parts = urlsplit(ollama_url(written))

        assert parts.scheme in USUAL
        assert parts.hostname
        assert parts.port != 0


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
