"""
The keys that vaults are encrypted with: the first encrypts, both decrypt.

To change a key: give every worker `OLD,NEW`, then every worker `NEW,OLD`, and after the longest lifetime of a vault, when
nothing is encrypted with the old one any more, `NEW`.
"""

import base64
import binascii
import hashlib
import secrets
from pathlib import Path
from typing import Final, NamedTuple

from flotilla.contracts.errors import SettingsError

KEY_SETTING: Final = "FLOTILLA_VAULT_KEY"
FILE_SETTING: Final = "FLOTILLA_VAULT_KEY_FILE"
KEY_BYTES: Final = 32
KEYS_MAX: Final = 2
KEY_ID_BYTES: Final = 8
FILE_BYTES_MAX: Final = 1024

_WANTED: Final = f"one or two different keys of {KEY_BYTES} bytes in base64 with a comma or a line break between"


class VaultKey(NamedTuple):
    """
    One key.

    Attributes:
        id: Says which key a record was encrypted with, and nothing of the key.
    """

    id: bytes
    secret: bytes

    def __repr__(self) -> str:
        return f"VaultKey({self.id.hex()})"

    def derived(self, purpose: bytes, *parts: str) -> bytes:
        """A key for one purpose and one vault: of the key itself nothing is ever used twice with one nonce."""
        text = b"\0".join(part.encode() for part in parts)
        return hashlib.blake2b(text, key=self.secret, digest_size=KEY_BYTES, person=purpose).digest()


VaultKeys = tuple[VaultKey, ...]
"""The one that encrypts first."""


def new_key() -> str:
    """A fresh key, as the setting takes it."""
    return base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()


def vault_keys(text: str | None, file: Path | None) -> VaultKeys:
    """
    The keys of `FLOTILLA_VAULT_KEY`, or those in the file that `FLOTILLA_VAULT_KEY_FILE` names.

    Raises:
        SettingsError: There are none, or they are no keys; says which setting, and nothing of what stands there.
    """
    if text is not None and file is not None:
        raise SettingsError(f"settings {KEY_SETTING} and {FILE_SETTING}: expected one of them")
    if text is not None:
        return _read(text, f"setting {KEY_SETTING}")
    if file is None:
        raise SettingsError(f"setting {KEY_SETTING} or {FILE_SETTING} is missing: {_WANTED}")
    try:
        with file.open("rb") as opened:
            content = opened.read(FILE_BYTES_MAX)
    except OSError as error:
        raise SettingsError(f"setting {FILE_SETTING}: {file}: {error.strerror or type(error).__name__}") from error
    return _read(content.decode("ascii", errors="replace"), f"setting {FILE_SETTING}: {file}")


def _read(text: str, where: str) -> VaultKeys:
    parts = text.replace(",", " ").split()
    secrets_given = [_decoded(part) for part in parts]
    if not 1 <= len(parts) <= KEYS_MAX or None in secrets_given or len(set(secrets_given)) < len(parts):
        raise SettingsError(f"{where}: expected {_WANTED}")
    return tuple(VaultKey(_id_of(secret), secret) for secret in secrets_given if secret is not None)


def _decoded(part: str) -> bytes | None:
    try:
        secret = base64.b64decode(part, validate=True)
    except (binascii.Error, ValueError):
        return None
    return secret if len(secret) == KEY_BYTES else None


def _id_of(secret: bytes) -> bytes:
    return hashlib.blake2b(b"", key=secret, digest_size=KEY_ID_BYTES, person=b"flotilla-vaultid").digest()
