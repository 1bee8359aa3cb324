"""
The blackboard for users and agents: the bodies of `api.blackboard` and of its answers.

Each scope has a key space of its own. Keys are words of `A-Za-z0-9_=/-` with dots between; patterns use `*` for one
word and `>` for the rest.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from flotilla.contracts.decoding import UNDECODABLE, checked
from flotilla.contracts.fields import Sequence, UnixMs, Word
from flotilla.contracts.patterns import pattern

KEY_LENGTH_MAX = 256
VALUE_BYTES_MAX = 1024 * 1024
ENTRIES_MAX = 1000
ENTRIES_BYTES_MAX = 4 * 1024 * 1024
TTL_S_MAX = 30 * 24 * 3600
WATCH_MS_MAX = 30_000
ABSENT = msgspec.Raw(b"")
"""Stands for a value that was not given: JSON is never empty."""

# `\Z`, since `$` lets a line break through at the end, and a subject with one breaks the connection of who writes it.
Key = Annotated[
    str,
    Meta(
        pattern=pattern(
            r"^[A-Za-z0-9_=/-]+(?:\.[A-Za-z0-9_=/-]+)*\Z", "parts of A-Z, a-z, 0-9, _, =, / and -, with dots between"
        ),
        max_length=KEY_LENGTH_MAX,
    ),
]
Pattern = Annotated[
    str,
    Meta(
        pattern=pattern(
            r"^(?:>|(?:[A-Za-z0-9_=/-]+|\*)(?:\.(?:[A-Za-z0-9_=/-]+|\*))*(?:\.>)?)\Z",
            "a key, perhaps with * for a part and > for all that follow",
        ),
        max_length=KEY_LENGTH_MAX,
    ),
]


class BlackboardQuery(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """
    What to do with the blackboard.

    `get` a key, `set` it whatever was there, `update` it only if `revision` is its newest (0: it does not exist),
    `delete` it, `list` the entries that match, give a key's `history`, or `watch`: wait up to `wait_ms` for entries
    newer than `revision` that match (0: for any, deleted ones left out).

    Attributes:
        value: Any JSON, for `set` and `update`.
        revision: For `update` and `delete` the expected one; for `watch` the one to go on after.
        after: For `list`: the key to go on after.
        author: Who writes; for people and agents to tell each other apart.
        ttl_s: After which the entry goes by itself, and the history of its key with it.
    """

    verb: Literal["get", "set", "update", "delete", "list", "history", "watch"]
    key: Key | None = None
    pattern: Pattern = ">"
    value: msgspec.Raw = ABSENT
    revision: Sequence | None = None
    after: Key | None = None
    author: Word = ""
    ttl_s: Annotated[int, Meta(ge=1, le=TTL_S_MAX)] | None = None
    wait_ms: Annotated[int, Meta(ge=0, le=WATCH_MS_MAX)] = WATCH_MS_MAX


class BlackboardEntry(Struct, frozen=True, kw_only=True):
    """
    One value of a key.

    Attributes:
        value: JSON; null when this write deleted the key.
        revision: Of two values of a key the newer has the greater one; give it to `update`.
        at_unix_ms: When it was written, by the orchestrator's clock.
        expires_unix_ms: When it goes by itself; 0 for never.
        deleted: The key was deleted by this write, or has expired.
    """

    key: str
    value: msgspec.Raw
    revision: int
    author: str = ""
    at_unix_ms: int = 0
    expires_unix_ms: int = 0
    deleted: bool = False


class BlackboardEntries(Struct, frozen=True, kw_only=True):
    """
    Entries: of a `list` by key, else in the order of their revisions.

    Attributes:
        revision: Give it to the next `watch`.
        more: An answer holds at most `ENTRIES_MAX` entries and about `ENTRIES_BYTES_MAX`; there are others. The next
            `watch` has them, or a `list` after the last key. A `history` leaves out the oldest.
    """

    entries: list[BlackboardEntry]
    revision: int = 0
    more: bool = False


class StoredValue(Struct, frozen=True, kw_only=True):
    """What stands in the bucket under a key."""

    value: msgspec.Raw
    author: Word = ""
    at_unix_ms: UnixMs = 0
    expires_unix_ms: UnixMs = 0


encode_value = msgspec.json.Encoder().encode
_decode_value = msgspec.json.Decoder(StoredValue).decode
_decode_raw = msgspec.json.Decoder(msgspec.Raw).decode


def decode_value(body: bytes) -> StoredValue:
    """
    Decode a stored value; one that a foreign writer put there as plain JSON has no author and no time.

    What is no JSON, or nested too deeply, becomes a text.
    """
    try:
        checked(body)
        try:
            return _decode_value(body)
        except msgspec.ValidationError:
            # The reading ended there: what follows may be no JSON.
            return StoredValue(value=_decode_raw(body))
    except UNDECODABLE:
        return StoredValue(value=msgspec.Raw(msgspec.json.encode(body.decode("utf-8", "replace"))))


def as_data(entry: BlackboardEntry) -> Any:
    """The value of an entry as Python data."""
    return msgspec.json.decode(entry.value)
