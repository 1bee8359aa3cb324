"""
The worker's side of a lane: a member of the queue group exactly while a slot is free.

The server then chooses only among replicas that can start at once. A request that arrives in the moment of leaving is
answered with `busy`; nothing is ever queued here.
"""

import asyncio
import contextlib
import logging
import math
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

import nats.errors
from nats.aio.subscription import Subscription

from flotilla.contracts import subjects
from flotilla.contracts.attempts import (
    BUSY,
    PROGRESS,
    Accepted,
    CancelAttempt,
    Drain,
    Failed,
    Finished,
    InferRequest,
    InFlightAnswer,
    InFlightCheck,
    Piece,
    SlotFree,
    decode_control,
    decode_request,
    encode,
)
from flotilla.contracts.errors import DecodeFailedError
from flotilla.contracts.failures import FailureKind
from flotilla.contracts.subjects import Zone
from flotilla.fabric.connection import Connection, Message
from flotilla.fabric.eager import start
from flotilla.fabric.groups import Membership
from flotilla.fabric.per_item import guarded
from flotilla.fabric.rests import Rest
from flotilla.fabric.unreadable import Sparing

logger = logging.getLogger("flotilla.fabric")

ACCEPTED_AFTER_S: Final = 0.1
PROGRESS_EVERY_S: Final = 1.0
TICK_S: Final = 0.05
REST_S: Final = 1.0
"""Without work nobody waits for a word: the ticker rests for so long, unless work comes."""
ENVELOPE_BYTES: Final = 4096


class ActiveAttempt:
    """
    One attempt that occupies a slot. `say_piece` is how its work streams.

    Attributes:
        ends_at: By the loop's clock: when the slot is taken back, and the attempt fails as `timeout`.
    """

    __slots__ = (
        "_connection",
        "_pieces",
        "ends_at",
        "heard_at",
        "overdue",
        "reply",
        "request",
        "said_accepted",
        "started_at",
        "task",
    )

    def __init__(self, connection: Connection, request: InferRequest, reply: str, now: float) -> None:
        self._connection = connection
        self._pieces = 0
        self.request: Final = request
        self.reply: Final = reply
        self.started_at: Final = now
        self.heard_at = now
        self.said_accepted = False
        self.ends_at = math.inf
        self.overdue = False
        self.task: asyncio.Task[None] | None = None

    @property
    def pieces(self) -> int:
        """How many pieces have gone out."""
        return self._pieces

    async def say_piece(self, text: str) -> None:
        """Send one piece of a streamed answer."""
        if not text:
            return
        seq = self._pieces
        self._pieces += 1
        self.heard_at = asyncio.get_running_loop().time()
        await self._connection.publish(self.reply, encode(Piece(seq=seq, text=text)))


Work = Callable[[ActiveAttempt], Awaitable[Finished | Failed]]
"""Does one attempt. Raises nothing but CancelledError: every failure is a `Failed`."""


