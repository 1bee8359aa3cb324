"""
Answers that are being made: of the tasks that want one at the same moment, one asks a model, in the whole fleet.

A flight is what one orchestrator does about one key. It looks at what is kept; where nothing is, it claims the key in the
bucket and has the first of its tasks run. The others wait for that one's answer. Where another orchestrator holds the
claim, all of them wait: for the answer to be written, or for the claim to end, since its holder failed, or does not renew
it any more. Then the key is claimed anew. The claim is compared and set, so one orchestrator has it.

A flight belongs to no task: whichever of them is cancelled, the others go on.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from enum import Enum
from typing import Any, Final

import structlog

from flotilla.contracts.errors import FlotillaError
from flotilla.fabric.key_changes import KeyChanges
from flotilla.fabric.unreadable import Sparing
from orchestrator.caching.records import Claim, KeptAnswer
from orchestrator.caching.store import CLAIM_LIFETIME_S, CLAIM_RENEWED_EVERY_S, AnswerPlace, AnswerStore
from orchestrator.state.shared_quota import Room

logger = structlog.get_logger("orchestrator")

FLIGHTS_MAX: Final = 10_000
"""Under way at a time, of all scopes."""
FAILED_MAX: Final = 2
"""Tasks of a flight that may fail one after the other before all who wait are run side by side."""
LOOK_TIMEOUT_S: Final = 2.0
"""For what tasks wait for: the bucket must not hold them up for longer."""
LOOK_AGAIN_S: Final = 1.0
"""While another holds the claim: its answer is heard of at once, its silence is not."""
LAPSED_AFTER_S: Final = CLAIM_LIFETIME_S + 1.0
"""By this orchestrator's clock, since it first saw the claim as it is."""
TROUBLE_REST_S: Final = 5.0
"""Without a bucket that answers, tasks run as if there were no cache, and do not ask it for so long."""


class Turn(Enum):
    """
    What a task is to do that was given no answer.

    Attributes:
        LEAD: Run, and tell the flight how that ended.
        ALONE: Run.
    """

    LEAD = "lead"
    ALONE = "alone"


class Given(Enum):
    """
    Where an answer came from.

    Attributes:
        KEPT: It was there.
        MADE: It was being made.
    """

    KEPT = "kept"
    MADE = "made"


Word = tuple[KeptAnswer, Given] | Turn


class Flight:
    """What this orchestrator does about one key."""

    def __init__(self, place: AnswerPlace, store: AnswerStore) -> None:
        self.place: Final = place
        self._store = store
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[asyncio.Future[Word], None] = {}
        self._answer: KeptAnswer | None = None
        self._led: asyncio.Future[KeptAnswer | None] | None = None
        self._failed = 0
        self._seen_revision = -1
        self._seen_at = 0.0

    def join(self) -> "asyncio.Future[Word]":
        """Wait for an answer, or for one's turn."""
        turn: asyncio.Future[Word] = self._loop.create_future()
        if self._answer is not None:
            turn.set_result((self._answer, Given.MADE))
        else:
            self._waiting[turn] = None
        return turn

    def leave(self, turn: "asyncio.Future[Word]") -> None:
        """Wait no longer; whose turn has just come hands it on."""
        self._waiting.pop(turn, None)
        if turn.done() and not turn.cancelled() and turn.result() is Turn.LEAD:
            self.end(None, failed=False)
        turn.cancel()

    def end(self, answer: KeptAnswer | None, *, failed: bool) -> None:
        """Of the task that leads: this is the answer, or there is none; `failed` when the next may well fail too."""
        self._failed += failed
        if self._led is not None and not self._led.done():
            self._led.set_result(answer)

    async def fly(self, closed: Callable[[], None]) -> None:
        """
        Until nobody waits any more.

        Args:
            closed: Called before the last word to the bucket: who wants the answer then begins another flight.
        """
        changes = self._store.changes(self.place)
        try:
            claim = await self._work(changes)
            closed()
            if self._answer is None and claim is not None:
                await self._store.release(self.place, claim)
        finally:
            closed()
            self._tell(Turn.ALONE)
            if changes.is_heard:
                await changes.stop()

    async def _work(self, changes: KeyChanges) -> int | None:
        """Gives the revision of the claim that is held at the end."""
        claim: int | None = None
        while self._waiting:
            if claim is None:
                claim = await self._claim(changes)
                continue
            leader = next(iter(self._waiting))
            del self._waiting[leader]
            self._led = self._loop.create_future()
            leader.set_result(Turn.LEAD)
            claim = await self._hold(claim, self._led)
            answer = self._led.result()
            if answer is not None:
                self._answer = answer
                self._tell((answer, Given.MADE))
                await self._store.keep(self.place, answer)
                return claim
            if self._failed >= FAILED_MAX:
                self._tell(Turn.ALONE)
        return claim

    async def _claim(self, changes: KeyChanges) -> int | None:
        """Look, and take the claim if nobody has it; give what is kept to all; or wait a moment."""
        async with asyncio.timeout(LOOK_TIMEOUT_S):
            found = await self._store.look(self.place)
        if isinstance(found.record, KeptAnswer):
            self._tell((found.record, Given.MADE if changes.is_heard else Given.KEPT))
            return None
        if isinstance(found.record, Claim) and not self._has_lapsed(found.revision):
            if changes.is_heard:
                await changes.wait(LOOK_AGAIN_S)
            else:
                # And look once more: it may have been written in between.
                await changes.start()
            return None
        async with asyncio.timeout(LOOK_TIMEOUT_S):
            return await self._store.claim(self.place, found.revision)

    def _has_lapsed(self, revision: int) -> bool:
        now = time.monotonic()
        if revision != self._seen_revision:
            self._seen_revision, self._seen_at = revision, now
        return now - self._seen_at >= LAPSED_AFTER_S

    async def _hold(self, claim: int | None, led: "asyncio.Future[KeptAnswer | None]") -> int | None:
        """Renew the claim until the task that leads is over; gives its revision, None when it was lost."""
        renewed = 0
        while not led.done():
            await asyncio.wait({led}, timeout=CLAIM_RENEWED_EVERY_S)
            if led.done() or claim is None:
                continue
            renewed += 1
            try:
                claim = await self._store.claim(self.place, claim, renewed)
            except FlotillaError as error:
                # Whether it was written nobody knows; the next try tells.
                logger.debug("cache_claim_not_renewed", error=type(error).__name__)
        return claim

    def _tell(self, word: Word) -> None:
        """To all who wait."""
        waiting, self._waiting = self._waiting, {}
        for turn in waiting:
            if not turn.done():
                turn.set_result(word)


