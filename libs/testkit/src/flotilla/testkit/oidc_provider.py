"""
An OpenID Connect provider, as a portal meets one: configuration, keys, authorization code flow with PKCE, ID tokens.

    async with OidcProvider(client_id="portal", client_secret="...") as provider:
        provider.claims = {"email": "ada@example.com", "email_verified": True}

Whoever is sent to it has signed in already, and is sent back at once. What a test wants to be wrong, it sets.
"""

import base64
import hashlib
import json
import secrets
import time
from asyncio import StreamWriter
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import RSAKey

from flotilla.testkit.raw_http import RawHttpServer, RawRequest, head, whole

SUBJECT: Final = "subject-1"
LIFETIME_S: Final = 300
KEY_BITS: Final = 2048


class OidcProvider(RawHttpServer):
    """
    One that listens on loopback.

    Attributes:
        claims: Of the ID tokens, beside those that every one has; those that are None are left out.
        sign: Makes an ID token of its claims; with a key that the provider publishes, unless told otherwise.
        key: Which it signs with.
        published: The keys that it publishes.
        redirect_uris: To which it sends people back.
        keys_answer: What it gives in place of its keys, where that is set.
        end_place: Where it says that people sign out, where that is set; else where they do.
        ended: The parameters with which people came there, one by one.
    """

    def __init__(self, *, client_id: str = "portal", client_secret: str = "") -> None:
        super().__init__(self._answer)
        self.client_id: Final = client_id
        self.client_secret: Final = client_secret
        self._codes: Final[dict[str, dict[str, str]]] = {}
        self.claims: dict[str, Any] = {}
        self.key = RSAKey.generate_key(KEY_BITS, {"kid": "first"})
        self.published = [self.key]
        self.sign: Callable[[Mapping[str, Any]], str] = self.signed
        self.redirect_uris: set[str] = set()
        self.keys_answer: bytes | None = None
        self.end_place: str | None = None
        self.ended: Final[list[dict[str, str]]] = []

    def signed(self, claims: Mapping[str, Any]) -> str:
        """An ID token as it should be."""
        return jwt.encode({"alg": "RS256", "kid": self.key.kid}, dict(claims), self.key)

    async def _answer(self, request: RawRequest, writer: StreamWriter) -> None:
        parts = urlsplit(request.target)
        given = {name: values[0] for name, values in parse_qs(parts.query).items()}
        match parts.path:
            case "/.well-known/openid-configuration":
                writer.write(self._json(self._configuration()))
            case "/keys":
                keys = json.dumps({"keys": [key.as_dict(private=False) for key in self.published]}).encode()
                writer.write(whole(keys if self.keys_answer is None else self.keys_answer))
            case "/authorize":
                writer.write(self._authorize(given))
            case "/token":
                writer.write(self._token(request))
            case "/end":
                writer.write(self._end(given))
            case _:
                writer.write(whole(b"{}", status="404 Not Found"))

    def _configuration(self) -> dict[str, Any]:
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/keys",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "end_session_endpoint": f"{self.url}/end?of=fleet" if self.end_place is None else self.end_place,
        }

    def _authorize(self, given: dict[str, str]) -> bytes:
        is_known = given.get("client_id") == self.client_id and given.get("redirect_uri") in self.redirect_uris
        is_whole = given.get("response_type") == "code" and "openid" in given.get("scope", "").split()
        if not is_known or not is_whole or given.get("code_challenge_method") != "S256":
            return self._json({"error": "invalid_request"}, status="400 Bad Request")
        code = secrets.token_urlsafe()
        self._codes[code] = given
        query = urlencode({"code": code, "state": given["state"]})
        return head(f"location: {given['redirect_uri']}?{query}", "content-length: 0", status="302 Found")

    def _end(self, given: dict[str, str]) -> bytes:
        self.ended.append(given)
        back = given.get("post_logout_redirect_uri", "")
        if given.get("client_id") != self.client_id or back not in self.redirect_uris or given.get("of") != "fleet":
            return self._json({"error": "invalid_request"}, status="400 Bad Request")
        return head(f"location: {back}", "content-length: 0", status="302 Found")

    def _token(self, request: RawRequest) -> bytes:
        form = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
        asked = self._codes.pop(form.get("code", ""), None)
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        if (
            asked is None
            or not self._is_client(request, form)
            or form.get("grant_type") != "authorization_code"
            or form.get("redirect_uri") != asked["redirect_uri"]
            or base64.urlsafe_b64encode(digest).decode().rstrip("=") != asked["code_challenge"]
        ):
            return self._json({"error": "invalid_grant"}, status="400 Bad Request")
        now = int(time.time())
        claims = {
            "iss": self.url,
            "sub": SUBJECT,
            "aud": self.client_id,
            "iat": now,
            "exp": now + LIFETIME_S,
            "nonce": asked["nonce"],
            **self.claims,
        }
        token = self.sign({name: value for name, value in claims.items() if value is not None})
        return self._json({"id_token": token, "access_token": secrets.token_urlsafe(), "token_type": "Bearer"})

    def _is_client(self, request: RawRequest, form: dict[str, str]) -> bool:
        if not self.client_secret:
            return form.get("client_id") == self.client_id
        expected = base64.b64encode(f"{self.client_id}:{self.client_secret}".encode()).decode()
        return request.headers.get("authorization") == f"Basic {expected}"

    @staticmethod
    def _json(body: object, *, status: str = "200 OK") -> bytes:
        return whole(json.dumps(body).encode(), status=status)
