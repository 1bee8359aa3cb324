"""
Grants: an approver's signed word that one exact input may be worked on, by whom it was not submitted.

A grant names the input by its digest and everything that decides where it may go. It travels with the task (header
`Flotilla-Approval`) as two base64url texts with a dot between, claims and signature, and whoever holds the input can tell
whether it is the one that was approved.

An approver's key is an nkey of the account kind (`A...`): no NATS client connects with one, so no server can have it sign
anything by calling it a nonce.
"""

import base64
import binascii
import hashlib
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from flotilla.contracts.decoding import UNDECODABLE, checked, safe_text, with_readable_numbers
from flotilla.contracts.errors import DecodeFailedError
from flotilla.contracts.fields import Instance, Name, Sha256, UnixMs
from flotilla.contracts.headers import APPROVAL_LENGTH_MAX, DataClass
from flotilla.contracts.patterns import pattern
from flotilla.contracts.subjects import Zone

LIFETIME_S_MAX: Final = 7 * 24 * 3600
"""As long as a task may wait."""
SIGNATURE_BYTES: Final = 64
PUBLIC_KEY: Final = pattern(r"^A[A-Z2-7]{55}\Z", "the public key of an approver (A...)")

_DOMAIN: Final = b"flotilla-grant-1\n"
"""Stands before what is signed: the signature is good for nothing else."""

PublicKey = Annotated[str, Meta(pattern=PUBLIC_KEY)]


class Grant(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    What an approver allows.

    A field that a later version adds may narrow it, so a reader who does not know the field refuses the grant.

    Attributes:
        scope: Whose task it is.
        data_class: That the input was shown under.
        zones: Where it may go.
        input_sha256: See `payload_digest`.
        expires_unix_ms: From then on nothing is sent, by the clock of the worker that looks.
        nonce: 128 random bits in hexadecimal: no two grants are the same.
        approver: Whose signature it is.
    """

    format: Literal[1] = 1
    scope: Instance
    capability: Name
    data_class: DataClass
    zones: Annotated[list[Zone], Meta(min_length=1, max_length=2)]
    input_sha256: Sha256
    expires_unix_ms: UnixMs
    nonce: Annotated[str, Meta(pattern=pattern(r"^[0-9a-f]{32}\Z", "32 hexadecimal digits, in lower case"))]
    approver: PublicKey


class SignedGrant(Struct, frozen=True, kw_only=True):
    """
    A grant as it arrived; the signature is not checked yet.

    Attributes:
        signed: The bytes that were signed.
    """

    grant: Grant
    signed: bytes
    signature: bytes


class Payload(Struct, frozen=True, kw_only=True):
    """What is about to be sent to a provider: the input as JSON, and what decides whether it may be."""

    scope: str
    capability: str
    data_class: DataClass
    zone: Zone
    input: bytes


_encode: Final = msgspec.json.Encoder().encode
_encode_sorted: Final = msgspec.json.Encoder(order="sorted").encode
_decode_grant: Final = msgspec.json.Decoder(Grant).decode


def payload_digest(body: bytes) -> str:
    """
    The SHA-256 of an input in hexadecimal, over its canonical form: keys sorted, no white space.

    Raises:
        DecodeFailedError: It is no JSON, or holds a number that cannot be written again.
    """
    try:
        return hashlib.sha256(_encode_sorted(msgspec.json.decode(with_readable_numbers(checked(body))))).hexdigest()
    except UNDECODABLE as error:
        raise DecodeFailedError(f"input: {safe_text(error)}") from error


def claims_of(grant: Grant) -> tuple[bytes, bytes]:
    """A grant's claims, and the bytes that its approver signs."""
    claims = _encode(grant)
    return claims, _DOMAIN + claims


def write_grant(claims: bytes, signature: bytes) -> str:
    """The text that travels."""
    return f"{_base64(claims)}.{_base64(signature)}"


def read_grant(text: str) -> SignedGrant:
    """
    Take a grant apart.

    Raises:
        DecodeFailedError: It is none, was cut, or is of a version that is not known here.
    """
    claims_text, dot, signature_text = text.partition(".")
    if not dot or len(text) > APPROVAL_LENGTH_MAX or not text.isascii():
        raise DecodeFailedError("grant: expected two base64url texts with a dot between")
    try:
        claims, signature = _raw(claims_text), _raw(signature_text)
        grant = _decode_grant(checked(claims))
    except (binascii.Error, *UNDECODABLE) as error:
        raise DecodeFailedError(f"grant: {safe_text(error)}") from error
    if len(signature) != SIGNATURE_BYTES:
        raise DecodeFailedError(f"grant: expected a signature of {SIGNATURE_BYTES} bytes")
    return SignedGrant(grant=grant, signed=_DOMAIN + claims, signature=signature)


def flaw_of(grant: Grant, payload: Payload, *, now_unix_ms: int) -> str | None:
    """Why a grant, whose signature is good, does not allow this; None when it does. Names no part of the input."""
    told = (
        ("scope", grant.scope, payload.scope),
        ("capability", grant.capability, payload.capability),
        ("data class", grant.data_class, payload.data_class),
    )
    for what, granted, found in told:
        if granted != found:
            return f"it is for the {what} {granted}, not {found or 'none'}"
    if payload.zone not in grant.zones:
        return f"it does not allow the {payload.zone} zone"
    if now_unix_ms >= grant.expires_unix_ms:
        return "it has expired"
    try:
        same = payload_digest(payload.input) == grant.input_sha256
    except DecodeFailedError:
        same = False
    return None if same else "it is for another input"


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _raw(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
