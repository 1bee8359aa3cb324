"""
Attempts of which nothing is heard: every replica that may have one is asked which it holds.

A server drops a request without a word when it reaches the node of a replica that has just left its queue group there,
and no other member is left: between the nodes of a cluster the news of the leaving travels, too. A replica that froze
swallows what it is sent until the server notices. Waiting for an acceptance would cost each of them its second.
Messages between the same two keep their order, so an attempt that no replica holds has been dropped; and one that no
replica but a frozen one can hold has been swallowed.

Each replica is asked on its own subject: of one that has died, the server says at once that nobody listens there.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final, Literal

import structlog

from flotilla.contracts import subjects
from flotilla.contracts.attempts import ATTEMPTS_ASKED_MAX, InFlightCheck, decode_in_flight_answer, encode
from flotilla.contracts.errors import DecodeFailedError
from flotilla.contracts.subjects import Zone
from flotilla.fabric.connection import Connection, Message, status_of
from flotilla.fabric.inbox import Inbox
from flotilla.fabric.per_item import guarded
from flotilla.fabric.unreadable import Sparing
from orchestrator.state.replica_states import Replica, ReplicaStates

logger = structlog.get_logger("orchestrator")

ANSWER_WITHIN_S: Final = 10.0
ASK_AGAIN_EVERY_S: Final = 1.0
REPLICAS_ASKED_MAX: Final = 256
"""Of a larger pool nothing is certain, and the acceptance is waited for."""

ReplicasOf = Callable[[str], frozenset[Replica]]
"""The replicas of a pool that are known to live."""
Finding = Literal["dropped", "swallowed"]
OnFound = Callable[[str, Finding], None]


class _Call:
    """
    One in-flight check.

    Attributes:
        missing: Attempts that no replica has said to hold, with the times at which they were sent.
        unknown: Replicas that have not answered.
    """

    __slots__ = ("missing", "on_found", "unknown")

    def __init__(self, missing: dict[str, float], on_found: OnFound) -> None:
        self.missing: Final = missing
        self.unknown: set[Replica] = set()
        self.on_found: Final = on_found


class InFlightChecks:
    """Asks replicas which attempts they hold, and keeps book of those that do not answer."""

    def __init__(
        self,
        connection: Connection,
        inbox: Inbox,
        instance: str,
        *,
        replicas_of: ReplicasOf,
        states: ReplicaStates,
        now_s: Callable[[], float],
        sealed: bool = False,
    ) -> None:
        self._connection = connection
        self._inbox = inbox
        self._instance = instance
        self._sealed = sealed
        self._replicas_of = replicas_of
        self._states = states
        self._loop = asyncio.get_running_loop()
        self._zones: dict[str, Zone] = {}
        self._undecodable = Sparing()
        self._asked_again_s = 0.0
        self._now_s = now_s

    async def ask(self, zone: Zone, pool: str, attempts: dict[str, float], on_found: OnFound) -> None:
        """
        Ask about attempts, given with the times at which they were sent.

        `on_found` is called with each attempt that no replica can hold any more, and with each that only one can which
        was silent before the attempt was sent. Of the others nothing is known.
        """
        self._zones[pool] = zone
        call = _Call(dict(list(attempts.items())[:ATTEMPTS_ASKED_MAX]), on_found)
        replicas = sorted(self._replicas_of(pool))
        call.unknown.update(replicas)
        for replica in replicas[:REPLICAS_ASKED_MAX]:
            await self._ask(zone, replica, call)

    async def ask_one(self, zone: Zone, replica: Replica) -> None:
        """See whether a replica answers at all."""
        self._zones[replica.pool] = zone
        await self._ask(zone, replica, _Call({}, _nobody))

    async def ask_again(self) -> None:
        """Now and then, see whether those in trouble have come back, or are gone."""
        now_s = self._now_s()
        if now_s - self._asked_again_s < ASK_AGAIN_EVERY_S:
            return
        self._asked_again_s = now_s
        self._states.forget(now_s)
        for replica in self._states.troubled():
            with guarded("watch", replica.name):
                if replica in self._replicas_of(replica.pool):
                    await self._ask(self._zones[replica.pool], replica, _Call({}, _nobody))
                else:
                    self.note_absent(replica)

    def note_absent(self, replica: Replica) -> None:
        """Its card is not there: while the server is silent every card expires, and that says nothing of whose it was."""
        if self._connection.is_answered:
            self._states.absent(replica)

    async def _ask(self, zone: Zone, replica: Replica, call: _Call) -> None:
        async def on_roll(message: Message) -> None:
            self._inbox.close(reply)
            self._hear(replica, call, message)

        prefix = subjects.attempt_inbox(zone, replica.pool, self._instance, sealed=self._sealed)
        reply = self._inbox.open(on_roll, prefix=prefix)
        self._loop.call_later(ANSWER_WITHIN_S, partial(self._inbox.close, reply))
        self._states.asked(replica, self._now_s())
        await self._connection.publish(
            subjects.infer_control(zone, replica.pool, replica.name),
            encode(InFlightCheck(attempts=list(call.missing))),
            reply=reply,
        )

    def _hear(self, replica: Replica, call: _Call, message: Message) -> None:
        if status_of(message) is not None:
            self._states.away(replica, self._now_s())
        else:
            try:
                roll = decode_in_flight_answer(message.data)
            except DecodeFailedError as error:
                unsaid = self._undecodable.due(replica.pool)
                if unsaid is not None:
                    logger.warning("undecodable_in_flight_check", pool=replica.pool, detail=str(error), unsaid=unsaid)
                return
            self._states.answered(replica)
            call.unknown.discard(replica)
            for held in roll.attempts:
                call.missing.pop(held, None)
        self._conclude(call)

    def _conclude(self, call: _Call) -> None:
        """What is certain by now about the attempts that are missing."""
        now_s = self._now_s()
        for attempt, sent_s in list(call.missing.items()):
            if all(self._states.was_in_trouble(replica, sent_s, now_s) for replica in call.unknown):
                del call.missing[attempt]
                reachable = any(self._states.is_reachable(replica) for replica in call.unknown)
                with guarded("watch", attempt):
                    call.on_found(attempt, "swallowed" if reachable else "dropped")


def _nobody(_attempt: str, _finding: Finding) -> None:
    pass
