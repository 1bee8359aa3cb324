"""
The keys of approvers: Ed25519, written as nkeys of the account kind.

No client of the fleet connects with one (`seed_files.check_file` refuses it), so nothing but a grant is ever signed with it.
"""

import base64
import binascii
import secrets
from pathlib import Path
from typing import Any, Final, cast

import nkeys  # pyright: ignore[reportMissingTypeStubs]

from flotilla.contracts.approvals import Grant, SignedGrant, claims_of, write_grant
from flotilla.fabric.errors import CredentialsError

SEED_FILE_BYTES_MAX: Final = 256

_nkeys: Final = cast("Any", nkeys)  # it has no types
_KEY_BYTES: Final = 32
_DECODED_BYTES: Final = 35
"""One for the kind, the key, and two of a checksum."""


class ApproverKey:
    """
    An approver's own key.

    Attributes:
        public_key: What workers are told, `A` and 55 more characters.
    """

    def __init__(self, seed: bytes) -> None:
        """
        Take a seed.

        Raises:
            ValueError: It is not an approver's.
        """
        try:
            prefix, _ = _nkeys.decode_seed(bytearray(seed))
            if prefix != _nkeys.PREFIX_BYTE_ACCOUNT:
                raise ValueError("not the seed of an approver, which begins with SA")
            self._pair = _nkeys.from_seed(bytearray(seed))
            self.public_key: Final = cast("bytes", self._pair.public_key).decode()
        except _nkeys.NkeysError as error:
            raise ValueError("not a seed") from error

    def sign(self, grant: Grant) -> str:
        """The grant as it travels; its `approver` is this key."""
        claims, signed = claims_of(grant)
        return write_grant(claims, self._pair.sign(signed))


def new_approver_seed() -> bytes:
    """A fresh seed, `SA` and 56 more characters."""
    return bytes(_nkeys.encode_seed(secrets.token_bytes(_KEY_BYTES), _nkeys.PREFIX_BYTE_ACCOUNT))


def read_key(path: Path) -> ApproverKey:
    """
    An approver's key from its file.

    Raises:
        CredentialsError: It cannot be read, or holds no approver's seed.
    """
    try:
        with path.open("rb") as file:
            return ApproverKey(file.read(SEED_FILE_BYTES_MAX).strip())
    except OSError as error:
        raise CredentialsError(path, error.strerror or type(error).__name__) from error
    except ValueError as error:
        raise CredentialsError(path, str(error)) from error


def is_public_key(text: str) -> bool:
    """Whether a text is an approver's public key, its checksum included."""
    return _raw_of(text) is not None


def is_signed(given: SignedGrant) -> bool:
    """Whether the signature is that of the approver whom the grant names. Takes 0.1 ms."""
    raw = _raw_of(given.grant.approver)
    if raw is None:
        return False
    try:
        _nkeys.nacl.signing.VerifyKey(raw).verify(given.signed, given.signature)
    except (_nkeys.nacl.exceptions.CryptoError, ValueError):
        return False
    return True


def _raw_of(public_key: str) -> bytes | None:
    """The 32 bytes of a public key; None where it is none: 32 zeros, say, are no key, and anybody could sign for some."""
    try:
        decoded = base64.b32decode(public_key)
    except (binascii.Error, ValueError):
        return None
    if len(decoded) != _DECODED_BYTES or decoded[0] != _nkeys.PREFIX_BYTE_ACCOUNT:
        return None
    if _nkeys.crc16(decoded[:-2]) != int.from_bytes(decoded[-2:], "little"):
        return None
    raw = decoded[1:-2]
    return raw if _nkeys.nacl.bindings.crypto_core_ed25519_is_valid_point(raw) else None
