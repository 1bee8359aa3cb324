"""
The policy as the bucket holds it: the document as JSON for orchestrators, and as its author wrote it for people.

What is not understood there is no policy. It never takes the place of one: whoever has one in force keeps it, and
whoever starts goes back in the key's history to the last that is one.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Final, NamedTuple

import msgspec
from msgspec import Meta, Struct

from flotilla.contracts.api_routing import POLICY_BYTES_MAX
from flotilla.contracts.decoding import UNDECODABLE, checked
from flotilla.contracts.errors import NewerPolicyError, PolicyError
from flotilla.contracts.fields import UnixMs, Word
from flotilla.contracts.policy import Policy, decode_policy
from flotilla.fabric.keyvalue import Entry
from flotilla.routing.policy_check import parse_policy

POLICY_KEY: Final = "routing"


class Source(Struct, frozen=True, kw_only=True):
    """What stands in the bucket beside the policy itself, for people."""

    toml: Annotated[str, Meta(max_length=POLICY_BYTES_MAX)] = ""
    author: Word = ""
    at_unix_ms: UnixMs = 0


class StoredPolicy(NamedTuple):
    """A policy, and the bytes that stand for it in the bucket."""

    policy: Policy
    body: bytes


class _Stored(Struct, frozen=True, kw_only=True):
    source: Source = Source()


_decode_stored: Final = msgspec.json.Decoder(_Stored).decode


def stored(source: Source) -> bytes:
    """
    The value of `POLICY_KEY` that puts a policy in force.

    Raises:
        PolicyError: Its text is none.
    """
    policy = parse_policy(source.toml)
    document: dict[str, Any] = msgspec.to_builtins(policy)
    return msgspec.json.encode({**document, "format": policy.format_needed, "source": source})


def unset_by(author: str, at_unix_ms: int) -> bytes:
    """What stands beside a deletion of `POLICY_KEY`: who wants no policy in force."""
    return msgspec.json.encode(_Stored(source=Source(author=author, at_unix_ms=at_unix_ms)))


def source_of(body: bytes) -> Source:
    """Where a stored policy, or its deletion, comes from; an empty one when somebody wrote to the bucket by hand."""
    try:
        return _decode_stored(checked(body)).source
    except UNDECODABLE:
        return Source()


def read_stored(body: bytes) -> StoredPolicy:
    """
    What stands under `POLICY_KEY`.

    Raises:
        PolicyError: As `decode_policy`.
    """
    return StoredPolicy(decode_policy(body), body)


def last_good(history: Sequence[Entry]) -> Entry | None:
    """
    The newest entry of a key's history (oldest first) that is a policy.

    None where one of a newer format or a deletion is newer than it: what came before was in force no more.
    """
    for entry in reversed(history):
        if entry.deleted:
            return None
        try:
            decode_policy(entry.body)
        except NewerPolicyError:
            return None
        except PolicyError:
            continue
        return entry
    return None
