"""The messages of a stream: reading them by sequence or subject, and deleting them."""

import base64
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any, Final

import msgspec
from msgspec import Struct

from flotilla.fabric import jetstream_api
from flotilla.fabric.api_requests import ask_api
from flotilla.fabric.connection import Message, status_of
from flotilla.fabric.errors import TopologyError
from flotilla.fabric.inbox import Requests
from flotilla.fabric.jetstream_api import ErrorCode
from flotilla.fabric.message import HeaderBlock

SCAN_BATCH: Final = 250
SCAN_BATCH_BYTES: Final = 8 * 1024 * 1024
LAST_SUBJECTS_MAX: Final = 250
LAST_OF_EACH_MAX: Final = 1024
"""The server's own bound: of more it gives none (status 413)."""
SEQUENCE_MAX: Final = 2**64 - 1
END_OF_BATCH: Final = "204"
NOTHING_FOUND: Final = "404"

_VERSION_LINE: Final = b"NATS/1.0\r\n"
_ADDED: Final = b"Nats-Stream: "
"""Begins what the server adds to the header block of a message that it reads out directly."""


class StoredMessage(Struct, frozen=True, kw_only=True):
    """
    A message as a stream holds it.

    Attributes:
        sequence: In the stream, from 1.
        stored_unix_ms: When the stream accepted it, by the server's clock.
        raw_headers: The header block as its sender wrote it, unchecked; None without. See `Message`.
    """

    subject: str
    sequence: int
    stored_unix_ms: int
    headers: dict[str, str]
    body: bytes
    raw_headers: bytes | None = None


async def next_message(
    requests: Requests, stream: str, subject: str, *, from_sequence: int = 1
) -> StoredMessage | None:
    """The oldest message on a subject, from a sequence on; None when there is none."""
    return await _get(requests, stream, {"seq": from_sequence, "next_by_subj": subject})


async def message_at(requests: Requests, stream: str, sequence: int) -> StoredMessage | None:
    """The message with a sequence; None when it is gone, or no message can have that sequence."""
    # The server takes any other number for a request that it does not understand.
    if not 1 <= sequence <= SEQUENCE_MAX:
        return None
    return await _get(requests, stream, {"seq": sequence})


async def last_message(
    requests: Requests, stream: str, subject: str, *, stream_may_miss: bool = True
) -> StoredMessage | None:
    """
    The newest message on a subject, which may hold wildcards; None when there is none.

    Raises:
        TopologyError: There is no such stream, and it may not be missing.
    """
    return await _get(requests, stream, {"last_by_subj": subject}, stream_may_miss=stream_may_miss)


async def last_message_direct(requests: Requests, stream: str, subject: str) -> StoredMessage | None:
    """
    The same as any replica of the stream has it, which may lag behind the last write; the stream must allow direct gets.

    Raises:
        TopologyError: The server refused; says why.
        FabricError: No answer.
    """
    reply = await requests.request(jetstream_api.direct_get(stream), msgspec.json.encode({"last_by_subj": subject}))
    status = status_of(reply)
    if status == NOTHING_FOUND:
        return None
    if status is not None:
        raise TopologyError(f"DIRECT.GET.{stream}: status {status}")
    return _stored(reply)


async def scan(
    requests: Requests,
    stream: str,
    pattern: str,
    *,
    messages_max: int,
    from_sequence: int = 1,
    bytes_max: int | None = None,
) -> list[StoredMessage]:
    """
    The oldest messages on the subjects that match, at most `messages_max`; the stream must allow direct gets.

    With `bytes_max`, no further batch (of SCAN_BATCH_BYTES) is read once the bodies have so many bytes.
    """
    found: list[StoredMessage] = []
    sequence = from_sequence
    size = 0
    while len(found) < messages_max and (bytes_max is None or size < bytes_max):
        batch = await batch_from(requests, stream, pattern, sequence, min(SCAN_BATCH, messages_max - len(found)))
        if not batch:
            break
        found += batch
        size += sum(len(message.body) for message in batch)
        sequence = found[-1].sequence + 1
    return found


async def between(
    requests: Requests, stream: str, pattern: str, *, from_sequence: int, before: int
) -> AsyncIterator[StoredMessage]:
    """
    The messages on the subjects that match with `from_sequence` <= sequence < `before`, oldest first.

    No more than one batch (of SCAN_BATCH_BYTES) is held at a time, so whoever drops each message may walk over any
    number. The stream must allow direct gets.
    """
    # The server knows no end to a batch but its length: growing from 1, what is read beyond `before` is in proportion
    # to what is there before it, however sparse the subjects are.
    length = 1
    while from_sequence < before:
        batch = await batch_from(requests, stream, pattern, from_sequence, min(length, before - from_sequence))
        if not batch:
            return
        for message in batch:
            if message.sequence >= before:
                return
            yield message
        from_sequence = batch[-1].sequence + 1
        length = min(length * 2, SCAN_BATCH)


