"""
Who may sign in, as a TOML file says.

    [[person]]
    name = "Ada Lovelace"
    role = "admin"                        # viewer, approver or admin
    token_file = "ada.token"              # or token_sha256 = "<64 hexadecimal digits>", login = "ada@example.com", group
    creds = "tenant.default"              # NATS credentials that she acts with; none for a server that asks for none
    approver_creds = "approver.default"   # of the scope's approver, for what waits for an approval; none unless given
    documents = true                      # may read inputs and results

Paths are relative to the file. `login` is what a proxy calls somebody whom it has signed in (`proxy.py`), or an OpenID
Connect provider (`oidc.py`); with `group` in its place, an entry is of everybody whom the provider says to be in it.

A person acts with the credentials that stand here and never with the portal's own, which are an observer's: what somebody
may do is decided by NATS and the fleet, and the role only takes away from it.
"""

import hashlib
import hmac
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct, structs

from flotilla.contracts.decoding import safe_text
from flotilla.contracts.errors import SettingsError
from flotilla.contracts.fields import SHA256, Instance, Word
from flotilla.contracts.names import DEFAULT_SCOPE

PEOPLE_MAX: Final = 1_000
FILE_BYTES_MAX: Final = 1024 * 1024
TOKEN_LENGTH_MIN: Final = 20
TOKEN_LENGTH_MAX: Final = 512

Role = Literal["viewer", "approver", "admin"]
_TOKEN: Final = re.compile(r"[\x21-\x7e]+")


