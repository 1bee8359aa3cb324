"""Steps in the lives of tasks, as they happen."""

import asyncio
from collections import deque
from collections.abc import Collection
from types import TracebackType
from typing import Final, Self

from flotilla.client.addresses import ANY, checked_task
from flotilla.client.errors import NoFleetError
from flotilla.client.link import Link
from flotilla.contracts.errors import DecodeFailedError
from flotilla.contracts.results import Event, decode_event
from flotilla.contracts.subjects import EventKind
from flotilla.fabric.connection import Message

EVENTS_PENDING_MAX: Final = 10_000
"""Events that a slow reader may leave unread; then the oldest go, and are counted."""


class EventFeed:
    """
    Events from now on.

        async with fleet.events(capability="classify") as events:
            async for event in events:
                print(event.task, event.kind, event.pool)

    Events are sent without waiting for anybody: they are for watching. What became of a task, its result says.

    Attributes:
        dropped: How many events went unread because the reader was too slow.
    """

    def __init__(
        self, link: Link, *, capability: str | None, task: str | None, kinds: Collection[EventKind] | None
    ) -> None:
        self.dropped = 0
        self._link = link
        self._subject = link.addresses.events(capability or ANY)
        self._task = None if task is None else checked_task(task)
        self._kinds = None if kinds is None else frozenset(kinds)
        self._arrived: Final[deque[Event]] = deque(maxlen=EVENTS_PENDING_MAX)
        self._wake = asyncio.Event()

    async def __aenter__(self) -> Self:
        """Subscribe; every event that happens after this is seen."""
        await self._link.reachable()
        connection = self._link.connection
        self._subscription = await connection.subscribe(self._subject, self._on_message)
        try:
            await connection.settle()
        except TimeoutError as error:
            raise NoFleetError(self._link.url, "the connection was lost") from error
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._link.connection.closed.is_set():
            await self._subscription.unsubscribe()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        """The next event; waits for it without end."""
        while not self._arrived:
            self._wake.clear()
            await self._wake.wait()
        return self._arrived.popleft()

    async def _on_message(self, message: Message) -> None:
        if self._kinds is not None and message.subject.rsplit(".", 1)[1] not in self._kinds:
            return
        try:
            event = decode_event(message.data)
        except DecodeFailedError:
            return  # from a newer fleet: a watcher shows what it can read
        if self._task not in (None, event.task):
            return
        if len(self._arrived) == EVENTS_PENDING_MAX:
            self.dropped += 1
        self._arrived.append(event)
        self._wake.set()
