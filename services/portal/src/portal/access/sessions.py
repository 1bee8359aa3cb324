"""
Sessions without a table: a signed text in a cookie, which any portal with the same key takes.

    v1.<key of the person>.<expiry, unix s>.<nonce>.<HMAC-SHA256>
    v1.<key of the group>.<expiry, unix s>.<nonce>~<login, base64>.<HMAC-SHA256>

The token against cross-site requests is made of the same nonce by another use of the key, so nobody who has only seen the
one can make the other. Signing out is remembered until the session would have expired.
"""

import hashlib
import hmac
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import OrderedDict
from pathlib import Path
from typing import Final

from msgspec import Struct

from flotilla.contracts.errors import SettingsError
from portal.access.people import People, Person

LIFETIME_S: Final = 12 * 3600
PROVIDER_LIFETIME_S: Final = 3600
"""Of who signs in at a provider: it is asked again that often whether they still may, and in which groups they are."""
LIFETIME_S_MIN: Final = 300
LIFETIME_S_MAX: Final = 7 * 24 * 3600
CLOCKS_APART_S_MAX: Final = 60
"""Of the machines of portals that share a key."""
NONCE_BYTES: Final = 16
KEY_BYTES_MIN: Final = 32
KEY_BYTES_MAX: Final = 4096
COOKIE_LENGTH_MAX: Final = 1024
REVOKED_MAX: Final = 10_000
_PARTS: Final = 5


class Session(Struct, frozen=True, kw_only=True):
    """
    Somebody who has signed in.

    Attributes:
        csrf: What changing requests must carry.
    """

    person: Person
    csrf: str
    nonce: str
    expires_unix_s: int


class Sessions:
    """Opens, recognises and ends sessions."""

    def __init__(
        self, people: People, key: bytes, *, lifetime_s: int = LIFETIME_S, revoked_max: int = REVOKED_MAX
    ) -> None:
        self._people = people
        self.lifetime_s: Final = lifetime_s
        self._revoked_max: Final = revoked_max
        self._key = key
        self._revoked: Final[OrderedDict[str, int]] = OrderedDict()

    def open(self, person: Person, *, now_unix_s: float) -> tuple[str, Session]:
        """A new session; gives the cookie's text."""
        expires, nonce = int(now_unix_s) + self.lifetime_s, secrets.token_hex(NONCE_BYTES)
        member = f"~{urlsafe_b64encode(person.name.encode()).decode()}" if person.member_of else ""
        text = f"v1.{person.member_of or person.key}.{expires}.{nonce}{member}"
        return f"{text}.{self._sign('session', text)}", self._session(person, nonce, expires)

    def find(self, cookie: str, *, now_unix_s: float) -> Session | None:
        """The session of a cookie; None when it is forged, over, or of somebody who may sign in no more."""
        parts = cookie.split(".")
        if len(cookie) > COOKIE_LENGTH_MAX or not cookie.isascii() or len(parts) != _PARTS:
            return None
        text, _, signature = cookie.rpartition(".")
        if not hmac.compare_digest(self._sign("session", text), signature):
            return None
        _, key, expires, who, _ = parts
        nonce, _, member = who.partition("~")
        person = self._people.with_key(key)
        if person is not None and (member or person.group is not None):
            person = self._people.member(person, urlsafe_b64decode(member).decode())
        left_s = int(expires) - now_unix_s
        # One may have begun when sessions lasted longer.
        if not 0 < left_s <= self.lifetime_s + CLOCKS_APART_S_MAX or person is None or nonce in self._revoked:
            return None
        return self._session(person, nonce, int(expires))

    def end(self, session: Session, *, now_unix_s: float) -> None:
        """Take the session no more; of more than REVOKED_MAX the oldest are forgotten."""
        for nonce in [nonce for nonce, expires in self._revoked.items() if expires <= now_unix_s]:
            del self._revoked[nonce]
        self._revoked[session.nonce] = session.expires_unix_s
        while len(self._revoked) > self._revoked_max:
            self._revoked.popitem(last=False)

    def seal(self, use: str, text: str) -> str:
        """The text with a signature for one use, which `unseal` of the same use takes; not hidden."""
        return f"{text}.{self._sign(use, text)}"

    def unseal(self, use: str, sealed: str) -> str | None:
        """The text; None when it was not sealed for this use with this key."""
        text, _, signature = sealed.rpartition(".")
        if len(sealed) > COOKIE_LENGTH_MAX or not sealed.isascii():
            return None
        return text if hmac.compare_digest(self._sign(use, text), signature) else None

    def _session(self, person: Person, nonce: str, expires: int) -> Session:
        return Session(person=person, csrf=self._sign("csrf", nonce), nonce=nonce, expires_unix_s=expires)

    def _sign(self, use: str, text: str) -> str:
        return hmac.new(self._key, f"{use}\n{text}".encode(), hashlib.sha256).hexdigest()


def session_key(path: Path | None) -> bytes:
    """
    The key that signs sessions: a file's, or one of this process alone.

    Raises:
        SettingsError: The file cannot be read, or is too short.
    """
    if path is None:
        return secrets.token_bytes(KEY_BYTES_MIN)
    try:
        with path.open("rb") as file:
            key = file.read(KEY_BYTES_MAX)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise SettingsError(f"setting FLOTILLA_PORTAL_SESSION_KEY_FILE: {reason}") from None
    if len(key) < KEY_BYTES_MIN:
        raise SettingsError(f"setting FLOTILLA_PORTAL_SESSION_KEY_FILE: expected at least {KEY_BYTES_MIN} random bytes")
    return key
