"""
The liveness of attempts: one sweep notices those of which nothing is heard any more, and their timeouts.

A replica says `accepted` at once or answers at once, and speaks every second while it works. Who says nothing for longer
is asked; what is lost is told with the replicas that it may have brought into trouble.
"""

import asyncio
import time
from collections.abc import Iterable
from functools import partial
from typing import Final

from flotilla.contracts.attempts import Failed
from flotilla.contracts.failures import FailureKind
from flotilla.contracts.presence import EXPIRY_S
from flotilla.contracts.subjects import Zone
from flotilla.fabric.connection import Connection
from flotilla.fabric.inbox import Inbox
from flotilla.fabric.per_item import guarded
from flotilla.fabric.rests import Rest
from orchestrator.execution.in_flight_checks import Finding, InFlightChecks, ReplicasOf
from orchestrator.execution.liveness_rules import (
    ACCEPTANCE_TIMEOUT_S,
    LIVENESS_TIMEOUT_S,
    counts_against_route,
    due,
    end_of_unfound,
    is_to_be_found,
    is_witnessed,
    last_sign_s,
    life_that_took,
)
from orchestrator.state.attempt import Attempt, InFlight
from orchestrator.state.replica_states import Replica, ReplicaStates, Standing

SWEEP_S: Final = 0.1
REST_S: Final = 1.0
"""Without attempts and without replicas in trouble nothing can become due: the sweep rests for so long, or until it may."""


