"""
The fleet's events as frames for browsers: at most five a second, of at most 200 events, encoded once for all viewers.

Every event is counted by its subject. Of more than EVENTS_READ_MAX in a frame the others are not read: what is shown of
them is that they were.
"""

import asyncio
import secrets
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from msgspec import UNSET, Struct, UnsetType

from flotilla.contracts import subjects
from flotilla.contracts.clock import unix_ms
from flotilla.contracts.errors import DecodeFailedError
from flotilla.contracts.names import is_scope
from flotilla.contracts.results import Event, decode_event
from flotilla.contracts.subjects import EventKind
from flotilla.fabric.connection import Connection, Message
from flotilla.fabric.stored import StoredMessage

FRAME_EVENTS_MAX: Final = 200
EVENTS_READ_MAX: Final = 2_000
"""Of one frame: ten thousand a second, at 3 us each."""
FRAMES_KEPT_MAX: Final = 10
"""Two seconds: whoever lags further behind has a slow line, and gets what is new."""
RECENT_MAX: Final = 200
HELD_MAX: Final = 20_000
"""While older ones are being read; those above are counted and not read."""
PAST_AT_A_TIME: Final = 500
"""Some milliseconds' work: then others have their turn."""
OVERLAP_MS: Final = 10_000
"""How much later than another an event may be stored that happened before it."""
BOOT_BYTES: Final = 6
NUMBER_DIGITS_MAX: Final = 18
PRICED_KINDS: Final = ("finished", "attempt_failed", "step_finished")
"""Of the others the wire says 0, which is no price."""
_SUBJECT_PARTS: Final = 5

encode: Final = msgspec.json.Encoder().encode
OnEvent = Callable[[str, Event], None]
OnCounted = Callable[[EventKind | str], None]
OnPast = Callable[[str, Event], bool]
"""Takes an event of the past; says whether it was not known."""


