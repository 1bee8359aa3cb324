"""The file with an nkey that a member of the fleet connects with."""

from pathlib import Path
from typing import Any, Final, cast

import nkeys  # pyright: ignore[reportMissingTypeStubs]

from flotilla.fabric.errors import CredentialsError

CREDS_SUFFIX: Final = ".creds"

_nkeys: Final = cast("Any", nkeys)  # it has no types


def public_key_of(seed: bytes) -> str:
    """
    The public key that belongs to a user's seed.

    Raises:
        ValueError: It is not a user's seed.
    """
    try:
        prefix, _ = _nkeys.decode_seed(bytearray(seed))
        if prefix != _nkeys.PREFIX_BYTE_USER or _nkeys.encode_seed(_raw(seed), prefix) != seed:
            raise ValueError("not the seed of a user")
        return cast("bytes", _nkeys.from_seed(bytearray(seed)).public_key).decode()
    except _nkeys.NkeysError as error:
        raise ValueError("not a seed") from error


def check_file(path: Path) -> None:
    """
    Refuse a file that nobody can connect with, before it is tried.

    Raises:
        CredentialsError: It cannot be read, or holds no user's seed; what a `.creds` file holds is not looked at.
    """
    try:
        raw = path.read_bytes()
        if path.suffix != CREDS_SUFFIX:
            public_key_of(raw.strip())
    except OSError as error:
        raise CredentialsError(path, error.strerror or type(error).__name__) from error
    except ValueError as error:
        raise CredentialsError(path, str(error)) from error


def _raw(seed: bytes) -> bytes:
    _, raw = _nkeys.decode_seed(bytearray(seed))
    return bytes(raw)
