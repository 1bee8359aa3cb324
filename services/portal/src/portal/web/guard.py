"""
What stands before every answer: the name that the browser used, where a changing request came from, and the headers that
keep a page from being framed, sniffed, cached or scripted by others.

The name is looked at against DNS rebinding: a page of somebody else's whose name suddenly leads to 127.0.0.1 has the
browser send that name.
"""

import re
from collections.abc import Iterable
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from portal.web.errors import RefusedError, error_response

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
SECURITY_HEADERS: Final[tuple[tuple[bytes, bytes], ...]] = tuple(
    (name.encode(), value.encode())
    for name, value in {
        "content-security-policy": CONTENT_SECURITY_POLICY,
        "x-frame-options": "DENY",
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    }.items()
)
NOT_STORED: Final = (b"cache-control", b"no-store")
ONLY_HTTPS: Final = (b"strict-transport-security", b"max-age=31536000")
SAFE_METHODS: Final = ("GET", "HEAD")
_HOST: Final = re.compile(r"(?:\[(?P<address>[^\[\]]+)\]|(?P<name>[^:\[\]]+))(?::[0-9]{1,5})?")


class Guard:
    """Wraps the whole application."""

    def __init__(self, app: ASGIApp, *, names: Iterable[str], https: bool) -> None:
        """
        Guard an application.

        Args:
            app: What answers.
            names: Host names that browsers may use, in lower case and without a port.
            https: Whether browsers come by HTTPS.
        """
        self._app = app
        self._names: Final = frozenset(names)
        self._scheme: Final = "https" if https else "http"
        self._headers: Final = (*SECURITY_HEADERS, ONLY_HTTPS) if https else SECURITY_HEADERS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name for name, _ in message["headers"]}
                own = self._headers if b"cache-control" in given else (*self._headers, NOT_STORED)
                message["headers"] = [*message["headers"], *own]
            await send(message)

        refusal = self._refusal(scope)
        if refusal is None:
            await self._app(scope, receive, guarded)
        else:
            await error_response(refusal)(scope, receive, guarded)

    def _refusal(self, scope: Scope) -> RefusedError | None:
        given: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            given.setdefault(name, []).append(value)
        hosts = given.get(b"host", [])
        host = hosts[0].decode("latin-1").lower() if len(hosts) == 1 else ""
        if name_of(host) not in self._names:
            return RefusedError(403, "wrong_host", "This portal is not known by the name that was asked for")
        if scope["method"] in SAFE_METHODS:
            return None
        origins = given.get(b"origin", [])
        sites = given.get(b"sec-fetch-site", [])
        same = f"{self._scheme}://{host}".encode("latin-1")
        if any(origin.lower() != same for origin in origins) or any(site != b"same-origin" for site in sites):
            return RefusedError(403, "wrong_origin", "Changes are taken from the portal's own page only")
        return None


def name_of(host: str) -> str:
    """The name in a Host header, without its port and the brackets of an IPv6 address; empty for what is not of this form."""
    found = _HOST.fullmatch(host)
    return "" if found is None else found["address"] or found["name"]
