"""
Connections that have a time in which to say what they want: who opens one and sends nothing, or a request byte by byte,
takes a place from others, and uvicorn would leave it to them for ever. Nor has one address all places.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

import h11
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

REQUEST_S: Final = 10.0
"""For a whole request, its body included, from its first byte; and for the first byte."""
LEAVE_S: Final = 10.0
"""For what was sent to be taken, once a connection is to end."""
_INCOMPLETE: Final = (h11.IDLE, h11.SEND_BODY)


class Places:
    """How many connections each address has, those of many people aside: this machine's, and the proxies'."""

    def __init__(self, each_max: int, place_of: Callable[[str], str]) -> None:
        """
        Count, to a bound.

        Args:
            each_max: Of one address.
            place_of: What an address is counted as; empty for one that is not counted.
        """
        self._each_max: Final = each_max
        self._place_of: Final = place_of
        self._taken: Final[Counter[str]] = Counter()

    def __len__(self) -> int:
        return len(self._taken)

    def take(self, address: str) -> str | None:
        """The place of one connection more, to be given back; None where the address has as many as it may."""
        place = self._place_of(address)
        if place and self._taken[place] >= self._each_max:
            return None
        if place:
            self._taken[place] += 1
        return place

    def give_back(self, place: str) -> None:
        """A connection has ended."""
        if place:
            self._taken[place] -= 1
            if not self._taken[place]:
                del self._taken[place]


class Connection(H11Protocol):
    """One connection of a browser."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        places: Places,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._places = places
        self._place: str | None = None
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]  # as uvicorn has it
        """Give it the time for a first byte; or end it, where its address has too many."""
        super().connection_made(transport)
        self._place = self._places.take(self.client[0] if self.client else "")
        if self._place is None:
            transport.abort()
            return
        self._begin_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._end_waiting()
        if self._place is not None:
            self._places.give_back(self._place)
            self._place = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Give a request that begins its time."""
        if self.conn.their_state is h11.IDLE and not self.conn.trailing_data[0]:
            self._end_waiting()
        super().data_received(data)

    def handle_events(self) -> None:
        """Look at what came; until the request is whole, time runs."""
        super().handle_events()
        if self.conn.their_state not in _INCOMPLETE:
            self._end_waiting()
        elif self._deadline is None:
            self._begin_waiting()

    def timeout_keep_alive_handler(self) -> None:
        """Close what nothing came on after an answer, also where the answer is not taken."""
        super().timeout_keep_alive_handler()
        self.loop.call_later(LEAVE_S, self.transport.abort)

    def _begin_waiting(self) -> None:
        self._deadline = self.loop.call_later(REQUEST_S, self._give_up)

    def _end_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        self._deadline = None
        self.transport.abort()
