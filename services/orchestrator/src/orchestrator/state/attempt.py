"""One attempt: a dispatch of a task to one route, and what is heard of it."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import structlog

from flotilla.chassis.tracing import Span
from flotilla.contracts.attempts import Accepted, Busy, Failed, Finished, Piece, Progress, WorkerReply, decode_reply
from flotilla.contracts.errors import DecodeFailedError
from flotilla.contracts.failures import FailureKind
from flotilla.fabric.connection import Message, status_of
from flotilla.fabric.lanes import Lane
from flotilla.fabric.unreadable import Sparing
from flotilla.routing.types import Route
from orchestrator.state.outcomes import Ended, Outcome
from orchestrator.state.outputs import Outputs
from orchestrator.state.replica_states import Replica
from orchestrator.state.tasks import Task

logger = structlog.get_logger("orchestrator")

NOBODY: Final = Busy()
"""The server's own answer where no replica is in the group."""

_undecodable: Final = Sparing()
"""By pool, for all attempts of the process."""

OnPiece = Callable[[str], Awaitable[None]]
OnStart = Callable[["Attempt"], None]


class InFlight(Protocol):
    """The attempts in flight, for each of them and for the watch over all."""

    loop: Final[asyncio.AbstractEventLoop]
    live: Final[dict[str, "Attempt"]]
    outputs: Final[Outputs]
    renewed_at: float

    @property
    def clock_s(self) -> float:
        """The watch's clock at its last turn, in seconds; it stands still while this process or its connection does."""
        ...

    def clock_at(self, monotonic_s: float) -> float:
        """The watch's clock at a moment since its last turn."""
        ...

    def end(self, attempt: "Attempt", outcome: Outcome) -> None:
        """End an attempt with this outcome; later replies to it are dropped."""
        ...

    def leave(self, attempt: "Attempt", outcome: Outcome) -> None:
        """Nobody waits for it; its replica is told when it speaks."""
        ...

    def forget(self, attempt: "Attempt") -> None:
        """It is not listened to any more."""
        ...

    async def abandon(self, attempt: "Attempt", outcome: Outcome) -> None:
        """Nobody waits for it; its replica is told now, if it is known."""
        ...

    async def time_out(self, attempt: "Attempt") -> None:
        """Its time is over."""
        ...

    async def tell_to_stop(self, attempt: "Attempt") -> None:
        """Its replica is to stop."""
        ...


class Attempt:
    """
    One dispatch of a task to one route.

    Attributes:
        outcome: Resolves once, with the worker's last word or the way it ended without.
        heard_at: When the replica last said anything, by the watch's clock; None before its first reply.
        replica: Known from its first reply that names it.
        asked_at: When replicas were last asked about it, by the watch's clock.
        holder: The life of the replica that took it, once it was asked for.
        suspects: Of a lost one: the replicas that it may have brought into trouble.
        abandoned: Nobody waits for it: it is only listened to until the replica can be told to stop.
    """

    __slots__ = (
        "_attempts",
        "_on_start",
        "_told_started",
        "abandoned",
        "asked_at",
        "gives_up_at",
        "heard_at",
        "holder",
        "id",
        "lane",
        "on_piece",
        "outcome",
        "pieces",
        "replica",
        "reply",
        "route",
        "sent_at",
        "span",
        "started_at",
        "suspects",
        "task",
    )

    def __init__(
        self, attempts: "InFlight", task: Task, route: Route, lane: Lane, *, on_start: OnStart, on_piece: OnPiece | None
    ) -> None:
        self._attempts = attempts
        self.task: Final = task
        self.route: Final = route
        self.lane: Final = lane
        self.outcome: Final[asyncio.Future[Outcome]] = attempts.loop.create_future()
        self.started_at: Final = time.monotonic()
        self.sent_at = attempts.clock_at(self.started_at)
        self.heard_at: float | None = None
        self.gives_up_at = task.deadline_at
        self.replica = ""
        self.pieces = 0
        self.asked_at = -1.0
        self.holder: Replica | None = None
        self.suspects: frozenset[Replica] = frozenset()
        self.abandoned = False
        self.on_piece: Final = on_piece
        self._on_start = on_start
        self._told_started = False
        self.reply = ""
        self.id = ""
        self.span: Span | None = None

    @property
    def started_unix_ms(self) -> int:
        """When it was sent, by the clock on the wall."""
        return round((time.time() - (time.monotonic() - self.started_at)) * 1000)

    @property
    def elapsed_ms(self) -> float:
        """Since the request was sent."""
        return round((time.monotonic() - self.started_at) * 1000, 3)

    async def hear(self, message: Message) -> None:
        """Take one reply of the worker, or the server's word that nobody listens."""
        reply = NOBODY if status_of(message) is not None else self._decoded(message.data)
        if type(reply) is Busy:
            if self.heard_at is None:
                self._attempts.end(self, Ended.NO_SLOT if reply is NOBODY else Ended.BUSY)
                return
            # Taken for what it says, the attempt would be made again, behind the pieces that were passed on.
            reply = Failed(kind=FailureKind.CRASHED, message="the worker was busy after it had begun")
        self.heard_at = self._attempts.clock_s
        match reply:
            case Finished(replica=replica):
                self.replica = replica or self.replica
                checked = self._attempts.outputs.checked(reply, capability=self.task.capability, pool=self.route.pool)
                self._attempts.end(self, checked)
            case Failed(replica=replica):
                self.replica = replica or self.replica
                self._attempts.end(self, reply)
            case Accepted(replica=replica):
                self.replica = replica
                if self.abandoned:
                    await self._attempts.tell_to_stop(self)
                else:
                    self.tell_started()
            case Piece(seq=seq, text=text):
                await self._hear_piece(seq, text)
            case Progress() | Busy():
                pass

    def _decoded(self, body: bytes) -> WorkerReply:
        try:
            return decode_reply(body)
        except DecodeFailedError as error:
            pool = self.route.pool
            unsaid = _undecodable.due(pool)
            if unsaid is not None:
                logger.warning("undecodable_reply", attempt=self.id, pool=pool, detail=str(error), unsaid=unsaid)
            return Failed(kind=FailureKind.CRASHED, message="the worker's reply did not decode")

    def tell_started(self) -> None:
        """Say once that a replica took it; for an attempt that ends at its first reply, whoever awaits it does."""
        if not self._told_started:
            self._told_started = True
            self._on_start(self)

    async def _hear_piece(self, seq: int, text: str) -> None:
        if self.abandoned or self.on_piece is None:
            return
        self.tell_started()
        if seq != self.pieces:
            text = f"piece {self.pieces} of the stream is missing"
            self._attempts.end(self, Failed(kind=FailureKind.CRASHED, message=text))
            return
        self.pieces += 1
        await self.on_piece(text)
