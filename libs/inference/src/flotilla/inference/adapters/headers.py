"""
What leaves in HTTP headers: what the adapter was given, nothing that the SDKs find in the environment.

The SDKs read `OPENAI_CUSTOM_HEADERS`, `ANTHROPIC_CUSTOM_HEADERS`, `OPENAI_ORG_ID` and more from the environment even
when every argument is passed. A worker's environment is shared with whatever else its pod runs, so the last hook before
the wire keeps the headers of HTTP and of the protocol, and sets the authorization itself.
"""

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Final, Protocol

from flotilla.inference.adapters.http_bounds import ACCEPT_ENCODING

_KEPT: Final = frozenset(
    {
        "host",
        "connection",
        "accept",
        "accept-encoding",
        "content-type",
        "content-length",
        "transfer-encoding",
        "user-agent",
        "anthropic-version",
        # The SDKs recognise their own raw-response calls by it after the response has come.
        "x-stainless-raw-response",
    }
)


class Outgoing(Protocol):
    """A request of either HTTP library, before it is sent."""

    @property
    def headers(self) -> MutableMapping[str, str]:
        """Those that will be sent; names are looked up without regard to case."""
        ...


def own_headers(api_key: str | None, extra: Mapping[str, str] | None = None) -> Callable[[Outgoing], Awaitable[None]]:
    """
    A request hook that leaves only known headers, with the packings known here.

    Args:
        api_key: The bearer token.
        extra: Added as they are; checked by `extra_headers`.
    """

    async def keep(request: Outgoing) -> None:
        for name in list(request.headers):
            if name.lower() not in _KEPT:
                del request.headers[name]
        request.headers["accept-encoding"] = ACCEPT_ENCODING
        if api_key:
            request.headers["authorization"] = f"Bearer {api_key}"
        if extra:
            request.headers.update(extra)

    return keep
