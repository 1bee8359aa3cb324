"""
The counters of limits and budgets: added to, and heard.

What an attempt waits for is one request. What follows it (the end of a reservation) is sent in the background and again
until it is acknowledged; its message id has it counted once. Every orchestrator hears every total.
"""

import asyncio
import secrets
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import structlog
from msgspec import Struct

from flotilla.contracts import subjects
from flotilla.fabric import counters
from flotilla.fabric.connection import Connection, Message
from flotilla.fabric.counters import Count
from flotilla.fabric.eager import start
from flotilla.fabric.errors import FabricError
from flotilla.fabric.inbox import Requests
from flotilla.fabric.per_item import guarded
from flotilla.fabric.unreadable import Sparing
from flotilla.routing.reservations import OWNER_SAYS_EVERY_S, OpenReservations, Reservation
from orchestrator.economy.errors import CountersAwayError

logger = structlog.get_logger("orchestrator")

OWNER: Final = "Flotilla-Owner"
RESERVES: Final = "Flotilla-Reserves"
ENDS: Final = "Flotilla-Ends"
ADD_TIMEOUT_S: Final = 2.0
LATER_MAX: Final = 100_000
AT_ONCE_MAX: Final = 256
PAUSE_S: Final = 0.5
"""Before what was not acknowledged is sent again."""
GIVE_UP_S: Final = 540.0
"""Within the stream's window of duplicates: later, the same message could be counted twice."""
HISTORY_MAX: Final = 20_000
HISTORY_S: Final = 3_600.0
_OWNERS: Final = subjects.reserving_owner("")

Listener = Callable[[Count], None]


class _Later(Struct, frozen=True):
    """An increment that nobody waits for; `instead` is added in its place when it was counted before."""

    subject: str
    amount: int
    message_id: str
    headers: dict[str, str]
    give_up_at_s: float
    instead: int | None = None


