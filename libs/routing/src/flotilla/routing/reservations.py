"""
Reservations of all orchestrators, as they are heard: which are open, and whose owner is not heard of any more. Pure.

A reservation adds an amount to a counter when an attempt begins, and is ended by a second message that adds the
difference to what was really used. One whose orchestrator died has no end: when its owner has been silent for
OWNER_SILENT_S, whoever notices ends it. Times are seconds of a local monotonic clock.
"""

from collections.abc import Iterator
from typing import Final

from msgspec import Struct

OWNER_SILENT_S: Final = 10.0
OWNER_SAYS_EVERY_S: Final = 2.0
OPEN_MAX: Final = 100_000
"""Open reservations that are watched; of more, those of an orchestrator that dies are not given back."""
OWNERS_MAX: Final = 10_000
ENDED_MAX: Final = 10_000
"""Newest ends that are remembered: what they end may be heard of after them, and again when a counter is read."""


class Reservation(Struct, frozen=True, gc=False):
    """
    An amount that an attempt may use.

    Attributes:
        id: Unique, and begins with its owner's.
        subject: Of its counter.
        owner: The run of an orchestrator that made it.
    """

    id: str
    subject: str
    owner: str
    amount: int


class OpenReservations:
    """What every orchestrator knows of all reservations."""

    def __init__(self) -> None:
        self._open: dict[str, Reservation] = {}
        self._heard_of: dict[str, float] = {}
        self._ended: dict[str, None] = {}

    def __len__(self) -> int:
        return len(self._open)

    def __contains__(self, reservation: str) -> bool:
        return reservation in self._open

    def made(self, reservation: Reservation, now_s: float) -> None:
        """A reservation was made; told twice, it is one, and told after its end it is none."""
        if reservation.id in self._ended:
            return
        if len(self._open) < OPEN_MAX:
            self._open[reservation.id] = reservation
        self._heard_of.setdefault(reservation.owner, now_s)

    def ended(self, reservation: str) -> None:
        """Hold it no more, and do not open it again should its beginning be heard only now."""
        self.close(reservation)
        if len(self._ended) >= ENDED_MAX:
            del self._ended[next(iter(self._ended))]
        self._ended[reservation] = None

    def close(self, reservation: str) -> None:
        """It had its end long ago, and is open only where that was missed."""
        self._open.pop(reservation, None)

    def lives(self, owner: str, now_s: float) -> None:
        """An orchestrator says that it lives."""
        if owner in self._heard_of or len(self._heard_of) < OWNERS_MAX:
            self._heard_of[owner] = now_s

    def lost(self, now_s: float) -> Iterator[Reservation]:
        """The open reservations whose owner is silent; forgets owners that have none."""
        silent = {owner for owner, at_s in self._heard_of.items() if now_s - at_s >= OWNER_SILENT_S}
        if not silent:
            return
        lost = [reservation for reservation in self._open.values() if reservation.owner in silent]
        for owner in silent - {reservation.owner for reservation in lost}:
            del self._heard_of[owner]
        yield from lost
