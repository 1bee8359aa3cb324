"""
The reservations of all orchestrators: made and ended as they are heard, and given back where their owner is dead.

An orchestrator says every two seconds that it lives, once it has reserved anything. Of one that has been silent for
OWNER_SILENT_S, by a clock that stands still while this process or its connection does, the others give back what it had
reserved: all of them, under the message id that its own end would have, so it is counted once. What is heard may be
missed, so a counter's messages are read before anything of it is given back.
"""

import asyncio
import time
from collections.abc import Iterable
from typing import Final

import structlog

from flotilla.contracts import subjects
from flotilla.fabric.connection import Connection
from flotilla.fabric.counters import Count
from flotilla.fabric.per_item import guarded
from flotilla.routing.reservations import OWNER_SAYS_EVERY_S, OpenReservations, Reservation
from orchestrator.economy.counters import Counters
from orchestrator.economy.errors import CountersAwayError

logger = structlog.get_logger("orchestrator")

OWNER: Final = "Flotilla-Owner"
RESERVES: Final = "Flotilla-Reserves"
ENDS: Final = "Flotilla-Ends"
UNREAD_MAX: Final = 4_096
"""Counters that are still to be read; those of more are not, and what the dead had reserved there stays reserved."""


class Reservations:
    """
    Reserves in one orchestrator's name, and looks after the reservations of the others.

    Attributes:
        known: Those that are open.
    """

    def __init__(self, connection: Connection, counters: Counters) -> None:
        self._connection = connection
        self._counters = counters
        self._turning: asyncio.Task[None] | None = None
        self._unread: dict[str, None] = {}
        self._watching = False
        self._clock_s = 0.0
        self.known: Final = OpenReservations()
        counters.on_count = self._note
        counters.on_owner = self._lives

    def start(self) -> None:
        """Look after them until `stop`; nothing is said or read before the first `watch`."""
        self._turning = asyncio.get_running_loop().create_task(self._turn_loop())

    def stop(self) -> None:
        """Say no more that this one lives."""
        if self._turning is not None:
            self._turning.cancel()

    def watch(self, subject: str) -> None:
        """Attempts reserve on a counter from now on: learn what is reserved there already, and by whom."""
        self._watching = True
        if len(self._unread) < UNREAD_MAX:
            self._unread[subject] = None

    async def _turn_loop(self) -> None:
        last_s = time.monotonic()
        while True:
            await asyncio.sleep(OWNER_SAYS_EVERY_S)
            now_s = time.monotonic()
            if self._connection.is_connected:
                self._clock_s += min(now_s - last_s, 2 * OWNER_SAYS_EVERY_S)
            last_s = now_s
            if self._watching:
                with guarded("counters"):
                    await self._turn()

    async def _turn(self) -> None:
        await self._connection.publish(subjects.reserving_owner(self._counters.owner))
        unread, self._unread = self._unread, {}
        read = await self._read({*unread, *(each.subject for each in self._lost())})
        self._unread.update((subject, None) for subject in unread if subject not in read)
        for lost in self._lost():
            if lost.subject in read:
                logger.warning("reservation_given_back", counter=lost.subject, owner=lost.owner)
                self.known.ended(lost.id)
                self._counters.add_later(lost.subject, -lost.amount, f"{lost.id}.end", {ENDS: lost.id})

    def _lost(self) -> list[Reservation]:
        return [each for each in self.known.lost(self._clock_s) if each.owner != self._counters.owner]

    async def _read(self, counters: Iterable[str]) -> set[str]:
        """Take in what counters have on record; gives those that could be read."""
        read: set[str] = set()
        for subject in counters:
            try:
                counts = await self._counters.history(subject)
            except CountersAwayError:
                continue
            read.add(subject)
            ended = {count.headers[ENDS] for count in counts if ENDS in count.headers}
            for count in counts:
                reservation = _reservation(count)
                # Its end may have been heard, and be in no replica's answer yet: then it is known of as ended.
                if reservation is not None and reservation.id not in ended:
                    self.known.made(reservation, self._clock_s)
            for reservation in ended:
                self.known.close(reservation)
        return read

    def _note(self, count: Count) -> None:
        reservation, ends = _reservation(count), count.headers.get(ENDS)
        if reservation is not None:
            self.known.made(reservation, self._clock_s)
        elif ends:
            self.known.ended(ends)

    def _lives(self, owner: str) -> None:
        self.known.lives(owner, self._clock_s)


def _reservation(count: Count) -> Reservation | None:
    """What a message of a counter reserves; None where it reserves nothing."""
    reserves = count.headers.get(RESERVES)
    return Reservation(reserves, count.subject, count.headers.get(OWNER, ""), count.increment) if reserves else None