class LivenessWatch:
    """
    Watches every attempt in flight.

    Attributes:
        clock_s: A clock for silences: it stands still while this process or its connection does, so that a pause here is
            not mistaken for a worker's. While the watch rests it is slow.
        watched_since_s: Since when this process and its connection have been there without a break, by the same clock. A
            replica may have lost the server, too, and be slower to come back: its silence since before then says neither
            that it died of an attempt nor that its route is ill.
        states: Replicas that do not answer.
    """

    def __init__(
        self,
        connection: Connection,
        attempts: InFlight,
        instance: str,
        *,
        inbox: Inbox,
        replicas_of: ReplicasOf,
        sealed: bool = False,
    ) -> None:
        self._connection = connection
        self._attempts = attempts
        self._replicas_of = replicas_of
        self.clock_s = 0.0
        self.watched_since_s = -1.0
        self._turned_at = time.monotonic()
        self._rest = Rest()
        self.states: Final = ReplicaStates()
        self._in_flight_checks = InFlightChecks(
            connection,
            inbox,
            instance,
            replicas_of=replicas_of,
            states=self.states,
            now_s=lambda: self.clock_s,
            sealed=sealed,
        )

    def clock_at(self, monotonic_s: float) -> float:
        """
        The clock at a moment since its last turn.

        What was sent in between is as old as it is: taken for as old as the turn, attempts of half of CHECK_AFTER_S would
        be asked about, of every replica of their pool.
        """
        return self.clock_s + min(monotonic_s - self._turned_at, 2 * SWEEP_S)

    def standing(self, replica: Replica) -> Standing:
        """How a replica stands now."""
        return self.states.standing(replica, self.clock_s)

    def standings(self, losses: Iterable[frozenset[Replica]]) -> dict[Replica, Standing]:
        """How the replicas stand now that attempts were lost with."""
        return {replica: self.standing(replica) for suspects in losses for replica in suspects}

    def counts_against_route(self, attempt: Attempt, failed: Failed) -> bool:
        """See `liveness_rules`."""
        if failed.kind is FailureKind.LOST and not self._is_witnessed(attempt):
            return False
        pool = attempt.route.pool
        return counts_against_route(
            failed,
            heard=attempt.heard_at is not None,
            suspects=attempt.suspects,
            states=self.states,
            pool=pool,
            live=self._replicas_of(pool),
            sent_s=attempt.sent_at,
            clock_s=self.clock_s,
        )

    def attempt_began(self) -> None:
        """There is something to watch."""
        self._rest.end()

    async def watch(self) -> None:
        """Watch without end."""
        self._connection.on_reconnect(self._look_anew)
        self._turned_at = time.monotonic()
        while True:
            if not self._attempts.live and not self.states.troubled():
                await self._rest.take(REST_S)
                self._turn(time.monotonic())
            await asyncio.sleep(SWEEP_S)
            now = time.monotonic()
            self._turn(now)
            for attempt in list(self._attempts.live.values()):
                # A full output buffer while disconnected: the next turn looks again.
                with guarded("watch", attempt.id):
                    await self._look_at(attempt, now)
            with guarded("watch", "in-flight checks"):
                await self._check_unheard()
                await self._in_flight_checks.ask_again()

    def _turn(self, now: float) -> None:
        self._attempts.renewed_at = asyncio.get_running_loop().time()
        if self._connection.is_connected:
            self.clock_s = self.clock_at(now)
        if now - self._turned_at > EXPIRY_S:
            # Every card has expired meanwhile, as far as this process has read.
            self._look_anew()
        self._turned_at = now

    def _look_anew(self) -> None:
        """After a break: see `watched_since_s`."""
        self.watched_since_s = self.clock_s
        self.states.forget_undecided()

    def _is_witnessed(self, attempt: Attempt) -> bool:
        return is_witnessed(attempt, since_s=self.watched_since_s)

    async def _look_at(self, attempt: Attempt, now: float) -> None:
        match due(attempt, now_s=now, clock_s=self.clock_s):
            case "forget":
                self._attempts.forget(attempt)
            case "time_out":
                await self._attempts.time_out(attempt)
            case "not_accepted":
                await self._lose(attempt, f"no replica accepted within {ACCEPTANCE_TIMEOUT_S:g} s")
            case "silent":
                await self._lose(attempt, f"the replica was silent for {LIVENESS_TIMEOUT_S:g} s")
            case "ask":
                attempt.asked_at = self.clock_s
                await self._look_after(attempt)
            case None:
                pass

    async def _look_after(self, attempt: Attempt) -> None:
        """See whether the replica that took an attempt still lives, the same life as then."""
        pool, name = attempt.route.pool, attempt.replica
        found = life_that_took(self._replicas_of(pool), name, sent_unix_ms=attempt.started_unix_ms)
        attempt.holder = found or Replica(pool, name)
        if found is not None:
            await self._in_flight_checks.ask_one(attempt.route.zone, found)
        else:
            self.states.asked(attempt.holder, self.clock_s)
            self._in_flight_checks.note_absent(attempt.holder)

    async def _check_unheard(self) -> None:
        unheard: dict[tuple[Zone, str], dict[str, Attempt]] = {}
        for attempt in self._attempts.live.values():
            if is_to_be_found(attempt, clock_s=self.clock_s):
                attempt.asked_at = self.clock_s
                unheard.setdefault((attempt.route.zone, attempt.route.pool), {})[attempt.id] = attempt
        for (zone, pool), attempts in unheard.items():
            sent = {attempt.id: attempt.sent_at for attempt in attempts.values()}
            with guarded("watch", pool):
                await self._in_flight_checks.ask(zone, pool, sent, partial(self._found, attempts))

    def _found(self, attempts: dict[str, Attempt], attempt_id: str, finding: Finding) -> None:
        """No replica has it, or only one in trouble can. Should one come with it yet, it is told to stop."""
        attempt = attempts[attempt_id]
        if attempt.heard_at is not None or attempt.outcome.done():
            return
        self._attempts.leave(attempt, end_of_unfound(finding))

    async def _lose(self, attempt: Attempt, why: str) -> None:
        # It may only be slow or frozen: should it come back, it is told to stop, and its answer has no listener.
        pool = attempt.route.pool
        may_have_it = [attempt.holder] if attempt.holder is not None else self.states.in_trouble(pool)
        if self._is_witnessed(attempt):
            last_s = last_sign_s(attempt)
            attempt.suspects = self.states.suspects(may_have_it, sent_s=last_s, now_s=self.clock_s)
        await self._attempts.abandon(attempt, Failed(kind=FailureKind.LOST, message=why, replica=attempt.replica))