class Counters:
    """
    Adds to counters and hears them.

    Attributes:
        owner: This run of the orchestrator: another after each start.
        known: The reservations of all orchestrators.
        on_lost: Called when an increment is given up.
    """

    def __init__(self, connection: Connection, requests: Requests, instance: str) -> None:
        self._connection = connection
        self._requests = requests
        self._listeners: dict[str, Listener] = {}
        self._later: deque[_Later] = deque()
        self._due = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._count = 0
        self._watching = False
        self._in_flight = 0
        self._sparing = Sparing()
        self.owner: Final = f"{instance}-{secrets.token_hex(4)}"
        self.known: Final = OpenReservations()
        self.on_lost: Callable[[], None] = _nothing

    async def start(self) -> None:
        """Hear what is counted; nothing more happens until a limit or budget is in force."""
        await self._connection.subscribe(subjects.counted("counter.>"), self._on_message)
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._send_loop()), loop.create_task(self._watch_loop())]

    async def stop(self) -> None:
        """Send what waits, for a moment; then stop."""
        for _ in range(20):
            if not self._later and not self._in_flight:
                break
            await asyncio.sleep(0.05)
        for task in self._tasks:
            task.cancel()

    def new_id(self) -> str:
        """For one reservation."""
        self._count += 1
        return f"{self.owner}.{self._count}"

    async def add(self, subject: str, amount: int, **more: Any) -> int | None:
        """
        Add to a counter; gives its total, None when it had been counted before.

        Raises:
            CountersAwayError: Nobody can say whether it was counted.
        """
        try:
            return (await counters.add(self._requests, subject, amount, timeout_s=ADD_TIMEOUT_S, **more)).total
        except FabricError as error:
            raise self._away(error) from error

    def _away(self, error: FabricError) -> CountersAwayError:
        unsaid = self._sparing.due(type(error).__name__)
        if unsaid is not None:
            logger.warning("counters_away", error=str(error), unsaid=unsaid)
        return CountersAwayError(type(error).__name__)

    def add_later(
        self, subject: str, amount: int, message_id: str, headers: dict[str, str], instead: int | None = None
    ) -> None:
        """Add in the background. Where it was counted before, add `instead`, if that is anything."""
        if len(self._later) >= LATER_MAX:
            self.on_lost()
            return
        later = _Later(subject, amount, message_id, headers, time.monotonic() + GIVE_UP_S, instead)
        if self._later or self._in_flight >= AT_ONCE_MAX:
            self._later.append(later)
            self._due.set()
        else:
            # Written before whatever its caller sends next: should this process die, the server has had both or neither.
            start(self._send_now(later))

    async def _send_now(self, later: _Later) -> None:
        self._in_flight += 1
        try:
            again = await self._sent(later)
        finally:
            self._in_flight -= 1
        if again is not None:
            self._later.append(again)
        if self._later:
            self._due.set()

    def hear(self, subject: str, listener: Listener) -> None:
        """Tell a listener each total of a counter, in their order."""
        self._listeners[subject] = listener

    def forget(self, subject: str) -> None:
        """Tell of it no more."""
        self._listeners.pop(subject, None)

    async def history(self, subject: str, since_s: float) -> list[Count]:
        """
        A counter's messages of the last seconds, by this machine's clock.

        Raises:
            CountersAwayError: They cannot be read.
        """
        since_unix_ms = round((time.time() - since_s) * 1000)
        stored = counters.counts(
            self._requests,
            subjects.COUNTERS_STREAM,
            subject,
            since_unix_ms=since_unix_ms,
            counts_max=HISTORY_MAX,
        )
        try:
            return [count async for count in stored]
        except FabricError as error:
            raise self._away(error) from error

    async def total_of(self, subject: str) -> int:
        """
        What a counter stands at.

        Raises:
            CountersAwayError: It cannot be read.
        """
        try:
            return await counters.total_of(self._requests, subjects.COUNTERS_STREAM, subject)
        except FabricError as error:
            raise self._away(error) from error

    def watch(self) -> None:
        """There are reservations: say that this one lives, and look after those of the dead."""
        self._watching = True

    def note(self, count: Count) -> None:
        """Take in what a message says of reservations, heard or read."""
        reserves, ends = count.headers.get(RESERVES), count.headers.get(ENDS)
        if reserves:
            owner = count.headers.get(OWNER, "")
            self.known.made(Reservation(reserves, count.subject, owner, count.increment), time.monotonic())
        elif ends:
            self.known.ended(ends)

    async def _on_message(self, message: Message) -> None:
        if message.subject.startswith(_OWNERS):
            self.known.lives(message.subject.removeprefix(_OWNERS), time.monotonic())
            return
        count = read_counted(message)
        if count is None:
            return
        self.note(count)
        listener = self._listeners.get(count.subject)
        if listener is not None:
            listener(count)

    async def _send_loop(self) -> None:
        while True:
            await self._due.wait()
            self._due.clear()
            while self._later:
                batch = [self._later.popleft() for _ in range(min(AT_ONCE_MAX, len(self._later)))]
                unsent = [each for each in await asyncio.gather(*map(self._sent, batch)) if each is not None]
                if unsent:
                    self._later.extendleft(reversed(unsent))
                    await asyncio.sleep(PAUSE_S)

    async def _sent(self, later: _Later) -> _Later | None:
        """None when it is done with; else what is to be sent again."""
        if time.monotonic() >= later.give_up_at_s:
            logger.error("count_given_up", counter=later.subject, amount=later.amount)
            self.on_lost()
            return None
        try:
            total = await self.add(later.subject, later.amount, message_id=later.message_id, headers=later.headers)
        except CountersAwayError:
            return later
        except Exception as error:  # noqa: BLE001  (the others must be sent all the same)
            logger.error("count_failed", counter=later.subject, error=type(error).__name__)  # noqa: TRY400
            return later
        if total is None and later.instead:
            self.add_later(later.subject, later.instead, f"{later.message_id}.late", {})
        return None

    async def _watch_loop(self) -> None:
        while True:
            await asyncio.sleep(OWNER_SAYS_EVERY_S)
            if not self._watching:
                continue
            with guarded("counters"):
                await self._connection.publish(subjects.reserving_owner(self.owner))
                for lost in list(self.known.lost(time.monotonic())):
                    if lost.owner != self.owner:
                        logger.warning("reservation_given_back", counter=lost.subject, owner=lost.owner)
                        self.known.ended(lost.id)
                        self.add_later(lost.subject, -lost.amount, f"{lost.id}.end", {ENDS: lost.id})


def read_counted(message: Message) -> Count | None:
    """A counter's message as it is told; None when it is none."""
    return counters.read_count(message.subject.replace("counted.", "counter.", 1), message)


def _nothing() -> None:
    pass
