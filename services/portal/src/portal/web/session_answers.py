"""Signing in and out, and who one is."""

import time
from typing import Final

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from portal.access.people import TOKEN_LENGTH_MAX, People, Person
from portal.access.sessions import Session, Sessions
from portal.access.sign_in_limit import SignInLimit
from portal.web.errors import RefusedError, as_json
from portal.web.who import Doors, may, read_body


class SignIn(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /session`."""

    token: str


class SessionAnswers:
    """Answers `/session`."""

    def __init__(self, doors: Doors, people: People, sessions: Sessions, *, scopes: tuple[str, ...]) -> None:
        self._doors = doors
        self._people = people
        self._sessions = sessions
        self._scopes: Final = scopes
        self._limit: Final = SignInLimit()

    async def show(self, request: Request) -> Response:
        """Who the browser is; somebody whom the proxy names has signed in by that."""
        session = self._doors.session(request)
        person = self._doors.named(request) if session is None else None
        return as_json(self._described(session)) if person is None else self._opened(person)

    async def sign_in(self, request: Request) -> Response:
        """Exchange a token for a session."""
        now_s = time.monotonic()
        address = self._doors.address_of(request)
        if not self._limit.allows(address, now_s=now_s):
            headers = {"retry-after": str(self._limit.retry_after_s(now_s))}
            raise RefusedError(429, "rate_limited", "Too many tries; wait a minute", headers=headers)
        token = (await read_body(request, SignIn)).token
        person = self._people.with_token(token) if len(token) <= TOKEN_LENGTH_MAX else None
        if person is None:
            self._limit.failed(address)
            raise RefusedError(401, "wrong_token", "Nobody has this token")
        return self._opened(person)

    async def sign_out(self, request: Request) -> Response:
        """End the session."""
        session = self._doors.changes(request)
        self._sessions.end(session, now_unix_s=time.time())
        response = as_json(self._described(None))
        self._doors.signed_out(response)
        return response

    def _opened(self, person: Person) -> Response:
        cookie, session = self._sessions.open(person, now_unix_s=time.time())
        response = as_json(self._described(session))
        self._doors.signed_in(response, cookie)
        return response

    def _described(self, session: Session | None) -> dict[str, object]:
        person = None if session is None else session.person
        anonymous = "viewer" if self._doors.open_view else None
        return {
            "signed_in": person is not None,
            "role": person.role if person else anonymous,
            "name": person.name if person else "",
            "csrf": session.csrf if session else "",
            "scopes": self._scopes,
            "can": may(person),
            "sign_in": self._doors.ways(),
            "signed_in_by": "" if person is None else self._doors.way_of(person),
        }
