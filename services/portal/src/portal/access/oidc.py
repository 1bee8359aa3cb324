"""
Sign-in by OpenID Connect: the authorization code flow with PKCE (RFC 7636, S256), `state` and `nonce`.

Nothing is kept of a flow between its two requests: what it needs stands, signed, in a cookie of the browser that began it.
Of what the provider says, the ID token alone is believed, and only one that is signed by a key of the provider's own, for
this portal, for this flow, and not over (OpenID Connect Core 1.0, 3.1.3.7). This module alone needs the extra `oidc`.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, Final, cast
from urllib.parse import urlencode, urlsplit

import httpx2
import msgspec
from authlib.integrations.base_client.errors import OAuthError
from authlib.integrations.httpx_client import AsyncOAuth2Client
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet
from msgspec import Struct

from flotilla.contracts.decoding import UNDECODABLE, checked
from flotilla.contracts.fields import WORD_LENGTH_MAX, printable
from portal.access.oidc_settings import OidcSettings, is_provider_url
from portal.access.people import People, Person

ALGORITHMS: Final = (
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "EdDSA",
    "Ed25519",
)
"""With a public key each: one that is made with a shared secret, or not at all, is none."""
ANSWER_BYTES_MAX: Final = 256 * 1024
TIMEOUT_S: Final = 10.0
AT_ONCE_MAX: Final = 8
KNOWN_FOR_S: Final = 3600.0
"""How long the provider's configuration and keys are taken to be what they were."""
KEYS_AGAIN_S: Final = 60.0
"""A key that is not known may be new; how often one looks."""
FAILED_FOR_S: Final = 5.0
"""How long a provider that did not answer is not asked again: whoever comes then is told so, and waits for nothing."""
LEEWAY_S: Final = 60
GROUPS_MAX: Final = 1_000


class OidcError(Exception):
    """
    A sign-in that came to nothing.

    Attributes:
        kind: `unreachable`, `refused` or `unknown_person`.
        detail: For the log: nothing of a token or a person.
    """

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind: Final = kind
        self.detail: Final = detail


class Flow(Struct, frozen=True, kw_only=True):
    """What one flow needs at its end: random texts, of which the provider sees the verifier's digest alone at first."""

    state: str
    nonce: str
    verifier: str


class SignedIn(Struct, frozen=True, kw_only=True):
    """
    Who came back from the provider.

    Attributes:
        id_token: Checked; the provider takes it at sign-out as the word for whose session there is to end.
    """

    person: Person
    id_token: str


class _Configuration(Struct, frozen=True, kw_only=True):
    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    end_session_endpoint: str | None = None


class _Token(Struct, frozen=True, kw_only=True):
    id_token: str
    access_token: str = ""


