"""
Publish a message that its subject holds once, whoever else tries: the first to be stored counts.

The publish expects the subject to be empty (`Nats-Expected-Last-Subject-Sequence: 0`), so the server takes the first and
refuses every other; repeating it is safe. When an acknowledgement was lost, the repeat is refused because of the first
try, and what the subject holds is compared with what was sent.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final

from msgspec import Struct

from flotilla.contracts.errors import DecodeFailedError
from flotilla.fabric.errors import FabricError, NoRespondersError, RequestTimeoutError
from flotilla.fabric.inbox import Requests
from flotilla.fabric.jetstream_api import EXPECTED_LAST_SUBJECT_SEQUENCE, read_ack
from flotilla.fabric.publish_outcomes import Stored, Unclear, gives_up, outcome_of, outcome_of_comparison
from flotilla.fabric.stored import last_message_direct

TIMEOUT_S: Final = 2.0
"""For one acknowledgement."""
PAUSE_S: Final = 0.25
"""Between two tries."""

_EXPECT_NONE: Final = {EXPECTED_LAST_SUBJECT_SEQUENCE: "0"}


class Destination(Struct, frozen=True, kw_only=True):
    """
    Where one message is kept.

    Attributes:
        publish: The subject to publish it on.
        stream: The stream that stores it.
        stored: The subject that it has there; another one where the stream transforms subjects.
    """

    publish: str
    stream: str
    stored: str


async def publish_once(
    requests: Requests,
    destination: Destination,
    body: bytes,
    *,
    patience_s: float,
    refusals_max: int | None = None,
    on_refused: Callable[[str], None],
) -> Stored:
    """
    Publish `body` into an empty destination, and try again for `patience_s` while nobody can say whether it is there.

    Args:
        requests: The connection's.
        destination: Where it belongs.
        body: The message.
        patience_s: At least one try is made.
        refusals_max: Give up after so many answers that are neither an acknowledgement nor about the sequence; None for
            as many as there are in `patience_s`.
        on_refused: Called with the reason of each such answer.

    Raises:
        FabricError: The connection is closed, or has no room for what is to be sent.
    """
    give_up_at = time.monotonic() + patience_s
    refusals = 0
    again = False
    while True:
        outcome = await _try(requests, destination, body, again=again)
        if isinstance(outcome, Stored):
            return outcome
        if isinstance(outcome, str):
            refusals += 1
            on_refused(outcome)
        if gives_up(refusals, refusals_max, left_s=give_up_at - time.monotonic()):
            return Stored.NOT
        again = True
        await asyncio.sleep(PAUSE_S)


async def _try(requests: Requests, destination: Destination, body: bytes, *, again: bool) -> Stored | Unclear | str:
    """What became of one publish; the reason of a refusal."""
    try:
        reply = await requests.request(destination.publish, body, headers=_EXPECT_NONE, timeout_s=TIMEOUT_S)
        error = read_ack(reply.data).error
    except (RequestTimeoutError, NoRespondersError):
        return Unclear.TRY_AGAIN
    except DecodeFailedError as refusal:
        return str(refusal)
    outcome = outcome_of(error, again=again)
    return outcome if outcome is not Unclear.COMPARE else await _compare(requests, destination, body)


async def _compare(requests: Requests, destination: Destination, body: bytes) -> Stored | Unclear:
    """Whether what the destination holds is this."""
    try:
        found = await last_message_direct(requests, destination.stream, destination.stored)
    except FabricError:
        return Unclear.TRY_AGAIN
    return outcome_of_comparison(None if found is None else found.body, body)
