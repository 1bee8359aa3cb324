"""
The counters of limits and budgets: added to, and heard.

What an attempt waits for is one request. What follows it (the end of a reservation) is sent in the background and again
until it is acknowledged; its message id has it counted once. Every orchestrator hears every total.
"""

import asyncio
import secrets
import time
from collections.abc import Callable
from typing import Any, Final, Protocol

import structlog

from flotilla.contracts import subjects
from flotilla.fabric import counters
from flotilla.fabric.connection import Connection, Message
from flotilla.fabric.counters import Count, Standing
from flotilla.fabric.eager import start
from flotilla.fabric.errors import FabricError
from flotilla.fabric.inbox import Requests
from flotilla.fabric.stream_usage import StreamUsage, held_by
from flotilla.fabric.unreadable import Sparing
from orchestrator.economy.errors import CountersAwayError
from orchestrator.economy.unsent_counts import Later, UnsentCounts

logger = structlog.get_logger("orchestrator")

ADD_TIMEOUT_S: Final = 2.0
AT_ONCE_MAX: Final = 256
PAUSE_S: Final = 0.5
"""Before what was not acknowledged is sent again."""
GIVE_UP_S: Final = 540.0
"""Within the stream's window of duplicates: later, the same message could be counted twice."""
STOP_S: Final = 1.0
STOP_LOOKS: Final = 20
"""What waits at a stop has so long, and is looked at so often."""
HISTORY_MAX: Final = 20_000
"""As many as the stream keeps of a counter."""
RESTORES: Final = "Flotilla-Restores"
"""Of an increment that puts back what a lost stream had counted; it has the new stream's time of creation."""


class Listener(Protocol):
    """Whoever follows a counter."""

    def heard(self, count: Count) -> None:
        """The counter came to a total; in their order."""
        ...

    def stream_fell(self) -> None:
        """The stream's sequence fell: it was made anew, if the messages were not only heard in another order."""
        ...


