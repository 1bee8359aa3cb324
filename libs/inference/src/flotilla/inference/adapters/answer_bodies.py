"""
The body of a provider's answer: one JSON document, or events, whichever was asked for; or an error.

Servers that cannot do what was asked do the other: a whole answer where a stream was wanted, and the reverse.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Final, NamedTuple, cast

import httpx2
import msgspec
from msgspec import Struct

from flotilla.capabilities.errors import AttemptError
from flotilla.contracts.attempts import Usage
from flotilla.inference.adapters.errors_told import LABELS, error_object, sentence_of
from flotilla.inference.adapters.failures import failure_of
from flotilla.inference.adapters.server_sent_events import events, is_event_stream
from flotilla.inference.adapters.token_counts import broken_off
from flotilla.inference.lenient_json import loads

BEGINNING_BYTES_MIN: Final = 8
STREAM_ACCEPT: Final = "text/event-stream, application/json"
"""What a request for a stream accepts; by this `http_bounds` knows it."""


NOT_SENT: Final = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)
"""Errors before a request was on its way."""
DRAIN_S: Final = 0.1
"""For what follows the end marker of a stream, so that its connection can be used again."""


class Part(NamedTuple):
    """An event and its type, or the whole body; then `event` is None."""

    event: str | None
    data: bytes


class ErrorAnswer(Struct):
    """What a server said instead of an answer; `text` and `param` are its own words, to be searched and forgotten."""

    status: int
    failure: AttemptError
    text: str
    param: str


async def parts(response: httpx2.Response, *, provider: str) -> AsyncGenerator[Part]:
    """
    The events of a body, or all of it at once where it is none of events.

    Raises:
        AttemptError: An event is too long.
    """
    content_type = response.headers.get("content-type", "")
    body = chunks(response)
    first = await beginning(body)
    if not is_event_stream(content_type, first):
        whole = b"".join([first, *[chunk async for chunk in body]])
        if not is_event_stream(content_type, whole):
            yield Part(None, whole)
            return
        first = whole
    async with aclosing(events(chained(first, body), provider=provider)) as found:
        async for event in found:
            yield Part(event.event, event.data.encode())


def chunks(response: httpx2.Response) -> AsyncIterator[bytes]:
    """The body as it comes; what it was packed in and how much of it there may be is settled below (`http_bounds`)."""
    return aiter(cast("httpx2.AsyncByteStream", response.stream))


async def beginning(body: AsyncIterator[bytes]) -> bytes:
    """Enough to tell the forms apart; white space before an answer means nothing in either."""
    first = b""
    async for chunk in body:
        first = (first + chunk).lstrip()
        if len(first) >= BEGINNING_BYTES_MIN:
            break
    return first


async def chained(first: bytes, rest: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    """A body of which the beginning was read already."""
    yield first
    async for chunk in rest:
        yield chunk


async def drained(rest: AsyncIterator[object]) -> None:
    """Read to the end of a body whose connection is to be used again, unless its server takes its time."""
    with contextlib.suppress(TimeoutError, httpx2.HTTPError):
        async with asyncio.timeout(DRAIN_S):
            async for _ in rest:
                pass


async def read(response: httpx2.Response) -> bytes:
    """The whole body, whatever is in it; the response is closed."""
    try:
        return b"".join([chunk async for chunk in chunks(response)])
    finally:
        await response.aclose()


def spent_by(provider: str, error: Exception, usage: Usage) -> Usage:
    """
    What a call used that ended with an error in place of an answer: what was counted, and an unknown cost.

    One that was never sent, or was answered by something else than the provider (a proxy's page), used what was counted.
    """
    never_sent = isinstance(error, NOT_SENT)
    by_another = not isinstance(error, httpx2.HTTPError) and usage == Usage()
    return usage if never_sent or by_another else broken_off(provider, usage)


async def error_answer(response: httpx2.Response, *, provider: str, spent: Usage | None = None) -> ErrorAnswer:
    """Read an error; the response is closed."""
    body = await read(response)
    try:
        said = loads(body)
    except msgspec.DecodeError:
        said = body.decode(errors="replace")
    named = error_object(said)
    status = response.status_code
    labels = [label for name in LABELS if (label := named.get(name)) is not None and str(label) != str(status)]
    text = str(said)
    failure = failure_of(
        provider,
        status,
        labels=labels,
        text=text,
        headers=response.headers,
        usage=spent,
        said=sentence_of(said),
    )
    message = named.get("message")
    return ErrorAnswer(
        status=status,
        failure=failure,
        text=message if isinstance(message, str) else text,
        param=str(named.get("param") or ""),
    )