async def last_messages(requests: Requests, stream: str, subjects: list[str]) -> list[StoredMessage]:
    """The newest message on each of the subjects (no wildcards, at most LAST_SUBJECTS_MAX), where there is one."""
    ask = {"multi_last": subjects, "batch": LAST_SUBJECTS_MAX}
    found, last = await requests.collect(
        jetstream_api.direct_get(stream),
        msgspec.json.encode(ask),
        is_last=lambda message: status_of(message) is not None,
    )
    if status_of(last) not in (END_OF_BATCH, NOTHING_FOUND):
        raise TopologyError(f"DIRECT.GET: status {status_of(last)}")
    return [_stored(message) for message in found]


async def last_of_each(requests: Requests, stream: str, pattern: str) -> list[StoredMessage] | None:
    """
    The newest message on each subject that matches, oldest first; None when there are more than come at once.

    At most LAST_OF_EACH_MAX and SCAN_BATCH_BYTES. The server finds them by its index of subjects, where `between` has it
    look at every message of a block, on the connection that asks: at 30,000 messages 1 ms and 35 ms for each request.
    """
    ask = {"multi_last": [pattern], "batch": LAST_OF_EACH_MAX, "max_bytes": SCAN_BATCH_BYTES}
    found, last = await requests.collect(
        jetstream_api.direct_get(stream),
        msgspec.json.encode(ask),
        is_last=lambda message: status_of(message) is not None,
    )
    match status_of(last):
        case "404":
            return []
        case "204" if last.headers.get("Nats-Num-Pending") == "0":
            return [_stored(message) for message in found]
        case "204" | "413":
            return None
        case status:
            raise TopologyError(f"DIRECT.GET.{stream}: status {status}")


async def delete_message(requests: Requests, stream: str, sequence: int) -> bool:
    """Delete one message; False when it was gone already."""
    ask = {"seq": sequence, "no_erase": True}
    answer = await ask_api(requests, jetstream_api.message_delete(stream), ask, missing_ok=True)
    return bool(answer.get("success"))


async def purge(requests: Requests, stream: str, pattern: str) -> int:
    """Delete the messages on the subjects that match; gives how many there were."""
    answer = await ask_api(requests, jetstream_api.stream_purge(stream), {"filter": pattern})
    return int(answer.get("purged", 0))


async def batch_from(
    requests: Requests, stream: str, pattern: str, start: int | datetime, length: int
) -> list[StoredMessage]:
    """
    The oldest messages on the subjects that match, at most `length` and SCAN_BATCH_BYTES; empty when there are no more.

    Args:
        requests: The connection's.
        stream: It must allow direct gets.
        pattern: A subject, which may hold wildcards.
        start: A sequence, or a time of the server's clock; in UTC.
        length: At most SCAN_BATCH.
    """
    ask: dict[str, object] = {"next_by_subj": pattern, "batch": length, "max_bytes": SCAN_BATCH_BYTES}
    if isinstance(start, int):
        ask["seq"] = start
    else:
        ask["start_time"] = start.isoformat().replace("+00:00", "Z")
    batch, _ = await requests.collect(
        jetstream_api.direct_get(stream),
        msgspec.json.encode(ask),
        is_last=lambda message: status_of(message) is not None,
    )
    return [_stored(message) for message in batch]


def _stored(message: Message) -> StoredMessage:
    headers = dict(message.headers)
    subject, sequence = headers.pop("Nats-Subject"), int(headers.pop("Nats-Sequence"))
    stored_unix_ms = _unix_ms(headers.pop("Nats-Time-Stamp"))
    for name in ("Nats-Stream", "Nats-Num-Pending", "Nats-Last-Sequence", "Nats-UpTo-Sequence"):
        headers.pop(name, None)
    return StoredMessage(
        subject=subject,
        sequence=sequence,
        stored_unix_ms=stored_unix_ms,
        headers=headers,
        body=message.data,
        raw_headers=_senders_own(message.raw_headers or b""),
    )


def _senders_own(raw: bytes) -> bytes | None:
    """The header block without what the server has added behind it; None when its sender gave none."""
    own, added, _ = raw.rpartition(_ADDED)
    return own + b"\r\n" if added and own != _VERSION_LINE else None


async def _get(
    requests: Requests, stream: str, ask: dict[str, Any], *, stream_may_miss: bool = True
) -> StoredMessage | None:
    subject = jetstream_api.message_get(stream)
    answer = await ask_api(requests, subject, ask, missing_ok=True)
    error = jetstream_api.error_of(answer)
    if error is not None and error.err_code == ErrorCode.STREAM_NOT_FOUND and not stream_may_miss:
        raise TopologyError(f"{subject}: {error.description}")
    message = answer.get("message")
    if message is None:
        return None
    raw_headers = base64.b64decode(message.get("hdrs", "")) or None
    return StoredMessage(
        subject=message["subject"],
        sequence=message["seq"],
        stored_unix_ms=_unix_ms(message["time"]),
        headers=HeaderBlock(raw_headers or b"").fields,
        body=base64.b64decode(message.get("data", "")),
        raw_headers=raw_headers,
    )


def _unix_ms(time: str) -> int:
    """Of a time as RFC 3339 writes it."""
    return round(datetime.fromisoformat(time).timestamp() * 1000)