class _BoundedStream(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for piece in self._stream:
            size += len(piece)
            if size > ANSWER_BYTES_MAX:
                raise httpx2.ReadError("the answer is too long")
            yield piece

    async def aclose(self) -> None:
        await self._stream.aclose()


class _Bounded(httpx2.AsyncHTTPTransport):
    """Reads no more of an answer than ANSWER_BYTES_MAX; what is compressed could be any number of times as long."""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        request.headers["accept-encoding"] = "identity"
        response = await super().handle_async_request(request)
        if "content-encoding" in response.headers:
            await response.aclose()
            raise httpx2.ReadError("the answer is compressed")
        response.stream = _BoundedStream(cast("httpx2.AsyncByteStream", response.stream))
        return response


class Oidc:
    """One provider."""

    def __init__(self, settings: OidcSettings, people: People) -> None:
        self._settings = settings
        self._people = people
        self._is_local: Final = urlsplit(settings.issuer).scheme == "http"
        self._room: Final = asyncio.Semaphore(AT_ONCE_MAX)
        self._reading: Final = asyncio.Lock()
        self._configuration: tuple[float, _Configuration] | None = None
        self._keys: tuple[float, KeySet] | None = None
        self._failed_s = -FAILED_FOR_S

    async def begin(self, flow: Flow, redirect_uri: str) -> str:
        """
        Where the browser goes to sign in.

        Raises:
            OidcError: The provider cannot be asked where that is.
        """
        configuration = await self._configured()
        async with self._client(redirect_uri) as client:
            url, _ = client.create_authorization_url(
                configuration.authorization_endpoint, state=flow.state, nonce=flow.nonce, code_verifier=flow.verifier
            )
        return cast("str", url)

    async def finish(self, flow: Flow, code: str, redirect_uri: str) -> SignedIn:
        """
        Who has signed in.

        Raises:
            OidcError: Nobody; says why.
        """
        configuration = await self._configured()
        async with self._room:
            token = await self._exchange(configuration, flow, code, redirect_uri)
            claims = await self._claims(configuration, flow, token)
        person = self._person(claims)
        if person is None:
            raise OidcError("unknown_person", "the file of people has no such login or group")
        return SignedIn(person=person, id_token=token.id_token)

    async def end(self, id_token: str, back_uri: str) -> str:
        """
        Where the browser goes to sign out at the provider (OpenID Connect RP-Initiated Logout 1.0, 2).

        Args:
            id_token: Of the sign-in; without one the provider asks whether the person means it.
            back_uri: Where the provider sends the browser then; it must know the address.

        Returns:
            The address; empty where the provider names no place for this.

        Raises:
            OidcError: The provider cannot be asked where that is.
        """
        configuration = await self._configured()
        place = configuration.end_session_endpoint or ""
        if not is_provider_url(place, local=self._is_local):
            return ""
        given = {"client_id": self._settings.client_id, "post_logout_redirect_uri": back_uri}
        if id_token:
            given["id_token_hint"] = id_token
        return f"{place}{'&' if urlsplit(place).query else '?'}{urlencode(given)}"

    def _client(self, redirect_uri: str = "") -> Any:
        settings = self._settings
        return AsyncOAuth2Client(
            client_id=settings.client_id,
            client_secret=settings.client_secret or None,
            token_endpoint_auth_method="client_secret_basic" if settings.client_secret else "none",
            scope=settings.scope,
            redirect_uri=redirect_uri,
            code_challenge_method="S256",
            timeout=TIMEOUT_S,
            transport=_Bounded(),
            trust_env=False,
            follow_redirects=False,
        )

    async def _exchange(self, configuration: _Configuration, flow: Flow, code: str, redirect_uri: str) -> _Token:
        try:
            async with asyncio.timeout(TIMEOUT_S), self._client(redirect_uri) as client:
                token = await client.fetch_token(
                    configuration.token_endpoint,
                    grant_type="authorization_code",
                    code=code,
                    code_verifier=flow.verifier,
                )
            return msgspec.convert(dict(token), _Token)
        except OAuthError:
            raise OidcError("refused", "the provider takes the code no more") from None
        except (httpx2.HTTPError, TimeoutError, ValueError, TypeError) as error:
            raise OidcError("unreachable", f"token endpoint: {type(error).__name__}") from None

    async def _claims(self, configuration: _Configuration, flow: Flow, token: _Token) -> dict[str, Any]:
        settings = self._settings
        try:
            try:
                decoded = jwt.decode(token.id_token, await self._key_set(configuration), list(ALGORITHMS))
            except InvalidKeyIdError:
                keys = await self._key_set(configuration, may_be_old=False)
                decoded = jwt.decode(token.id_token, keys, list(ALGORITHMS))
            claims: Any = CodeIDToken(
                decoded.claims,
                decoded.header,
                {
                    "iss": {"essential": True, "values": [configuration.issuer]},
                    "aud": {"essential": True, "values": [settings.client_id]},
                    "nonce": {"essential": True, "values": [flow.nonce]},
                    "exp": {"essential": True},
                },
                {"nonce": flow.nonce, "client_id": settings.client_id, "access_token": token.access_token},
            )
            claims.validate(now=int(time.time()), leeway=LEEWAY_S)
        except (JoseError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise OidcError("refused", f"the ID token is none: {type(error).__name__}") from None
        return dict(claims)

    def _person(self, claims: dict[str, Any]) -> Person | None:
        """By login first; else by the first group of the file's that the provider says they are in, as that person."""
        settings = self._settings
        login = claims.get(settings.login_claim)
        if not isinstance(login, str) or not login or login != printable(login, WORD_LENGTH_MAX):
            return None
        # Who may write any address into their own profile could be anybody.
        if settings.login_claim == "email" and claims.get("email_verified") is not True:
            return None
        groups = claims.get(settings.groups_claim)
        listed = cast("list[object]", groups)[:GROUPS_MAX] if isinstance(groups, list) else [groups]
        return self._people.with_login(login) or self._people.in_group(
            login, frozenset(each for each in listed if isinstance(each, str))
        )

    async def _configured(self) -> _Configuration:
        async with self._reading:
            known = self._configuration
            if known is not None and time.monotonic() - known[0] < KNOWN_FOR_S:
                return known[1]
            found = await self._read(
                f"{self._settings.issuer.rstrip('/')}/.well-known/openid-configuration", _Configuration
            )
            ends = (found.authorization_endpoint, found.token_endpoint, found.jwks_uri)
            if found.issuer != self._settings.issuer or not all(
                is_provider_url(end, local=self._is_local) for end in ends
            ):
                raise OidcError("unreachable", "the provider's configuration is of another issuer, or not by HTTPS")
            self._configuration = (time.monotonic(), found)
            return found

    async def _key_set(self, configuration: _Configuration, *, may_be_old: bool = True) -> KeySet:
        async with self._reading:
            known = self._keys
            if known is not None and time.monotonic() - known[0] < (KNOWN_FOR_S if may_be_old else KEYS_AGAIN_S):
                return known[1]
            found = await self._read(configuration.jwks_uri, dict[str, Any])
            self._keys = (time.monotonic(), _keys_in(found))
            return self._keys[1]

    async def _read(self, url: str, kind: Any) -> Any:
        if time.monotonic() - self._failed_s < FAILED_FOR_S:
            raise OidcError("unreachable", "configuration or keys: they could not be read a moment ago")
        try:
            async with asyncio.timeout(TIMEOUT_S), self._client() as client:
                answer = await client.request("GET", url, withhold_token=True)
                answer.raise_for_status()
            return msgspec.json.decode(checked(answer.content), type=kind)
        except (httpx2.HTTPError, TimeoutError, *UNDECODABLE) as error:
            self._failed_s = time.monotonic()
            raise OidcError("unreachable", f"configuration or keys: {type(error).__name__}") from None


def _keys_in(found: dict[str, Any]) -> KeySet:
    """The keys that can be read: one of a curve or a kind that is not known here keeps nobody out (RFC 7517, 5)."""
    keys: list[Any] = []
    for key in found["keys"]:
        with suppress(JoseError, ValueError, TypeError, KeyError):
            keys += KeySet.import_key_set({"keys": [key]}).keys
    return KeySet(keys)