class PersonEntry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    One table of the file.

    Attributes:
        scope: Whose tasks are meant. Tenant credentials are of one scope; the admin's work in any.
        admin_creds: `creds` are of the FLEET account's admin, in place of a tenant's.
    """

    name: Annotated[Word, Meta(min_length=1)]
    role: Role = "viewer"
    token_file: str | None = None
    token_sha256: Annotated[str, Meta(pattern=SHA256)] | None = None
    login: Annotated[Word, Meta(min_length=1)] | None = None
    group: Annotated[Word, Meta(min_length=1)] | None = None
    creds: str | None = None
    admin_creds: bool = False
    approver_creds: str | None = None
    scope: Instance = DEFAULT_SCOPE
    documents: bool = False


class _File(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    person: Annotated[list[PersonEntry], Meta(max_length=PEOPLE_MAX)] = []


class Person(Struct, frozen=True, kw_only=True):
    """
    Somebody who may sign in.

    Attributes:
        token_digest: SHA-256 of the token; None for who has none.
        login: What the proxy or provider calls them; None for who signs in with a token, and for a group.
        group: What the provider calls the group that the entry is of; None for a single person.
        member_of: Of somebody of a group: the key of its entry.
        creds: Of NATS; None for a server that asks for none.
        approver_creds: Of the scope's approver; None for who decides nothing.
    """

    name: str
    role: Role
    token_digest: bytes | None
    creds: Path | None
    admin_creds: bool
    scope: str
    documents: bool
    approver_creds: Path | None = None
    login: str | None = None
    group: str | None = None
    member_of: str = ""

    @property
    def key(self) -> str:
        """Names this person with this token, login or group: a session of an older one is none of theirs."""
        if self.token_digest is not None:
            proof = b"token\0" + self.token_digest
        else:
            proof = b"login\0" + str(self.login).encode() if self.group is None else b"group\0" + self.group.encode()
        return hashlib.sha256(self.name.encode() + b"\0" + proof).hexdigest()[:32]


class People:
    """Those who may sign in."""

    def __init__(self, people: Iterable[Person] = ()) -> None:
        self._people: Final = tuple(people)
        self._by_key: Final = {person.key: person for person in self._people}
        self._names: Final = {person.name for person in self._people}
        self._by_login: Final = {person.login: person for person in self._people if person.login is not None}

    def __len__(self) -> int:
        return len(self._people)

    @property
    def have_tokens(self) -> bool:
        """Whether somebody can sign in with a token."""
        return any(person.token_digest is not None for person in self._people)

    def with_login(self, login: str) -> Person | None:
        """Whom a proxy means."""
        return self._by_login.get(login)

    def in_group(self, login: str, groups: frozenset[str]) -> Person | None:
        """Somebody whom the file does not name, as the first of its entries for these groups says; under their login."""
        found = next((person for person in self._people if person.group is not None and person.group in groups), None)
        return None if found is None else self.member(found, login)

    def member(self, entry: Person, login: str) -> Person | None:
        """Somebody of a group; None where the entry is of none, or the login is the name of somebody else."""
        if entry.group is None or not login or login in self._names:
            return None
        return structs.replace(entry, name=login, member_of=entry.key)

    def with_token(self, token: str) -> Person | None:
        """Whose token it is; every one is compared, so that the time tells nothing."""
        digest = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        found: Person | None = None
        for person in self._people:
            if person.token_digest is not None and hmac.compare_digest(person.token_digest, digest):
                found = person
        return found

    def with_key(self, key: str) -> Person | None:
        """Whom a session names; None when they are in the file no more."""
        return self._by_key.get(key)


def load_people(path: Path | None) -> People:
    """
    Read the file; nobody without one.

    Raises:
        SettingsError: It cannot be read or is wrong; says where, and repeats no token.
    """
    if path is None:
        return People()
    try:
        raw = path.read_bytes()
        if len(raw) > FILE_BYTES_MAX:
            raise _wrong(f"more than {FILE_BYTES_MAX} bytes")
        entries = msgspec.convert(tomllib.loads(raw.decode()), _File).person
    except OSError as error:
        raise _wrong(f"{path}: {error.strerror or type(error).__name__}") from None
    except tomllib.TOMLDecodeError as error:
        raise _wrong(f"no TOML: {error}") from None
    except (UnicodeDecodeError, msgspec.ValidationError) as error:
        raise _wrong(safe_text(error)) from None
    people = [_person(entry, path.parent) for entry in entries]
    if len({person.name for person in people}) < len(people):
        raise _wrong("two people have one name")
    if len({(person.token_digest, person.login, person.group) for person in people}) < len(people):
        raise _wrong("two people have one token, one login or one group")
    return People(people)


def _person(entry: PersonEntry, folder: Path) -> Person:
    if sum(given is not None for given in (entry.token_file, entry.token_sha256, entry.login, entry.group)) != 1:
        raise _wrong(f"{entry.name}: expected one of token_file, token_sha256, login and group")
    if entry.admin_creds and entry.creds is None:
        raise _wrong(f"{entry.name}: admin_creds without creds")
    digest: bytes | None = None
    if entry.token_sha256 is not None:
        digest = bytes.fromhex(entry.token_sha256)
    elif entry.token_file is not None:
        digest = hashlib.sha256(_token_in(folder / entry.token_file, entry.name).encode()).digest()
    creds, approver_creds = (
        None if given is None else folder / given for given in (entry.creds, entry.approver_creds)
    )  # fmt: skip
    for path in (creds, approver_creds):
        if path is not None and not path.is_file():
            raise _wrong(f"{entry.name}: creds {path}: there is no such file")
    return Person(
        name=entry.name,
        role=entry.role,
        token_digest=digest,
        creds=creds,
        admin_creds=entry.admin_creds,
        scope=entry.scope,
        documents=entry.documents,
        approver_creds=approver_creds,
        login=entry.login,
        group=entry.group,
    )


def _token_in(path: Path, name: str) -> str:
    try:
        with path.open("rb") as file:
            token = file.read(TOKEN_LENGTH_MAX + 2).decode("ascii").strip()
    except OSError as error:
        raise _wrong(f"{name}: token_file {path}: {error.strerror or type(error).__name__}") from None
    except UnicodeDecodeError:
        token = ""
    if not TOKEN_LENGTH_MIN <= len(token) <= TOKEN_LENGTH_MAX or _TOKEN.fullmatch(token) is None:
        expected = f"{TOKEN_LENGTH_MIN} to {TOKEN_LENGTH_MAX} printable ASCII characters without spaces"
        raise _wrong(f"{name}: token_file {path}: expected {expected}")
    return token


def _wrong(reason: str) -> SettingsError:
    return SettingsError(f"setting FLOTILLA_PORTAL_PEOPLE: {reason}")
