"""
Counters in a stream (ADR-49): each message adds to its subject's total, and the acknowledgement has the new total.

A message with the same id as one that was stored within the stream's window of duplicates adds nothing, and its
acknowledgement has no total. Totals are whole numbers of any size.
"""

from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import Final

import msgspec
from msgspec import Struct

from flotilla.contracts.errors import DecodeFailedError
from flotilla.fabric.connection import Message
from flotilla.fabric.errors import TopologyError
from flotilla.fabric.inbox import Requests
from flotilla.fabric.jetstream_api import read_ack
from flotilla.fabric.stored import SCAN_BATCH, batch_from, last_message, last_of_each

INCREMENT: Final = "Nats-Incr"
MESSAGE_ID: Final = "Nats-Msg-Id"
TIMEOUT_S: Final = 2.0
DIGITS_MAX: Final = 30
"""Of a total or an increment that is believed."""


class Added(Struct, frozen=True):
    """
    What became of an increment.

    Attributes:
        total: What the counter came to; None when a message of the same id had been counted before.
        sequence: Of the message in the stream; of the first one of its id.
    """

    total: int | None
    sequence: int


class Standing(Struct, frozen=True):
    """
    What a counter stands at.

    Attributes:
        total: 0 of one that nobody has added to.
        sequence: Of its newest message; 0 without one.
    """

    total: int = 0
    sequence: int = 0


class Count(Struct, frozen=True, kw_only=True):
    """
    One message of a counter.

    Attributes:
        total: What the counter came to with it.
        sequence: In its stream, from 1; 0 where it is not known.
        stored_unix_ms: By the server's clock; 0 where it is not known.
        headers: Those of the sender among them.
    """

    subject: str
    increment: int
    total: int
    sequence: int
    stored_unix_ms: int
    headers: Mapping[str, str]


class _Value(Struct, frozen=True):
    val: str


_decode: Final = msgspec.json.Decoder(_Value).decode


async def add(
    requests: Requests,
    counter: str,
    amount: int,
    *,
    message_id: str | None = None,
    headers: Mapping[str, str] | None = None,
    timeout_s: float = TIMEOUT_S,
) -> Added:
    """
    Add to a counter; the amount may be less than 0.

    Raises:
        TopologyError: The server refused; says why.
        FabricError: No answer: it may have been counted. With the same `message_id` it is counted once.
    """
    given = {**(headers or {}), INCREMENT: f"{amount:+d}"}
    if message_id is not None:
        given[MESSAGE_ID] = message_id
    reply = await requests.request(counter, headers=given, timeout_s=timeout_s)
    try:
        ack = read_ack(reply.data)
        total = None if ack.duplicate else _number(ack.val)
    except (DecodeFailedError, ValueError) as error:
        raise TopologyError(f"counter {counter}: the acknowledgement is none of a counter") from error
    if ack.error is not None:
        raise TopologyError(f"counter {counter}: {ack.error.description} ({ack.error.err_code})")
    return Added(total, ack.seq)


def read_count(subject: str, message: Message) -> Count | None:
    """A counter's message as it is told; None when it is none. `subject` is the counter's."""
    try:
        headers = message.headers
        return _count(
            subject,
            message.data,
            headers,
            sequence=_number(headers.get("Nats-Sequence", "0")),
            stored_unix_ms=_unix_ms(headers.get("Nats-Time-Stamp", "")),
        )
    except (UnicodeDecodeError, ValueError):
        return None


async def standing_of(requests: Requests, stream: str, counter: str) -> Standing:
    """
    What a counter has come to, as the stream's leader knows it.

    Raises:
        TopologyError: There is no such stream, or what is stored is no counter.
        FabricError: No answer.
    """
    # Where the stream is away nothing is known; a counter of 0 would be a budget of which nothing is spent.
    found = await last_message(requests, stream, counter, stream_may_miss=False)
    if found is None:
        return Standing()
    try:
        return Standing(_number(_decode(found.body).val), found.sequence)
    except (msgspec.MsgspecError, ValueError) as error:
        raise TopologyError(f"counter {counter}: what is stored is no counter") from error


async def totals(requests: Requests, stream: str, pattern: str) -> dict[str, int] | None:
    """
    What the counters that match stand at, as any replica of the stream has it; None where there are too many at once.

    Raises:
        TopologyError: The server refused; says why.
        FabricError: No answer.
    """
    found = await last_of_each(requests, stream, pattern)
    if found is None:
        return None
    standing: dict[str, int] = {}
    for message in found:
        count = _count(message.subject, message.body, message.headers, sequence=message.sequence, stored_unix_ms=0)
        if count is not None:
            standing[count.subject] = count.total
    return standing


async def counts(
    requests: Requests,
    stream: str,
    pattern: str,
    *,
    since_unix_ms: int = 0,
    from_sequence: int = 1,
    counts_max: int,
) -> AsyncIterator[Count]:
    """
    The messages of counters that match, oldest first, from a server's time or a sequence on; `counts_max` at most.

    The stream must allow direct gets. No more than one batch is held at a time.
    """
    start: int | datetime = datetime.fromtimestamp(since_unix_ms / 1000, UTC) if since_unix_ms else from_sequence
    left = counts_max
    while left > 0:
        batch = await batch_from(requests, stream, pattern, start, min(SCAN_BATCH, left))
        for message in batch:
            count = _count(
                message.subject,
                message.body,
                message.headers,
                sequence=message.sequence,
                stored_unix_ms=message.stored_unix_ms,
            )
            if count is not None:
                left -= 1
                yield count
        if not batch:
            return
        start = batch[-1].sequence + 1


def _count(
    subject: str, body: bytes, headers: Mapping[str, str], *, sequence: int, stored_unix_ms: int
) -> Count | None:
    """One message of a counter; None when it is none."""
    try:
        return Count(
            subject=subject,
            increment=_number(headers.get(INCREMENT, "")),
            total=_number(_decode(body).val),
            sequence=sequence,
            stored_unix_ms=stored_unix_ms,
            headers=headers,
        )
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError):
        return None


def _number(text: str) -> int:
    if len(text) > DIGITS_MAX:
        raise ValueError
    return int(text)


def _unix_ms(time: str) -> int:
    """Of a time as RFC 3339 writes it; 0 for none."""
    return round(datetime.fromisoformat(time).timestamp() * 1000) if time else 0
