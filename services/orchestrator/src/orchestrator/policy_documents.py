"""The policy as the bucket holds it: the document as JSON for orchestrators, and as its author wrote it for people."""

from typing import Any, Final

import msgspec
from msgspec import Struct

from flotilla.contracts.attempts import UNDECODABLE
from flotilla.contracts.policy_check import parse_policy

POLICY_KEY: Final = "routing"


class Source(Struct, frozen=True, kw_only=True):
    """What stands in the bucket beside the policy itself, for people."""

    toml: str = ""
    author: str = ""
    at_unix_ms: int = 0


class _Stored(Struct, frozen=True, kw_only=True):
    source: Source = Source()


_decode_stored: Final = msgspec.json.Decoder(_Stored).decode


def stored(source: Source) -> bytes:
    """
    The value of `POLICY_KEY` that puts a policy in force.

    Raises:
        PolicyError: Its text is none.
    """
    document: dict[str, Any] = msgspec.to_builtins(parse_policy(source.toml))
    return msgspec.json.encode({**document, "source": source})


def source_of(body: bytes) -> Source:
    """Where a stored policy comes from; an empty one when somebody wrote to the bucket by hand."""
    try:
        return _decode_stored(body).source
    except UNDECODABLE:
        return Source()
