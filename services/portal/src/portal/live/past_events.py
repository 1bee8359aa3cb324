"""The newest events that the fleet's streams still hold: what was before a portal began, or while it could not hear."""

import asyncio
from collections.abc import Sequence
from typing import Final

import structlog
from msgspec import Struct

from flotilla.contracts import subjects
from flotilla.contracts.clock import unix_ms
from flotilla.contracts.errors import FlotillaError
from flotilla.contracts.results import Event
from flotilla.contracts.subjects import EventKind
from flotilla.fabric.connection import Connection
from flotilla.fabric.errors import RequestDeniedError
from flotilla.fabric.inbox import Requests
from flotilla.fabric.stored import SCAN_BATCH, StoredMessage, batch_from
from flotilla.fabric.stream_usage import sequences
from portal.live.event_feed import EventFeed
from portal.live.figures import LiveFigures
from portal.live.history import History
from portal.live.past_routes import PastRoutes
from portal.live.tasks import SeenTasks

PAST_EVENTS_MAX: Final = 20_000
"""Of all scopes together, some 6 MB: as many tasks as are held anyway, where each has four."""
PAST_READ_S: Final = 5.0
"""What came meanwhile waits so long at most, and for one answer more."""
TRIES_MAX: Final = 5
TRY_AGAIN_S: Final = 1.0
_ANY_KIND: Final[EventKind] = "*"  # pyright: ignore[reportAssignmentType]  # a wildcard

logger = structlog.get_logger("portal")


class Past(Struct, frozen=True, kw_only=True):
    """
    What was read.

    Attributes:
        events: As the streams hold them, oldest first.
        whole_from_unix_ms: From when on every event is among them; 0 where there is none at all.
        unread: The scopes whose streams could not be read.
    """

    events: list[StoredMessage]
    whole_from_unix_ms: int = 0
    unread: list[str] = []


async def past_events(requests: Requests, scopes: Sequence[str], *, events_max: int = PAST_EVENTS_MAX) -> Past:
    """
    Read the newest events of these scopes, as many as can be had within PAST_READ_S.

    A stream that is not there, or that this observer may not read, has none.
    """
    each_max = max(1, events_max // len(scopes))
    results = await asyncio.gather(*(_newest(requests, scope, each_max) for scope in scopes))
    found = [result for result in results if result is not None]
    events = sorted((event for each, _ in found for event in each), key=lambda event: event.stored_unix_ms)
    # A stream of which only the end was read says nothing of what was before that.
    begins = [each[0].stored_unix_ms for each, is_whole in found if each and not is_whole]
    return Past(
        events=events,
        whole_from_unix_ms=max(begins, default=events[0].stored_unix_ms if events else 0),
        unread=[scope for scope, result in zip(scopes, results, strict=True) if result is None],
    )


async def _newest(requests: Requests, scope: str, count: int) -> tuple[list[StoredMessage], bool] | None:
    """
    The newest of one stream, and whether these are all that it holds; None where it could not be read.

    From the newest back, so that what is left out when there is no more time is what was longest ago.
    """
    stream, pattern = subjects.events_stream(scope), subjects.events(scope, "*", _ANY_KIND)
    loop = asyncio.get_running_loop()
    until_s = loop.time() + PAST_READ_S
    batches: list[list[StoredMessage]] = []
    first, end = 1, 0
    try:
        first, last = await sequences(requests, stream, stream_may_miss=True)
        end = last + 1
        oldest = max(first, end - count)
        while end > oldest and loop.time() < until_s:
            start = max(oldest, end - SCAN_BATCH)
            batch = await batch_from(requests, stream, pattern, start, end - start)
            batches.append([message for message in batch if message.sequence < end])
            end = start
    except RequestDeniedError:
        logger.warning("past_events_not_permitted", scope=scope)
    except (FlotillaError, ValueError, KeyError) as error:
        logger.warning("past_events_not_read", scope=scope, error=type(error).__name__)
        if not batches:
            return None
    return [message for batch in reversed(batches) for message in batch], end <= first


class CatchUp:
    """Has the portal know what was before it began, and after a reconnect what was said meanwhile."""

    def __init__(
        self,
        connection: Connection,
        requests: Requests,
        scopes: Sequence[str],
        *,
        events: EventFeed,
        tasks: SeenTasks,
        figures: LiveFigures,
        history: History,
    ) -> None:
        self._requests = requests
        self._scopes = tuple(scopes)
        self._events = events
        self._tasks = tasks
        self._figures = figures
        self._history = history
        self._behind = asyncio.Event()
        self._following: asyncio.Task[None] | None = None
        connection.on_reconnect(self._reconnected)

    async def start(self) -> None:
        """Catch up, and again after each reconnect until `stop`; without the past the portal begins with what comes."""
        if not await self._catch_up():
            self._behind.set()
        self._following = asyncio.get_running_loop().create_task(self._follow())

    async def stop(self) -> None:
        """Catch up no more."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)

    def _reconnected(self) -> None:
        self._events.hold()
        self._behind.set()

    async def _follow(self) -> None:
        while True:
            await self._behind.wait()
            self._behind.clear()
            for _ in range(TRIES_MAX):
                if await self._catch_up():
                    break
                await asyncio.sleep(TRY_AGAIN_S)

    async def _catch_up(self) -> bool:
        """Take what the streams hold; says whether they could be read. What comes meanwhile is taken in any case."""
        self._events.hold()
        read_unix_s = unix_ms() // 1000
        past = await past_events(self._requests, self._scopes)
        try:
            await self._events.go_on(past.events, self._on_past)
        except Exception:  # whatever stands in a stream, what comes is shown
            logger.exception("past_events_not_taken")
        self._tasks.in_order()
        if past.events:
            self._figures.begin_at(past.whole_from_unix_ms)
        if past.events and not past.unread:
            await self._tell_routes(past, read_unix_s)
        return not past.unread

    async def _tell_routes(self, past: Past, read_unix_s: int) -> None:
        try:
            routes = PastRoutes()
            await routes.read(past.events)
            self._history.take_past(
                routes.windows, whole_from_unix_ms=past.whole_from_unix_ms, until_unix_s=read_unix_s
            )
        except Exception:
            logger.exception("past_routes_not_taken")

    def _on_past(self, scope: str, event: Event) -> bool:
        seen = self._tasks.take_past(scope, event)
        if seen is not None:
            at_s = min(event.at_unix_ms, unix_ms()) / 1000
            self._figures.count(event.kind, at_s)
            self._figures.take(event, seen, at_s)
        return seen is not None
