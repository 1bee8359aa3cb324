"""
The nkeys of a fleet's users: one seed file per user in a directory that only its owner can read.

Made once and kept: whoever finds a seed loads it, so a second start on the same directory has the same users.
"""

import os
import re
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, cast

import nkeys  # pyright: ignore[reportMissingTypeStubs]

from flotilla.chassis.errors import PrivateFileError
from flotilla.chassis.private_files import FILE_MODE, make_directory, open_file
from flotilla.fabric.errors import CredentialsError
from flotilla.fabric.seed_files import public_key_of

SEED_SUFFIX: Final = ".nk"
SEED_FILE_BYTES_MAX: Final = 256

_SEED_BYTES: Final = 32
_USER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,139}")
_nkeys: Final = cast("Any", nkeys)  # it has no types


class Credentials:
    """
    The users of a fleet, by name (`roles.worker_user`, `roles.tenant_user`, `orchestrator`, `observer`, `admin`).

    Attributes:
        directory: Where the seed files are.
        public_keys: What a server's configuration needs of each user.
    """

    def __init__(self, directory: Path, public_keys: Mapping[str, str]) -> None:
        self.directory: Final = directory
        self.public_keys: Final = dict(public_keys)

    def path(self, user: str) -> Path:
        """
        The seed file of a user.

        Raises:
            CredentialsError: There is no such user.
        """
        self.public_key(user)
        return _file_of(self.directory, user)

    def public_key(self, user: str) -> str:
        """
        The public key of a user, `U` and 55 more characters.

        Raises:
            CredentialsError: There is no such user.
        """
        try:
            return self.public_keys[user]
        except KeyError:
            raise CredentialsError(_file_of(self.directory, user), "no such user") from None


def load_or_create(directory: Path, users: Iterable[str]) -> Credentials:
    """
    Load the seed of each user, making those that are missing; safe when several processes do it at once.

    The directory and the files are closed to everybody else, even where they were open before.

    Raises:
        CredentialsError: A name or a file cannot be used.
    """
    try:
        make_directory(directory)
        return Credentials(directory, {user: _public_key(directory, user) for user in users})
    except PrivateFileError as error:
        raise CredentialsError(error.path, error.reason) from error
    except OSError as error:
        raise CredentialsError(directory, error.strerror or type(error).__name__) from error


def new_seed() -> bytes:
    """A fresh user seed, `SU` and 56 more characters."""
    return bytes(_nkeys.encode_seed(secrets.token_bytes(_SEED_BYTES), _nkeys.PREFIX_BYTE_USER))


def _file_of(directory: Path, user: str) -> Path:
    return directory / f"{user}{SEED_SUFFIX}"


def _public_key(directory: Path, user: str) -> str:
    path = _file_of(directory, user)
    if not _USER.fullmatch(user):
        raise CredentialsError(path, "a user's name has 1 to 140 of A-Za-z0-9_.- and begins with a letter or digit")
    if not os.path.lexists(path):
        _create(path, new_seed())
    with os.fdopen(open_file(path, os.O_RDONLY), "rb") as file:
        seed = file.read(SEED_FILE_BYTES_MAX).strip()
    try:
        return public_key_of(seed)
    except ValueError as error:
        raise CredentialsError(path, str(error)) from error


def _create(path: Path, seed: bytes) -> None:
    """Write the file whole or not at all, and leave the one that another process made first."""
    partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(seed + b"\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(partial, path)
        except FileExistsError:
            return
    finally:
        partial.unlink()