class Counters:
    """
    Adds to counters and hears them.

    Attributes:
        owner: This run of the orchestrator: another after each start.
        on_count: Told of each message of a counter that is heard.
        on_owner: Told of each orchestrator that says that it lives.
        on_lost: Called for each increment that is given up.
        on_unused: Told of what was taken of a limit and used by nobody: the limit's name, `requests` or `tokens`, how many.
    """

    def __init__(self, connection: Connection, requests: Requests, instance: str) -> None:
        self._connection = connection
        self._requests = requests
        self._listeners: dict[str, Listener] = {}
        self._later = UnsentCounts()
        self._due = asyncio.Event()
        self._sending: asyncio.Task[None] | None = None
        self._count = 0
        self._newest = 0
        self._in_flight = 0
        self._sparing = Sparing()
        self.owner: Final = f"{instance}-{secrets.token_hex(4)}"
        self.on_count: Callable[[Count], None] = _nothing
        self.on_owner: Callable[[str], None] = _nothing
        self.on_lost: Callable[[], None] = _lost
        self.on_unused: Callable[[str, str, int], None] = _unused

    async def start(self) -> None:
        """Hear what is counted; nothing more happens until a limit or budget is in force."""
        await self._connection.subscribe(subjects.counted("counter.>"), self._on_message)
        self._sending = asyncio.get_running_loop().create_task(self._send_loop())

    async def stop(self) -> None:
        """Send what waits, for a moment; then stop, and say what was not acknowledged."""
        for _ in range(STOP_LOOKS):
            if not self._later and not self._in_flight:
                break
            await asyncio.sleep(STOP_S / STOP_LOOKS)
        if self._sending is not None:
            self._sending.cancel()
        unsent = len(self._later) + self._in_flight
        if unsent:
            logger.error("counts_not_sent", counts=unsent)
        for _ in range(unsent):
            self.on_lost()

    def new_id(self) -> str:
        """An id for one reservation, which says whose it is."""
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
        later = Later(subject, amount, message_id, headers, time.monotonic() + GIVE_UP_S, instead)
        if self._later or self._in_flight >= AT_ONCE_MAX:
            self._wait(later)
        else:
            # Written before whatever its caller sends next: should this process die, the server has had both or neither.
            start(self._send_now(later))

    async def _send_now(self, later: Later) -> None:
        self._in_flight += 1
        try:
            again = await self._sent(later)
        finally:
            self._in_flight -= 1
        if again is not None:
            self._wait(again)
        if self._later:
            self._due.set()

    def _wait(self, later: Later) -> None:
        if self._later.enter(later):
            self._due.set()
        else:
            self._give_up(later, "too many wait")

    def hear(self, subject: str, listener: Listener) -> None:
        """Tell a listener each total of a counter, in their order."""
        self._listeners[subject] = listener

    def forget(self, subject: str) -> None:
        """Tell of it no more."""
        self._listeners.pop(subject, None)

    async def history(self, subject: str, since_s: float | None = None) -> list[Count]:
        """
        A counter's messages of the last seconds, by this machine's clock; without `since_s`, all that are kept.

        Raises:
            CountersAwayError: They cannot be read.
        """
        since_unix_ms = 0 if since_s is None else round((time.time() - since_s) * 1000)
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

    async def standing_of(self, subject: str) -> Standing:
        """
        What a counter stands at.

        Raises:
            CountersAwayError: It cannot be read.
        """
        try:
            return await counters.standing_of(self._requests, subjects.COUNTERS_STREAM, subject)
        except FabricError as error:
            raise self._away(error) from error

    async def life(self) -> str:
        """
        The stream's time of creation: another one when it was lost and made again.

        Raises:
            CountersAwayError: It cannot be read.
        """
        return (await self.usage()).created

    async def usage(self) -> StreamUsage:
        """
        How full the stream is.

        Raises:
            CountersAwayError: It cannot be read.
        """
        try:
            return await held_by(self._requests, subjects.COUNTERS_STREAM)
        except FabricError as error:
            raise self._away(error) from error

    async def restore(self, subject: str, stood: int, life: str) -> Standing:
        """
        Put back what a counter stood at before its messages were lost, unless somebody did; gives what it stands at now.

        Raises:
            CountersAwayError: Nobody can say whether it was counted.
        """
        if not any(RESTORES in count.headers for count in await self.history(subject)):
            logger.warning("counter_restored", counter=subject, amount=stood)
            await self.add(subject, stood, message_id=f"restore.{subject}.{life}", headers={RESTORES: life})
        return await self.standing_of(subject)

    async def _on_message(self, message: Message) -> None:
        if message.subject.startswith(_OWNERS):
            self.on_owner(message.subject.removeprefix(_OWNERS))
            return
        count = read_counted(message)
        if count is None:
            return
        if 0 < count.sequence <= self._newest:
            for each in self._listeners.values():
                each.stream_fell()
        self._newest = count.sequence
        self.on_count(count)
        listener = self._listeners.get(count.subject)
        if listener is not None:
            listener.heard(count)

    async def _send_loop(self) -> None:
        while True:
            await self._due.wait()
            self._due.clear()
            while self._later:
                batch = self._later.take(AT_ONCE_MAX)
                self._in_flight += len(batch)
                again = await asyncio.gather(*map(self._sent, batch))
                self._in_flight -= len(batch)
                for later, unsent in zip(batch, again, strict=True):
                    if unsent is None:
                        self._later.over(later)
                if any(again):
                    self._later.put_back([unsent for unsent in again if unsent is not None])
                    await asyncio.sleep(PAUSE_S)

    async def _sent(self, later: Later) -> Later | None:
        """None when it is done with; else what is to be sent again."""
        if time.monotonic() >= later.give_up_at_s:
            self._give_up(later, "not acknowledged")
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

    def _give_up(self, later: Later, why: str) -> None:
        unsaid = self._sparing.due(why)
        if unsaid is not None:
            logger.error("count_given_up", counter=later.subject, amount=later.amount, why=why, unsaid=unsaid)
        self.on_lost()


_OWNERS: Final = subjects.reserving_owner("")


def read_counted(message: Message) -> Count | None:
    """A counter's message as it is told; None when it is none."""
    return counters.read_count(message.subject.replace("counted.", "counter.", 1), message)


def _nothing(_heard: Any) -> None:
    pass


def _lost() -> None:
    pass


def _unused(_name: str, _measure: str, _amount: int) -> None:
    pass
