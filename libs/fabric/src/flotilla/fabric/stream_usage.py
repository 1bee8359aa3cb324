"""
What a stream holds in all: how many messages, on how many subjects and on which, of how much that it may hold.

Asked of the stream's leader. The messages themselves are read in `stored.py`.
"""

from datetime import datetime
from typing import Any, Final

from msgspec import Struct

from flotilla.fabric import jetstream_api
from flotilla.fabric.api_requests import ask_api
from flotilla.fabric.inbox import Requests

SUBJECTS_MAX: Final = 100_000
"""How many subjects nats-server lists in one answer."""


class StreamUsage(Struct, frozen=True, kw_only=True):
    """
    What a stream holds, and may hold; -1 where there is no bound. Two are equal where nothing has come or gone in between.

    Attributes:
        last_sequence: Of the newest message that it has ever held; 0 before the first.
        subjects: On which it holds messages.
        created: When it was made, as the server writes it: one that was lost and made again has another time.
    """

    messages: int
    messages_max: int
    size_bytes: int
    size_bytes_max: int
    last_sequence: int = 0
    subjects: int = 0
    created: str = ""


async def usage_by_subject(requests: Requests, stream: str, pattern: str) -> tuple[StreamUsage, dict[str, int]]:
    """
    How much a stream holds, and of that how many messages on each subject that matches; at most SUBJECTS_MAX subjects.

    The server counts before it lists: the list has all that was counted and was not deleted meanwhile.
    """
    answer = await ask_api(requests, jetstream_api.stream_info(stream), {"subjects_filter": pattern})
    state: dict[str, Any] = answer.get("state") or {}
    return _usage_of(answer), state.get("subjects") or {}


async def subjects_holding(requests: Requests, stream: str, pattern: str) -> dict[str, int]:
    """How many messages a stream holds on each subject that matches; at most SUBJECTS_MAX subjects."""
    return (await usage_by_subject(requests, stream, pattern))[1]


async def last_sequence(requests: Requests, stream: str) -> int:
    """How many messages a stream has ever held: it grows with each that is stored, markers of expiry among them."""
    return (await sequences(requests, stream))[1]


async def sequences(requests: Requests, stream: str, *, stream_may_miss: bool = False) -> tuple[int, int]:
    """
    The first and the last sequence of a stream; the last is less than the first when it is empty, or missing and may be.

    Raises:
        RequestDeniedError: This user may not ask, where the stream may be missing; otherwise that is a timeout.
        TopologyError: The server refused; says why.
        FabricError: No answer.
    """
    subject = jetstream_api.stream_info(stream)
    answer = await ask_api(requests, subject, {}, missing_ok=stream_may_miss, may_be_denied=stream_may_miss)
    if jetstream_api.error_of(answer) is not None:
        return 1, 0
    state: dict[str, Any] = answer.get("state") or {}
    return int(state.get("first_seq", 0)), int(state.get("last_seq", 0))


async def held_by(requests: Requests, stream: str) -> StreamUsage:
    """How much a stream holds of what it may."""
    return (await held_and_when(requests, stream))[0]


async def held_and_when(requests: Requests, stream: str) -> tuple[StreamUsage, int]:
    """How much a stream holds of what it may, and when that was so: milliseconds since 1970 by the server's clock."""
    answer = await ask_api(requests, jetstream_api.stream_info(stream), {})
    return _usage_of(answer), round(datetime.fromisoformat(answer["ts"]).timestamp() * 1000)


def _usage_of(answer: dict[str, Any]) -> StreamUsage:
    state: dict[str, Any] = answer.get("state") or {}
    config: dict[str, Any] = answer.get("config") or {}
    return StreamUsage(
        messages=int(state.get("messages", 0)),
        messages_max=int(config.get("max_msgs", -1)),
        size_bytes=int(state.get("bytes", 0)),
        size_bytes_max=int(config.get("max_bytes", -1)),
        last_sequence=int(state.get("last_seq", 0)),
        subjects=int(state.get("num_subjects", 0)),
        created=str(answer.get("created", "")),
    )
