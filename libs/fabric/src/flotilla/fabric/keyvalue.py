"""Keys of a bucket: read, written with compare-and-set, their history. Reads go to the leader, so they see the last write."""

from typing import Final

import msgspec
from msgspec import Struct

from flotilla.contracts import subjects
from flotilla.fabric.errors import TopologyError
from flotilla.fabric.inbox import Requests
from flotilla.fabric.stored import StoredMessage, last_message, scan

HISTORY_MAX: Final = 64
WRONG_LAST_SEQUENCE: Final = 10071
OPERATION: Final = "KV-Operation"
_MARKER: Final = "Nats-Marker-Reason"


class Entry(Struct, frozen=True, kw_only=True):
    """
    One value of a key.

    Attributes:
        body: Empty when the key was deleted by this write.
        revision: The bucket's count of writes; of two values of a key the newer has the greater one.
    """

    key: str
    body: bytes
    revision: int
    deleted: bool = False


class _Error(Struct, frozen=True, kw_only=True):
    err_code: int = 0
    description: str = ""


class _Ack(Struct, frozen=True, kw_only=True):
    seq: int = 0
    error: _Error | None = None


_decode_ack: Final = msgspec.json.Decoder(_Ack).decode


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

    Args:
        requests: The connection's.
        bucket: Its name.
        key: Of A-Za-z0-9-_=/ and dots.
        body: The value.
        expected_revision: Write only if this is the key's newest revision.
        ttl_s: After which the server removes the key; the bucket must allow it.

    Raises:
        TopologyError: The server refused for another reason.
        FabricError: No answer.
    """
    headers: dict[str, str] = {}
    if expected_revision is not None:
        headers["Nats-Expected-Last-Subject-Sequence"] = str(expected_revision)
    if ttl_s is not None:
        headers["Nats-TTL"] = f"{ttl_s}s"
    return await _write(requests, bucket, key, body, headers)


async def delete(requests: Requests, bucket: str, key: str, *, expected_revision: int | None = None) -> int | None:
    """Delete a key, its history being kept; gives the revision of the deletion, None as in `put`."""
    headers = {OPERATION: "DEL"}
    if expected_revision is not None:
        headers["Nats-Expected-Last-Subject-Sequence"] = str(expected_revision)
    return await _write(requests, bucket, key, b"", headers)


async def history(requests: Requests, bucket: str, key: str) -> list[Entry]:
    """The values of a key that the bucket still has, oldest first."""
    found = await scan(
        requests, subjects.bucket_stream(bucket), subjects.key(bucket, key), messages_max=HISTORY_MAX
    )
    return [_entry(bucket, message) for message in found]


async def newest(requests: Requests, bucket: str, pattern: str, *, keys_max: int, after: int = 0) -> list[Entry]:
    """The newest entries of the keys that match, in the order of their revisions, those up to `after` left out."""
    found = await scan(
        requests,
        subjects.bucket_stream(bucket),
        subjects.key(bucket, pattern),
        messages_max=keys_max,
        from_sequence=after + 1,
    )
    by_key = {message.subject: message for message in found}
    return sorted((_entry(bucket, message) for message in by_key.values()), key=lambda entry: entry.revision)


async def _write(requests: Requests, bucket: str, key: str, body: bytes, headers: dict[str, str]) -> int | None:
    reply = await requests.request(subjects.key(bucket, key), body, headers=headers or None)
    ack = _decode_ack(reply.data)
    if ack.error is None:
        return ack.seq
    if ack.error.err_code == WRONG_LAST_SEQUENCE:
        return None
    raise TopologyError(f"bucket {bucket}: {ack.error.description}")


def _entry(bucket: str, message: StoredMessage) -> Entry:
    headers = message.headers
    return Entry(
        key=message.subject[len(subjects.key(bucket, "")) :],
        body=message.body,
        revision=message.sequence,
        deleted=OPERATION in headers or _MARKER in headers,
    )
