"""Who asks: the session of a request, and what it may do."""

import hmac
import time
from typing import Final, Literal, TypeVar

import msgspec
from msgspec import Struct
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from flotilla.contracts.decoding import UNDECODABLE, checked, safe_text
from portal.access.people import People, Person
from portal.access.proxy import Proxy
from portal.access.sessions import Session, Sessions
from portal.web.errors import RefusedError, bad_request

CSRF_HEADER: Final = "x-csrf-token"
BODY_BYTES_MAX: Final = 400 * 1024
"""A policy of 256 KiB, escaped."""

BodyT = TypeVar("BodyT")
Right = Literal["decide", "retry", "policy", "documents"]


class May(Struct, frozen=True, kw_only=True):
    """What somebody may do; the page offers nothing else."""

    decide: bool = False
    retry: bool = False
    policy: bool = False
    documents: bool = False


def may(person: Person | None) -> May:
    """What a person may; an unknown one looks."""
    if person is None:
        return May()
    admin = person.role == "admin"
    return May(
        decide=admin or person.role == "approver",
        retry=admin or person.role == "approver",
        policy=admin,
        documents=person.documents,
    )


class Doors:
    """Lets requests in, or says why not."""

    def __init__(
        self,
        people: People,
        sessions: Sessions,
        proxy: Proxy,
        *,
        open_view: bool,
        https: bool,
        has_provider: bool = False,
    ) -> None:
        """
        Decide by sessions.

        Args:
            people: Who may sign in.
            sessions: Of those who have signed in.
            proxy: What stands before the portal, and may say who somebody is.
            open_view: Whether everybody who can connect may look.
            https: Whether browsers come by HTTPS.
            has_provider: Whether an OpenID Connect provider says who somebody is; then no proxy does.
        """
        self._has_provider = has_provider
        self._people = people
        self._sessions = sessions
        self._proxy = proxy
        self._https = https
        # The prefix binds a cookie to this very host; browsers take it by HTTPS alone.
        self._cookie: Final = "__Host-flotilla-portal" if https else "flotilla-portal"
        self.open_view: Final = open_view

    def session(self, request: Request) -> Session | None:
        """The session of a request; one that a proxy's word has opened ends where the proxy does not say so any more."""
        cookie = cookie_of(request, self._cookie)
        session = None if cookie is None else self._sessions.find(cookie, now_unix_s=time.time())
        if session is None or session.person.login is None:
            return session
        if self._has_provider or session.person.login == self._proxy.login_of(request):
            return session
        return None

    def named(self, request: Request) -> Person | None:
        """Who sent a request, as the proxy says; None where it does not, or means nobody who may sign in."""
        login = self._proxy.login_of(request)
        return None if login is None else self._people.with_login(login)

    def ways(self) -> list[str]:
        """How somebody can sign in."""
        found = {"token": self._people.have_tokens, "proxy": self._proxy.signs_in, "provider": self._has_provider}
        return [way for way, is_there in found.items() if is_there]

    def way_of(self, person: Person) -> str:
        """How this person has signed in, as one of `ways`."""
        if person.token_digest is not None:
            return "token"
        return "provider" if self._has_provider else "proxy"

    def address_of(self, request: Request) -> str:
        """Where a request comes from."""
        return self._proxy.address_of(request)

    def lets_look(self, request: Request) -> bool:
        """Whether who sent this request may look now: a session ends, also while its answer is still being sent."""
        return self.open_view or self.session(request) is not None

    def viewer(self, request: Request) -> Session | None:
        """
        Let somebody look; None is somebody unknown who may.

        Raises:
            RefusedError: 401: they must sign in.
        """
        session = self.session(request)
        if session is None and not self.open_view:
            raise RefusedError(401, "sign_in", "Sign in to look at this fleet")
        return session

    def person(self, request: Request) -> Session:
        """
        Let somebody who has signed in ask with their own credentials.

        Raises:
            RefusedError: 401 or 403: they have not.
        """
        session = self.viewer(request)
        if session is None:
            raise RefusedError(403, "not_permitted", "Sign in: this is read with your own credentials")
        return session

    def changes(self, request: Request, right: Right | None = None) -> Session:
        """
        Let somebody change something; without a right, something of their own.

        Raises:
            RefusedError: 401 or 403: they have not signed in, may not, or the request is not from the portal's page.
        """
        session = self.person(request)
        token = request.headers.get(CSRF_HEADER, "")
        if not hmac.compare_digest(token.encode(), session.csrf.encode()):
            raise RefusedError(
                403, "wrong_csrf", "Reload the page and try again: the request has no token of its session"
            )
        if right is not None and not getattr(may(session.person), right):
            raise RefusedError(403, "not_permitted", f"The role {session.person.role} may not do this")
        return session

    def signed_in(self, response: Response, cookie: str) -> None:
        """Have the browser keep the session."""
        response.set_cookie(
            self._cookie,
            cookie,
            max_age=self._sessions.lifetime_s,
            httponly=True,
            samesite="strict",
            secure=self._https,
            path="/",
        )

    def signed_out(self, response: Response) -> None:
        """Have the browser forget it."""
        response.delete_cookie(self._cookie, httponly=True, samesite="strict", secure=self._https, path="/")


def cookie_of(request: Request, name: str) -> str | None:
    """
    The text of a cookie; None where the browser sends none of exactly this name, or several.

    Who can set cookies for the portal's name from beside it (another host of the domain, another port of this machine) plants
    a session of their own with one more, or with a name that is the same but for a space of Unicode, which browsers do not
    take for one with the prefix `__Host-`, and which Starlette drops.
    """
    parts = [
        part.strip(" \t").partition("=") for given in request.headers.getlist("cookie") for part in given.split(";")
    ]
    found = [value for label, equals, value in parts if equals and label == name]
    return found[0].removeprefix('"').removesuffix('"') if len(found) == 1 else None


async def read_body(request: Request, kind: type[BodyT]) -> BodyT:
    """
    The body of a request as JSON of a known shape. The connection (`connections.py`) bounds how long it may take.

    Raises:
        RefusedError: 400: it is not that, or longer than BODY_BYTES_MAX.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise bad_request("Expected a body of the type application/json")
    body = bytearray()
    try:
        async for piece in request.stream():
            body += piece
            if len(body) > BODY_BYTES_MAX:
                raise RefusedError(400, "too_large", f"The request has more than {BODY_BYTES_MAX} bytes")
    except ClientDisconnect:
        raise bad_request("The request did not come to its end") from None
    try:
        return msgspec.json.decode(checked(bytes(body)), type=kind)
    except UNDECODABLE as error:
        raise bad_request(f"The request is not as expected: {safe_text(error)}") from None