class Flights:
    """
    The flights of one orchestrator, by scope and key.

    What one scope asks keeps no other from its cache: each has its part of the room, and the trouble of its own bucket.
    """

    def __init__(self, store: AnswerStore, room: Room) -> None:
        """Begin without any; `room` is for flights, and answers that are being written."""
        self._store = store
        self._room = room
        self._flights: dict[tuple[str, str], Flight] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._sparing = Sparing()
        self._rest_until: dict[str, float] = {}

    def of(self, place: AnswerPlace) -> Flight | None:
        """The flight to join; None where the bucket did not answer lately, or too many of the scope are under way."""
        at = (place.scope, place.key)
        flight = self._flights.get(at)
        if flight is not None:
            return flight
        if time.monotonic() < self._rest_until.get(place.scope, 0.0) or not self._room.take(place.scope):
            return None
        flight = self._flights[at] = Flight(place, self._store)
        self._start(place.scope, self._fly(flight, at))
        return flight

    def keep(self, place: AnswerPlace, answer: KeptAnswer) -> None:
        """Keep an answer that was made without a flight; nobody waits for that."""
        if self._room.take(place.scope):
            self._start(place.scope, self._guarded(place.scope, self._store.keep(place, answer)))

    async def finish(self, grace_s: float) -> None:
        """The tasks are over: have what they left written within `grace_s`."""
        if self._running:
            await asyncio.wait(self._running, timeout=grace_s)
        for running in list(self._running):
            running.cancel()

    def _start(self, scope: str, work: Coroutine[Any, Any, None]) -> None:
        """Have something done for which room was taken."""
        running = asyncio.get_running_loop().create_task(work)
        self._running.add(running)

        def over(running: asyncio.Task[None]) -> None:
            self._running.discard(running)
            self._room.give_back(scope)

        running.add_done_callback(over)

    async def _fly(self, flight: Flight, at: tuple[str, str]) -> None:
        def closed() -> None:
            if self._flights.get(at) is flight:
                del self._flights[at]

        await self._guarded(flight.place.scope, flight.fly(closed))

    async def _guarded(self, scope: str, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as error:  # noqa: BLE001  (whatever it is: tasks run without the cache)
            self._rest_until[scope] = time.monotonic() + TROUBLE_REST_S
            unsaid = self._sparing.due(f"{scope} {type(error).__name__}")
            if unsaid is not None:
                logger.warning("cache_failed", scope=scope, error=type(error).__name__, unsaid=unsaid)
