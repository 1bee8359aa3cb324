"""What a base URL means: people paste them with and without a scheme, a port, `/v1`, or the whole path of a call."""

import contextlib
import ipaddress
import re
from typing import Final
from urllib.parse import SplitResult, urlsplit, urlunsplit

from flotilla.contracts.providers import provider_named

OLLAMA_PORT: Final = 11434
PORT_MAX: Final = 65_535
_IPV6: Final = 6
_HOST: Final = re.compile(r"[^\s/?#@\\\x00-\x1f\x7f]{1,255}")


def ollama_url(base_url: str | None) -> str:
    """
    Where an Ollama server is, without a slash at the end; `http://127.0.0.1:11434` by default.

    Takes what `OLLAMA_HOST` takes, in every form that Ollama reads (github.com/ollama/ollama, envconfig/config.go): a
    host, a port, both, an IPv6 address with or without brackets, a scheme, a path, blanks and quotes around it. Without
    a scheme the port is 11434, and a port that is none counts as not given. An address that a server listens on
    everywhere means this machine. The path of an API call, as people paste it, is left out.

    The package `ollama` has a private function for it (`_parse_host`, 0.6.3), which fails at `::1` and at a port that is
    none, connects to `0.0.0.0`, and takes quotes into the host's name.

    Raises:
        ValueError: It is not an HTTP URL.
    """
    given = _bare(base_url or "")
    scheme, separator, rest = given.partition("://")
    if not separator:
        scheme, rest = ("https", "ollama.com") if given == "ollama.com" else ("http", given)
    scheme = scheme.lower()
    authority, _, path = rest.partition("/")
    login, at, hostport = authority.rpartition("@")
    host, port = _host_and_port(hostport)
    port = port or ("" if separator or scheme == "https" else str(OLLAMA_PORT))
    url = f"{scheme}://{login}{at}{host}" + (f":{port}" if port else "") + (f"/{path}" if path else "")
    return _without(_checked(url), "/api/chat", "/v1/chat/completions", "/api", "/v1")


def _host_and_port(given: str) -> tuple[str, str]:
    """The host, as it stands in a URL, and the port, "" when there is none or it is none."""
    host, port = given, ""
    if given.startswith("["):
        host, _, after = given[1:].partition("]")
        port = after.removeprefix(":")
    elif given.count(":") == 1:
        host, _, port = given.partition(":")
    with contextlib.suppress(ValueError):
        address = ipaddress.ip_address(host)
        if address.is_unspecified:
            host = "::1" if address.version == _IPV6 else "127.0.0.1"
    if ":" in host:
        host = f"[{host}]"
    known = port.isascii() and port.isdigit() and len(port) <= len(str(PORT_MAX)) and int(port) <= PORT_MAX
    return host or "127.0.0.1", port if known else ""


def openai_url(base_url: str | None, provider: str) -> str:
    """
    The base of an OpenAI-compatible API, without a slash at the end.

    A URL without a path gets `/v1`, as OpenAI, vLLM, llama.cpp and LM Studio have it; one with a path is kept.

    Raises:
        ValueError: It is not an HTTP URL, or there is none and `provider` has no public one.
    """
    given = base_url or _public_url(provider)
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
    return _without(_checked(base_url or _public_url("anthropic")), "/v1/messages", "/v1")


def _public_url(provider: str) -> str:
    """The address of its public API; "" when it has none."""
    known = provider_named(provider)
    return "" if known is None else known.url


def _checked(url: str) -> str:
    parts = _split(_bare(url))
    if parts is None:
        raise ValueError("a base URL looks like http://host:port or https://host/path")
    return urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/"), "", ""))


def _split(url: str) -> SplitResult | None:
    """The parts of an HTTP URL; None when it is none."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # ValueError when it is no port
    except ValueError:
        return None
    is_one = parts.scheme in {"http", "https"} and _HOST.fullmatch(parts.hostname or "")
    return parts if is_one else None


def _bare(given: str) -> str:
    """Without the blanks and the quotes that come with what is pasted into a file of settings."""
    return given.strip().strip("\"'").strip()


def _without(url: str, *endings: str) -> str:
    for ending in endings:
        if url.endswith(ending):
            return url.removesuffix(ending).rstrip("/")
    return url