class Slots:
    """
    The slots of one replica, and its membership in the pool's queue group.

    Attributes:
        renewed_at: When the ticker last turned, by the loop's clock; a liveness probe watches it.

    With `eager`, work is begun as its request is read (see `eager.start`): only for work that does not wait at all.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        zone: Zone,
        pool: str,
        replica: str,
        slots: int,
        work: Work,
        eager: bool = False,
    ) -> None:
        self._connection = connection
        self._zone: Zone = zone
        self._pool = pool
        self._replica = replica
        self._slots = slots
        self._work = work
        self._eager = eager
        self._loop = asyncio.get_running_loop()
        self._sparing = Sparing()
        self._held: dict[str, ActiveAttempt] = {}
        self._membership: Membership | None = None
        self._controls: list[Subscription] = []
        self._ticker: asyncio.Task[None] | None = None
        self._rest = Rest()
        self._membership_check_due = False
        self._draining = False
        self.drain_asked: Final = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self.renewed_at = self._loop.time()

    @property
    def busy(self) -> int:
        """How many slots are taken."""
        return len(self._held)

    @property
    def slots(self) -> int:
        """How many there are."""
        return self._slots

    @property
    def draining(self) -> bool:
        """Whether the replica takes nothing new."""
        return self._draining

    async def start(self) -> None:
        """Join the queue group; when this returns, requests arrive."""
        for whom in (self._replica, subjects.EVERY_REPLICA):
            subject = subjects.infer_control(self._zone, self._pool, whom)
            self._controls.append(await self._connection.subscribe(subject, self._on_control))
        self._ticker = self._loop.create_task(self._tick())
        subject = subjects.infer(self._zone, self._pool, "*")
        joined = await self._connection.subscribe(subject, self._on_request, queue=self._pool)
        self._membership = Membership(self._connection, joined)
        await self._connection.settle()

    async def drain(self, grace_s: float) -> None:
        """
        Leave the group, finish what is held within `grace_s`, and fail the rest as `interrupted`.

        Nothing is lost: what the server had sent before it saw the UNSUB is answered with `busy`.
        """
        self._draining = True
        ends_at = self._loop.time() + grace_s
        if self._membership is not None:
            await asyncio.wait([self._loop.create_task(self._membership.end())], timeout=grace_s)
        with contextlib.suppress(asyncio.TimeoutError):
            async with asyncio.timeout(max(0.0, ends_at - self._loop.time())):
                await self._idle.wait()
        held = list(self._held.values())
        for attempt in held:
            if attempt.task is not None:
                attempt.task.cancel("interrupted")
        if held:
            await asyncio.wait([attempt.task for attempt in held if attempt.task is not None], timeout=1.0)
        if self._ticker is not None:
            self._ticker.cancel()
        for control in self._controls:
            with contextlib.suppress(nats.errors.Error):
                await control.unsubscribe()

    def _leave_if_full(self) -> None:
        self._membership_check_due = False
        if self._membership is not None and len(self._held) >= self._slots:
            self._membership.step_out()

    async def _on_request(self, message: Message) -> None:
        if not message.reply:
            return  # nobody could hear the answer
        if len(self._held) >= self._slots or self._draining:
            await self._connection.publish(message.reply, BUSY)
            return
        try:
            request = decode_request(message.data)
        except DecodeFailedError as error:
            if (unsaid := self._sparing.due("request")) is not None:
                logger.exception("undecodable_request", extra={"detail": str(error), "unsaid": unsaid})
            failed = Failed(kind=FailureKind.CRASHED, message="request did not decode", replica=self._replica)
            await self._connection.publish(message.reply, encode(failed))
            return
        if request.attempt in self._held:
            return  # said twice: it is answered once, to whom it was said first
        held = ActiveAttempt(self._connection, request, message.reply, self._loop.time())
        self._held[request.attempt] = held
        self._idle.clear()
        self._rest.end()
        held.task = start(self._run(held)) if self._eager else self._loop.create_task(self._run(held))
        if not self._eager:
            # In one write with all that this read leads to: each request that comes until then is refused.
            self._leave_if_full()
        elif len(self._held) >= self._slots and not self._membership_check_due:
            # Work that ends without waiting (a no-op engine) frees the slot before this runs: no need to leave.
            self._membership_check_due = True
            self._loop.call_soon(self._leave_if_full)

    async def _run(self, held: ActiveAttempt) -> None:
        attempt = held.request.attempt
        answer: Finished | Failed
        try:
            answer = await self._work(held)
        except asyncio.CancelledError:
            kind, why = FailureKind.INTERRUPTED, "the replica was stopped"
            if held.overdue:
                kind, why = FailureKind.TIMEOUT, "the deadline passed while the model worked"
            answer = Failed(kind=kind, message=why, replica=self._replica)
        except Exception:
            logger.exception("attempt_crashed", extra={"attempt": attempt})
            answer = Failed(kind=FailureKind.CRASHED, message="the worker failed", replica=self._replica)
        # Free the slot and join before the last word goes out: whoever hears it may send the next request at once.
        del self._held[attempt]
        if not self._held:
            self._idle.set()
        membership = self._membership
        if membership is not None and not membership.is_in and not self._draining:
            membership.step_in()
            await self._connection.publish(held.reply, self._encoded(answer))
            signal = SlotFree(replica=self._replica, attempt=attempt)
            await self._connection.publish(subjects.infer_free(self._zone, self._pool), encode(signal))
        else:
            await self._connection.publish(held.reply, self._encoded(answer))

    def _encoded(self, answer: Finished | Failed) -> bytes:
        body = encode(answer)
        limit = self._connection.payload_bytes_max - ENVELOPE_BYTES
        if len(body) > limit:
            text = f"the output has {len(body)} bytes; at most {limit} can be sent"
            return encode(Failed(kind=FailureKind.TOO_LARGE, message=text, replica=self._replica))
        return body

    async def _on_control(self, message: Message) -> None:
        try:
            control = decode_control(message.data)
        except DecodeFailedError as error:
            if (unsaid := self._sparing.due("control")) is not None:
                logger.warning("undecodable_control", extra={"detail": str(error), "unsaid": unsaid})
            return
        match control:
            case CancelAttempt(attempt=attempt):
                held = self._held.get(attempt)
                if held is not None and held.task is not None:
                    held.task.cancel("cancelled")
            case Drain():
                self.drain_asked.set()
            case InFlightCheck(attempts=asked) if message.reply:
                here = [attempt for attempt in asked if attempt in self._held]
                roll = InFlightAnswer(replica=self._replica, attempts=here)
                await self._connection.publish(message.reply, encode(roll))
            case InFlightCheck():
                pass

    async def _tick(self) -> None:
        accepted = encode(Accepted(replica=self._replica))
        while True:
            if not self._held:
                await self._rest.take(REST_S)
            await asyncio.sleep(TICK_S)
            now = self.renewed_at = self._loop.time()
            for held in list(self._held.values()):
                # A full output buffer while disconnected: the next word is sent.
                with guarded("slots", held.request.attempt):
                    await self._say_alive(held, now, accepted)
                if now >= held.ends_at and held.task is not None:
                    held.overdue = True
                    held.task.cancel("overdue")

    async def _say_alive(self, held: ActiveAttempt, now: float, accepted: bytes) -> None:
        if not held.said_accepted:
            if now - held.started_at >= ACCEPTED_AFTER_S:
                held.said_accepted = True
                held.heard_at = now
                await self._connection.publish(held.reply, accepted)
        elif now - held.heard_at >= PROGRESS_EVERY_S:
            held.heard_at = now
            await self._connection.publish(held.reply, PROGRESS)


@asynccontextmanager
async def serving(
    connection: Connection,
    *,
    zone: Zone,
    pool: str,
    replica: str,
    slots: int,
    work: Work,
    grace_s: float,
    eager: bool = False,
) -> AsyncGenerator[Slots]:
    """Serve a lane while the block runs; at its end leave the group and finish what is held within `grace_s`."""
    lane = Slots(connection, zone=zone, pool=pool, replica=replica, slots=slots, work=work, eager=eager)
    await lane.start()
    try:
        yield lane
    finally:
        await lane.drain(grace_s)
