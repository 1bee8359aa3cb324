"""
The stream of server-sent events: `state` and `events`, for any number of viewers up to a bound.

A viewer is two numbers: which snapshot and how many events he has been sent. What he gets is encoded once for everybody,
so one whose line is slow holds nothing but what the socket has not taken yet, and gets the newest snapshot when it has.
"""

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from portal.live.view import FleetView

HEARTBEAT_S: Final = 10.0
ASKED_EVERY_S: Final = 2.0
"""How long somebody who may not look any more goes on to see the fleet."""
SEND_TIMEOUT_S: Final = 30.0
"""For one chunk: who takes nothing for so long is gone."""
HEARTBEAT: Final = b": heartbeat\n\n"
RETRY: Final = b"retry: 1000\n\n"
_HEADERS: Final = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    # Proxies that buffer would hold events back.
    (b"x-accel-buffering", b"no"),
]


class EventStream(Response):
    """The answer to `GET /stream`; ends when the browser leaves, when its session is over, or when the portal stops."""

    def __init__(
        self,
        view: FleetView,
        *,
        last_event_id: str,
        stopping: asyncio.Event,
        still_may: Callable[[], bool],
        while_open: AbstractContextManager[None],
    ) -> None:
        """
        Answer with the stream.

        Args:
            view: What is shown.
            last_event_id: What the browser has seen already; empty for nothing.
            stopping: Set when the portal stops.
            still_may: Whether this browser may look now; asked every ASKED_EVERY_S.
            while_open: Entered while the stream is open.
        """
        super().__init__()
        self._view = view
        self._still_may = still_may
        self._while_open = while_open
        self._seen_version = 0
        self._seen_events = view.events.place_of(last_event_id)
        self._stopping = stopping
        self._loop = asyncio.get_running_loop()
        self._sent_s = self._asked_s = self._loop.time()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until somebody leaves."""
        del scope
        with self._while_open, self._view.looked_at():
            sending = asyncio.ensure_future(self._send_all(send))
            tasks = [sending, *(asyncio.ensure_future(each) for each in (_left(receive), self._stopping.wait()))]
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                is_over = sending.done() and sending.exception() is None
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        if is_over or self._stopping.is_set():
            await self._send(send, b"", more=False)

    async def _send_all(self, send: Send) -> None:
        """Return when this browser may not look any more."""
        await send({"type": "http.response.start", "status": 200, "headers": list(_HEADERS)})
        await self._send(send, RETRY)
        view = self._view
        if self._seen_events is None:
            chunk, self._seen_events = self._newest_state() + view.events.recent(), view.events.total
            await self._send(send, chunk)
        while self._may_go_on():
            # One write for what belongs together: the page draws it once.
            state, found = self._newest_state(), view.events.after(self._seen_events)
            if found is not None:
                chunk, self._seen_events = found
                await self._send(send, state + chunk)
                continue
            if state:
                await self._send(send, state)
            elif self._loop.time() - self._sent_s >= HEARTBEAT_S:
                await self._send(send, HEARTBEAT)
            if self._seen_version == view.version:
                await view.turn()

    def _may_go_on(self) -> bool:
        if self._loop.time() - self._asked_s < ASKED_EVERY_S:
            return True
        self._asked_s = self._loop.time()
        return self._still_may()

    def _newest_state(self) -> bytes:
        """The newest snapshot, once; empty for who has seen it."""
        if self._seen_version == self._view.version:
            return b""
        self._seen_version = self._view.version
        return self._view.state

    async def _send(self, send: Send, chunk: bytes, *, more: bool = True) -> None:
        async with asyncio.timeout(SEND_TIMEOUT_S):
            await send({"type": "http.response.body", "body": chunk, "more_body": more})
        self._sent_s = self._loop.time()


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
