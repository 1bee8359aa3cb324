"""
Backpressure on who asks faster than this process reads: the server refuses the requests of that queue group meanwhile.

NATS bounds no client's rate. What a connection has not read yet, the server keeps, and of each request from another account
the way back; a member that falls 64 MiB behind, or reads the server's PING too late, is taken for dead, and the ways back of
what it had not read stay until they expire. So a member that is behind steps out of the group, as one without a free slot
does (`groups.py`): the server answers "no responders" at once, or chooses another member, and keeps nothing.

How far behind it is, the server says: a PONG stands in the connection's line behind all that was sent before it.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from nats.aio.subscription import Subscription

from flotilla.fabric.connection import Connection
from flotilla.fabric.groups import Membership
from flotilla.fabric.unreadable import Sparing

logger = logging.getLogger("flotilla.fabric")

UNREAD_MAX: Final = 2_048
"""Requests of one group that may wait in the server, at some 3 KB of its memory each; an orchestrator has room for fewer."""
UNREAD_BYTES_MAX: Final = 32 * 1024 * 1024
"""The same of their bytes: half of what the server lets a connection have."""
PINGS_PER_UNREAD: Final = 8
"""A PING is sent each time that an eighth of what may wait was read: none of a quiet group."""

_SPARING: Final = Sparing()


class BoundedMembership(Membership):
    """A member of a queue group that steps out while more of the group's requests wait to be read than may."""

    __slots__ = (
        "_bytes",
        "_bytes_max",
        "_count",
        "_count_max",
        "_ended",
        "_held_off",
        "_is_behind",
        "_on_step_out",
        "_pong",
    )

    def __init__(
        self, connection: Connection, subscription: Subscription, on_step_out: Callable[[], None] = lambda: None
    ) -> None:
        """`on_step_out` is called each time that it steps out."""
        super().__init__(connection, subscription)
        self._on_step_out = on_step_out
        self._pong: asyncio.Future[bool] | None = None
        self._ended = False
        self._is_behind = False
        self._held_off: asyncio.TimerHandle | None = None
        self._count_from_here(UNREAD_MAX // PINGS_PER_UNREAD, UNREAD_BYTES_MAX // PINGS_PER_UNREAD)
        connection.on_reconnect(self._caught_up)

    def read(self, size_bytes: int) -> None:
        """A request was read; called for each, before anything else is done with it."""
        self._count += 1
        self._bytes += size_bytes
        if self._count >= self._count_max or self._bytes >= self._bytes_max:
            self._look()

    def hold_off(self, for_s: float) -> None:
        """Be out for so long, however much there is to read; what had been sent before still comes."""
        if self._ended:
            return
        if self._held_off is None:
            self._step_out()
        else:
            self._held_off.cancel()
        self._held_off = self._connection.nc.loop.call_later(for_s, self._hold_off_no_more)

    async def end(self) -> None:
        """Leave for good; see `leave`."""
        self._ended = True
        if self._held_off is not None:
            self._held_off.cancel()
        await super().end()

    def _look(self) -> None:
        if self._ended:
            return
        if self._pong is None:
            self._count_from_here(UNREAD_MAX, UNREAD_BYTES_MAX)
            self._ping()
        elif self.is_in:
            self._is_behind = True
            self._step_out()
            # The one that was under way says nothing of what came between it and the UNSUB.
            self._ping()

    def _step_out(self) -> None:
        if not self.is_in:
            return
        unsaid = _SPARING.due(self._subscription.subject)
        if unsaid is not None:
            extra = {"subject": self._subscription.subject, "messages": self._count, "size_bytes": self._bytes}
            logger.warning("queue_group_too_fast", extra=extra | {"unsaid": unsaid})
        self.step_out()
        self._on_step_out()

    def _hold_off_no_more(self) -> None:
        self._held_off = None
        self._step_in_if_free()

    def _step_in_if_free(self) -> None:
        if not self._ended and not self._is_behind and self._held_off is None:
            self.step_in()

    def _ping(self) -> None:
        # Without a connection there is none; whoever connects again has read everything there is.
        self._pong = pong = self._connection.nc.ping()
        if pong is not None:
            pong.add_done_callback(self._on_pong)

    def _on_pong(self, pong: "asyncio.Future[bool]") -> None:
        if pong is self._pong:
            self._caught_up()

    def _caught_up(self) -> None:
        """All that had been sent when it was asked for has been read, or is lost with its connection."""
        self._pong = None
        self._count_from_here(UNREAD_MAX // PINGS_PER_UNREAD, UNREAD_BYTES_MAX // PINGS_PER_UNREAD)
        self._is_behind = False
        self._step_in_if_free()

    def _count_from_here(self, count_max: int, bytes_max: int) -> None:
        self._count = self._bytes = 0
        self._count_max, self._bytes_max = count_max, bytes_max