class FleetEvent(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An event with the scope that it belongs to, as the browser gets it; the fields are those of `Event`."""

    scope: str
    task: str
    capability: str
    kind: EventKind
    at_unix_ms: int
    pool: str = ""
    model: str = ""
    replica: str = ""
    error: str = ""
    latency_ms: float | UnsetType = UNSET
    cost_usd: float | UnsetType | None = UNSET
    labels: dict[str, str] = {}
    step: str = ""


def shown(scope: str, event: Event) -> FleetEvent:
    """The event as the browser gets it."""
    return FleetEvent(
        scope=scope,
        task=event.task,
        capability=event.capability,
        kind=event.kind,
        at_unix_ms=event.at_unix_ms,
        pool=event.pool,
        model=event.model,
        replica=event.replica,
        error=event.error,
        latency_ms=event.latency_ms or UNSET,
        cost_usd=event.cost_usd if event.kind in PRICED_KINDS else UNSET,
        labels=event.labels,
        step=event.step,
    )


class Frame(Struct, frozen=True, kw_only=True):
    """
    What came in one turn.

    Attributes:
        start: How many events there were before it.
        end: How many there were with it.
        chunk: As it stands in the stream.
    """

    start: int
    end: int
    chunk: bytes


class EventFeed:
    """Collects events into frames; viewers hold a place among these and nothing else."""

    def __init__(self, *, on_event: OnEvent, on_counted: OnCounted) -> None:
        self._on_event = on_event
        self._on_counted = on_counted
        self._held: deque[Message] | None = None
        self._newest_unix_ms = 0
        self._boot: Final = secrets.token_hex(BOOT_BYTES)
        self._frames: Final[deque[Frame]] = deque(maxlen=FRAMES_KEPT_MAX)
        self._recent: Final[deque[FleetEvent]] = deque(maxlen=RECENT_MAX)
        self._unframed: Final[deque[FleetEvent]] = deque(maxlen=FRAME_EVENTS_MAX)
        self._came = 0
        self._read = 0
        self.total = 0

    async def start(self, connection: Connection) -> None:
        """Subscribe to the events of every scope, which is what an observer may; they are held until `go_on`."""
        self.hold()
        await connection.subscribe(subjects.events("*", "*", "*"), self.take)  # pyright: ignore[reportArgumentType]  # a wildcard

    async def take(self, message: Message) -> None:
        """Take one message of an event's subject."""
        if self._held is not None and len(self._held) < HELD_MAX:
            self._held.append(message)
            return
        named = _named(message.subject)
        if named is None:
            return
        scope, kind = named
        self._came += 1
        self._on_counted(kind)
        if self._read >= EVENTS_READ_MAX or self._held is not None:
            return
        self._read += 1
        event = _event_in(message.data)
        if event is not None:
            self._newest_unix_ms = max(self._newest_unix_ms, min(event.at_unix_ms, unix_ms()))
            self._on_event(scope, event)
            self._unframed.append(shown(scope, event))

    def hold(self) -> None:
        """Set aside what comes until `go_on`: what was before it is to be taken first."""
        self._held = deque() if self._held is None else self._held

    async def go_on(self, past: Sequence[StoredMessage], on_past: OnPast) -> None:
        """Take what was, as far as it is not known, then what came meanwhile and is not among it."""
        known: set[tuple[str, bytes]] = set()
        try:
            await self._take_past(past, on_past, known)
        finally:
            held, self._held = self._held or (), None
            for message in held:
                if (message.subject, message.data) not in known:
                    await self.take(message)

    async def _take_past(self, past: Sequence[StoredMessage], on_past: OnPast, known: set[tuple[str, bytes]]) -> None:
        since_unix_ms = self._newest_unix_ms - OVERLAP_MS
        for number, message in enumerate(past):
            if number % PAST_AT_A_TIME == 0:
                await asyncio.sleep(0)
            known.add((message.subject, message.body))
            named, event = _named(message.subject), _event_in(message.body)
            if named is None or event is None or event.at_unix_ms < since_unix_ms or not on_past(named[0], event):
                continue
            self._newest_unix_ms = max(self._newest_unix_ms, min(event.at_unix_ms, unix_ms()))
            self._came += 1
            self._unframed.append(shown(named[0], event))

    def end_frame(self) -> bool:
        """Make a frame of what came since the last; says whether there was anything."""
        if not self._came:
            return False
        events = list(self._unframed)
        self._recent.extend(events)
        start, self.total = self.total, self.total + self._came
        chunk = self._chunk(events, dropped=self._came - len(events), seen=self.total)
        self._frames.append(Frame(start=start, end=self.total, chunk=chunk))
        self._unframed.clear()
        self._came = self._read = 0
        return True

    def recent(self) -> bytes:
        """The newest events, for a page that opens."""
        return self._chunk(list(self._recent), dropped=0, seen=self.total)

    def after(self, seen: int) -> tuple[bytes, int] | None:
        """
        The next frame for a viewer who has seen so many of the `total` events, and how many he has seen with it.

        One at a time: who takes long for it holds no other. Whoever lags behind all that is kept is told how many events
        he has missed, and gets the newest frame next. None for who has seen everything.
        """
        if seen >= self.total:
            return None
        if self._frames[0].start <= seen:
            frame = next(frame for frame in self._frames if frame.end > seen)
            return frame.chunk, frame.end
        newest = self._frames[-1]
        return self._chunk([], dropped=newest.start - seen, seen=newest.start), newest.start

    def place_of(self, last_event_id: str) -> int | None:
        """How much a browser has seen, by the id that it gives back; None where that is of another portal."""
        boot, dash, number = last_event_id.partition("-")
        if boot != self._boot or not dash or not number.isdecimal() or len(number) > NUMBER_DIGITS_MAX:
            return None
        return int(number) if int(number) <= self.total else None

    def _chunk(self, events: list[FleetEvent], *, dropped: int, seen: int) -> bytes:
        """As it stands in the stream; `seen` is how many events somebody has seen with it, which is what its id says."""
        body = encode({"events": events, "dropped": dropped})
        return b"event: events\nid: %s-%d\ndata: %s\n\n" % (self._boot.encode(), seen, body)


def _named(subject: str) -> tuple[str, str] | None:
    """The scope and the kind that an event's subject names; None where it is none."""
    parts = subject.split(".")
    return (parts[1], parts[4]) if len(parts) == _SUBJECT_PARTS and is_scope(parts[1]) else None


def _event_in(body: bytes) -> Event | None:
    """None for one of a newer orchestrator: a watcher shows what it can read."""
    try:
        return decode_event(body)
    except DecodeFailedError:
        return None
