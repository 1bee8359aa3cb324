"""Signing in at an OpenID Connect provider: the way there, the way back, and signing out there as well."""

import secrets
import time
from typing import Final

import structlog
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from portal.access.oidc import Flow, Oidc, OidcError
from portal.access.sessions import Sessions
from portal.access.sign_in_limit import SignInLimit
from portal.web.app import Answer
from portal.web.who import Doors, cookie_of

START: Final = "/sign-in/start"
BACK: Final = "/sign-in/back"
"""Also after signing out: several providers know one list of addresses for both."""
END: Final = "/sign-in/end"
FLOW_S: Final = 600
"""For who signs in at the provider to do so."""
RANDOM_BYTES: Final = 32
CODE_LENGTH_MAX: Final = 4096
ID_TOKEN_LENGTH_MAX: Final = 3500
"""Browsers keep no cookie beyond 4096 bytes, its name and attributes among them."""
_USE: Final = "oidc"

logger = structlog.get_logger("portal")


class OidcAnswers:
    """
    Answers the two requests of a flow, and the one that signs out.

    What comes to nothing leads to the page, which says why in its own words.
    """

    def __init__(self, doors: Doors, oidc: Oidc, sessions: Sessions, *, https: bool) -> None:
        self._doors = doors
        self._oidc = oidc
        self._sessions = sessions
        self._https = https
        self._limit: Final = SignInLimit()
        self._cookie: Final = "__Host-flotilla-sign-in" if https else "flotilla-sign-in"
        self._id_cookie: Final = "__Secure-flotilla-id-token" if https else "flotilla-id-token"

    def answers(self) -> dict[tuple[str, str], Answer]:
        """By method and path."""
        return {("GET", START): self.start, ("GET", BACK): self.back, ("GET", END): self.end}

    async def start(self, request: Request) -> Response:
        """Send the browser to the provider, with a cookie that says what this flow is."""
        if not self._limit.allows(self._doors.address_of(request), now_s=time.monotonic()):
            return self._came_to("rate_limited")
        state, nonce, verifier = (secrets.token_urlsafe(RANDOM_BYTES) for _ in range(3))
        flow = Flow(state=state, nonce=nonce, verifier=verifier)
        try:
            url = await self._oidc.begin(flow, self._redirect_uri(request))
        except OidcError as error:
            logger.warning("sign_in_failed", kind=error.kind, detail=error.detail)
            return self._came_to(error.kind)
        response = RedirectResponse(url, 303)
        text = f"{int(time.time()) + FLOW_S}.{flow.state}.{flow.nonce}.{flow.verifier}"
        # Lax: the provider's page sends the browser back here.
        response.set_cookie(
            self._cookie,
            self._sessions.seal(_USE, text),
            max_age=FLOW_S,
            httponly=True,
            samesite="lax",
            secure=self._https,
            path="/",
        )
        return response

    async def back(self, request: Request) -> Response:
        """Exchange what the provider sends along for a session."""
        address = self._doors.address_of(request)
        if not self._limit.allows(address, now_s=time.monotonic()):
            return self._came_to("rate_limited")
        flow = self._flow(request)
        given = request.query_params
        if not given:
            return self._came_to("")
        codes, states = given.getlist("code"), given.getlist("state")
        if flow is None or len(states) != 1 or not secrets.compare_digest(states[0].encode(), flow.state.encode()):
            return self._came_to("stale")
        if len(codes) != 1 or not 0 < len(codes[0]) <= CODE_LENGTH_MAX or "error" in given:
            return self._came_to("refused")
        try:
            signed_in = await self._oidc.finish(flow, codes[0], self._redirect_uri(request))
        except OidcError as error:
            self._limit.failed(address)
            logger.warning("sign_in_failed", kind=error.kind, detail=error.detail)
            return self._came_to(error.kind)
        cookie, _ = self._sessions.open(signed_in.person, now_unix_s=time.time())
        response = self._came_to("")
        self._doors.signed_in(response, cookie)
        if len(signed_in.id_token) <= ID_TOKEN_LENGTH_MAX:
            # Held by the browser, and sent to END alone: the portal keeps nothing of a session.
            response.set_cookie(
                self._id_cookie,
                signed_in.id_token,
                max_age=self._sessions.lifetime_s,
                httponly=True,
                samesite="strict",
                secure=self._https,
                path=END,
            )
        else:
            self._forget_id_token(response)
        return response

    async def end(self, request: Request) -> Response:
        """
        Send the browser, whose session here is over, to end the one at the provider; or to the page, where none is told.

        Another page that sends somebody here sends no ID token along, so the provider asks them first.
        """
        id_token = cookie_of(request, self._id_cookie) or ""
        try:
            url = await self._oidc.end(id_token, self._redirect_uri(request))
        except OidcError as error:
            logger.warning("sign_out_failed", kind=error.kind, detail=error.detail)
            url = ""
        response = RedirectResponse(url or "/", 303)
        self._forget_id_token(response)
        return response

    def _forget_id_token(self, response: Response) -> None:
        response.delete_cookie(self._id_cookie, httponly=True, samesite="strict", secure=self._https, path=END)

    def _redirect_uri(self, request: Request) -> str:
        """Under the name that the browser uses, which `Guard` has looked at; the provider knows which it may be."""
        return f"{'https' if self._https else 'http'}://{request.headers['host']}{BACK}"

    def _flow(self, request: Request) -> Flow | None:
        text = self._sessions.unseal(_USE, cookie_of(request, self._cookie) or "")
        if text is None:
            return None
        expires, state, nonce, verifier = text.split(".")
        return None if int(expires) <= time.time() else Flow(state=state, nonce=nonce, verifier=verifier)

    def _came_to(self, kind: str) -> Response:
        """To the page, and the flow is over: its cookie is of no use a second time."""
        response = RedirectResponse(f"/#/sign-in/{kind}" if kind else "/", 303)
        response.delete_cookie(self._cookie, httponly=True, samesite="lax", secure=self._https, path="/")
        return response
