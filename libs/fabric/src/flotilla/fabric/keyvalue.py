"""Keys of a bucket: read, written with compare-and-set, their history. Reads go to the leader: they see the last write."""

from typing import Final, NamedTuple

from msgspec import Struct

from flotilla.contracts import subjects
from flotilla.fabric.errors import BucketFullError, TopologyError
from flotilla.fabric.inbox import Requests
from flotilla.fabric.jetstream_api import CONFLICTS, EXPECTED_LAST_SUBJECT_SEQUENCE, ErrorCode, read_ack
from flotilla.fabric.stored import StoredMessage, last_message, last_messages, scan
from flotilla.fabric.stream_usage import StreamUsage, held_by, last_sequence, subjects_holding

HISTORY_MAX: Final = 64
FULL: Final = frozenset({"maximum messages exceeded", "maximum bytes exceeded"})
OPERATION: Final = "KV-Operation"
DELETED: Final = {OPERATION: "DEL"}
"""The headers of a write that deletes its key."""
_MARKER: Final = "Nats-Marker-Reason"


class Entry(Struct, frozen=True, kw_only=True):
    """
    One value of a key.

    Attributes:
        body: When the key was deleted by this write, what was said beside the deletion, if anything.
        revision: The bucket's count of writes; of two values of a key the newer has the greater one.
        stored_unix_ms: When it was written, by the server's clock.
    """

    key: str
    body: bytes
    revision: int
    deleted: bool = False
    stored_unix_ms: int = 0


async def get(requests: Requests, bucket: str, key: str) -> Entry | None:
    """The newest value of a key; None when there never was one. A deleted key's entry says so."""
    message = await last_message(requests, subjects.bucket_stream(bucket), subjects.key(bucket, key))
    return None if message is None else _entry(bucket, message)


async def put(
    requests: Requests,
    bucket: str,
    key: str,
    body: bytes,
    *,
    expected_revision: int | None = None,
    ttl_s: int | None = None,
) -> int | None:
    """
    Write a value; gives its revision, None when `expected_revision` (0: the key never existed) is not the newest.

    In a cluster None may also mean that the server cannot tell now which is the newest: read it again.

    A value with a lifetime replaces the key's history: when it expires, no older value may come to light again.

    Args:
        requests: The connection's.
        bucket: Its name.
        key: Of A-Za-z0-9-_=/ and dots.
        body: The value.
        expected_revision: Write only if this is the key's newest revision.
        ttl_s: After which the server removes the key, but not before the bucket's marker TTL (see `topology`).

    Raises:
        BucketFullError: There is no room for it.
        TopologyError: The server refused for another reason.
        FabricError: No answer.
    """
    headers: dict[str, str] = {}
    if expected_revision is not None:
        headers[EXPECTED_LAST_SUBJECT_SEQUENCE] = str(expected_revision)
    if ttl_s is not None:
        headers["Nats-TTL"] = f"{ttl_s}s"
        headers["Nats-Rollup"] = "sub"
    return await _write(requests, bucket, key, body, headers)


async def delete(
    requests: Requests, bucket: str, key: str, *, expected_revision: int | None = None, body: bytes = b""
) -> int | None:
    """
    Delete a key, its history being kept; gives the revision of the deletion, None as in `put`.

    `body` stands beside the deletion for whoever reads the history; nobody takes it for a value.
    """
    headers = dict(DELETED)
    if expected_revision is not None:
        headers[EXPECTED_LAST_SUBJECT_SEQUENCE] = str(expected_revision)
    return await _write(requests, bucket, key, body, headers)


async def purge(
    requests: Requests, bucket: str, key: str, *, expected_revision: int | None = None, marker_ttl_s: int
) -> int | None:
    """Delete a key and its history, so that only a marker is left, for a time; gives its revision, None as in `put`."""
    headers = {OPERATION: "PURGE", "Nats-Rollup": "sub", "Nats-TTL": f"{marker_ttl_s}s"}
    if expected_revision is not None:
        headers[EXPECTED_LAST_SUBJECT_SEQUENCE] = str(expected_revision)
    return await _write(requests, bucket, key, b"", headers)


async def history(requests: Requests, bucket: str, key: str) -> list[Entry]:
    """The values of a key that the bucket still has, oldest first."""
    found = await scan(requests, subjects.bucket_stream(bucket), subjects.key(bucket, key), messages_max=HISTORY_MAX)
    return [_entry(bucket, message) for message in found]


class Written(NamedTuple):
    """
    What was written after a revision.

    `entries` has the newest of each key; `revision` is the last one looked at: go on after it when there is `more`.
    """

    entries: list[Entry]
    revision: int
    more: bool


async def written(
    requests: Requests, bucket: str, pattern: str, *, after: int, writes_max: int, bytes_max: int
) -> Written:
    """What was written to the keys that match after a revision, oldest first: at most `writes_max` writes at a time."""
    found = await scan(
        requests,
        subjects.bucket_stream(bucket),
        subjects.key(bucket, pattern),
        messages_max=writes_max,
        from_sequence=after + 1,
        bytes_max=bytes_max,
    )
    if not found:
        return Written([], after, more=False)
    by_key = {message.subject: message for message in found}
    entries = sorted((_entry(bucket, message) for message in by_key.values()), key=lambda entry: entry.revision)
    full = len(found) >= writes_max or sum(len(message.body) for message in found) >= bytes_max
    return Written(entries, found[-1].sequence, more=full)


async def keys(requests: Requests, bucket: str, pattern: str) -> list[str]:
    """The keys that match, in order, deleted ones among them while their markers stay; at most `SUBJECTS_MAX`."""
    held = await subjects_holding(requests, subjects.bucket_stream(bucket), subjects.key(bucket, pattern))
    prefix = len(subjects.key(bucket, ""))
    return sorted(subject[prefix:] for subject in held)


async def newest(requests: Requests, bucket: str, names: list[str]) -> list[Entry]:
    """The newest entry of each of these keys, at most `LAST_SUBJECTS_MAX`, by key."""
    if not names:
        return []
    found = await last_messages(
        requests, subjects.bucket_stream(bucket), [subjects.key(bucket, name) for name in names]
    )
    return sorted((_entry(bucket, message) for message in found), key=lambda entry: entry.key)


async def last_revision(requests: Requests, bucket: str) -> int:
    """The revision of the newest write to a bucket, the server's own markers of expired keys included."""
    return await last_sequence(requests, subjects.bucket_stream(bucket))


async def room(requests: Requests, bucket: str) -> StreamUsage:
    """How full a bucket is: values of histories, and the markers of deleted keys, count."""
    return await held_by(requests, subjects.bucket_stream(bucket))


async def _write(requests: Requests, bucket: str, key: str, body: bytes, headers: dict[str, str]) -> int | None:
    reply = await requests.request(subjects.key(bucket, key), body, headers=headers or None)
    ack = read_ack(reply.data)
    if ack.error is None:
        return ack.seq
    if ack.error.err_code in CONFLICTS:
        return None
    if ack.error.err_code == ErrorCode.STREAM_STORE_FAILED and ack.error.description in FULL:
        raise BucketFullError(bucket)
    raise TopologyError(f"bucket {bucket}: {ack.error.description}")


def _entry(bucket: str, message: StoredMessage) -> Entry:
    headers = message.headers
    return Entry(
        key=message.subject[len(subjects.key(bucket, "")) :],
        body=message.body,
        revision=message.sequence,
        deleted=OPERATION in headers or _MARKER in headers,
        stored_unix_ms=message.stored_unix_ms,
    )
