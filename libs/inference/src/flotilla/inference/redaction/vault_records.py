"""
A vault as it is stored: encrypted with AES-256-GCM before it leaves the worker, and bound to its scope and handle.

Layout: the format (3 bytes), the key's id (8), the nonce (12), then ciphertext and tag. Format, key id, scope and handle
are the associated data, so a record that was put under another key of the bucket does not decrypt. Each vault is
encrypted with a key derived from its scope and handle, so random nonces never come near the bound of one key.
"""

import os
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from msgspec import Struct

from flotilla.inference.redaction.vault_keys import KEY_ID_BYTES, VaultKey, VaultKeys
from flotilla.privacy import Entries, Entry

FORMAT: Final = b"FV1"
NONCE_BYTES: Final = 12
RECORD_BYTES_MAX: Final = 4 * 1024 * 1024
"""Of one vault; half of what a message may have."""

_PURPOSE: Final = b"flotilla-vault"
_HEAD: Final = len(FORMAT) + KEY_ID_BYTES


class VaultRecord(Struct, frozen=True, kw_only=True, array_like=True):
    """
    What a vault holds.

    Attributes:
        entries: Number, type and value of each.
    """

    created_unix_ms: int
    expires_unix_ms: int
    entries: list[tuple[int, str, str]]

    def __repr__(self) -> str:
        return f"VaultRecord({len(self.entries)} entries)"


class UnreadableVaultError(Exception):
    """A record cannot be decrypted, or is none; the text says why, and nothing that stands there."""


class FullVaultError(Exception):
    """A vault would be larger than RECORD_BYTES_MAX."""


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(VaultRecord).decode


def seal(keys: VaultKeys, scope: str, handle: str, record: VaultRecord) -> bytes:
    """
    Encrypt a record with the first key.

    Raises:
        FullVaultError: It is too large.
    """
    plain = _encode(record)
    if len(plain) > RECORD_BYTES_MAX:
        raise FullVaultError
    key = keys[0]
    head = FORMAT + key.id
    nonce = os.urandom(NONCE_BYTES)
    return head + nonce + _cipher(key, scope, handle).encrypt(nonce, plain, _associated(head, scope, handle))


def unseal(keys: VaultKeys, scope: str, handle: str, body: bytes) -> VaultRecord:
    """
    Decrypt a record.

    Raises:
        UnreadableVaultError: It was encrypted with a key that is not here, for another scope or handle, or changed.
    """
    head, nonce, sealed = body[:_HEAD], body[_HEAD : _HEAD + NONCE_BYTES], body[_HEAD + NONCE_BYTES :]
    if not head.startswith(FORMAT) or not sealed:
        raise UnreadableVaultError("a vault's record is none of this version")
    key = next((key for key in keys if head == FORMAT + key.id), None)
    if key is None:
        raise UnreadableVaultError("a vault was encrypted with a key that this worker does not have: give it both keys")
    try:
        return _decode(_cipher(key, scope, handle).decrypt(nonce, sealed, _associated(head, scope, handle)))
    except InvalidTag:
        raise UnreadableVaultError("a vault's record was changed, or belongs to another vault") from None
    except msgspec.MsgspecError:  # its text may quote a value
        raise UnreadableVaultError("a vault's record does not decode") from None


def entries_of(handle: str, record: VaultRecord | None) -> Entries:
    """The entries of a record; none yet without one."""
    empty = Entries.empty(handle)
    if record is None:
        return empty
    return Entries(empty.tag, (Entry(number=number, type=name, value=value) for number, name, value in record.entries))


def stored_entries(entries: Entries) -> list[tuple[int, str, str]]:
    """The entries as a record has them."""
    return [(entry.number, entry.type, entry.value) for entry in entries]


def _cipher(key: VaultKey, scope: str, handle: str) -> AESGCM:
    return AESGCM(key.derived(_PURPOSE, scope, handle))


def _associated(head: bytes, scope: str, handle: str) -> bytes:
    return b"\0".join((head, scope.encode(), handle.encode()))
