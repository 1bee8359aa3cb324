"""
The whole view: what is known of the fleet, and the snapshot of it that every viewer is sent.

A turn makes the frame of events, and the snapshot anew where something changed; it is encoded once, and not at all while
nobody looks. The first thing that happens after a pause is shown at once, and what follows it FRAME_S later: there are
never more than five turns a second.
"""

import asyncio
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Final

import structlog
from msgspec import structs

from flotilla.contracts import subjects
from flotilla.contracts.clock import unix_ms
from flotilla.contracts.policy import Policy, decode_policy
from flotilla.contracts.results import Event
from flotilla.contracts.subjects import EventKind, Zone
from flotilla.fabric.connection import Connection
from flotilla.fabric.inbox import Requests
from flotilla.fabric.kv_cache import KvCache
from portal.live.asking import POLICY_KEY
from portal.live.event_feed import EventFeed
from portal.live.figures import LiveFigures
from portal.live.history import History
from portal.live.needs_you import Seen, needs_you
from portal.live.pace import Pace
from portal.live.past_events import CatchUp
from portal.live.pool_views import pool_views
from portal.live.questions import Questions
from portal.live.replicas import Replicas
from portal.live.route_views import route_views, with_idle
from portal.live.snapshot import BacklogView, FleetHead, Snapshot, encode_snapshot
from portal.live.stalled import Stalled
from portal.live.tasks import SeenTasks

FRAME_S: Final = 0.2
"""From one turn to the next, at least."""
FIGURES_EVERY_S: Final = 1.0
BACKLOG_SHOWN_MAX: Final = 200
LIST_TIMEOUT_S: Final = 30.0

logger = structlog.get_logger("portal")


class FleetView:
    """
    Follows a fleet as an observer.

    Attributes:
        events: In frames.
        tasks: The newest.
        history: Of the routes.
        version: Of the snapshot; a viewer who has seen this one has seen the newest.
        viewers: How many look at it now.
    """

    def __init__(self, connection: Connection, requests: Requests, *, scopes: Sequence[str]) -> None:
        loop = asyncio.get_running_loop()
        self._connection = connection
        self._loop = loop
        self._dirty = True
        self._built_s = -FIGURES_EVERY_S
        self._looked_s = loop.time()
        self._body = b""
        self._chunk = b""
        self._turned = asyncio.Event()
        self._pace = Pace(turn_s_min=FRAME_S, pause_s_max=FIGURES_EVERY_S)
        self._turning: asyncio.Task[None] | None = None
        self.turned_s = loop.time()
        self.scopes: Final = tuple(scopes)
        self.version = 0
        self.viewers = 0
        self.tasks: Final = SeenTasks()
        self.replicas: Final = Replicas(connection, requests, on_change=self.changed, clock_s=loop.time)
        self.figures: Final = LiveFigures(self.replicas.zone_of)
        self.events: Final = EventFeed(on_event=self._on_event, on_counted=self._on_counted)
        self.questions: Final = Questions(connection, requests, scopes=scopes, on_change=self.changed)
        self.stalled: Final = Stalled(requests, self.tasks)
        self.policy: Final[KvCache[Policy]] = KvCache(
            connection,
            requests,
            subjects.POLICY_BUCKET,
            keys=POLICY_KEY,
            decode=decode_policy,
            on_change=lambda _key, _policy: self.changed(),
            verified=True,
        )
        self.history: Final = History(connection, requests)
        self._catch_up: Final = CatchUp(
            connection,
            requests,
            scopes,
            events=self.events,
            tasks=self.tasks,
            figures=self.figures,
            history=self.history,
        )
        connection.on_reconnect(self.changed)

    async def start(self) -> None:
        """
        Follow, until `stop`.

        Raises:
            TimeoutError: The fleet's buckets could not be listed.
        """
        await self.events.start(self._connection)
        await self.replicas.cache.start()
        await self.policy.start()
        await self.history.start()
        await self.questions.start()
        self.stalled.start()
        async with asyncio.timeout(LIST_TIMEOUT_S):
            await self.replicas.cache.listed.wait()
        # Pools are known by now, so what was before the portal began is told by its zone.
        await self._catch_up.start()
        self._turning = self._loop.create_task(self._turn())

    async def stop(self) -> None:
        """Follow no more."""
        if self._turning is not None:
            self._turning.cancel()
        await self._catch_up.stop()
        await self.stalled.stop()
        await self.questions.stop()
        await self.history.stop()
        await self.policy.stop()
        await self.replicas.cache.stop()

    def changed(self) -> None:
        """Something is not as the snapshot says."""
        self._dirty = True
        self._pace.happened()

    async def turn(self) -> None:
        """Return when the next turn is over."""
        await self._turned.wait()

    @contextmanager
    def looked_at(self) -> Generator[None]:
        """One viewer more while the block runs."""
        self.viewers += 1
        if self._loop.time() - self._built_s >= FIGURES_EVERY_S:
            self._build()
        try:
            yield
        finally:
            self.viewers -= 1

    @property
    def state(self) -> bytes:
        """The newest snapshot, as it stands in the stream."""
        return self._chunk

    async def _turn(self) -> None:
        while True:
            await self._pace.due()
            try:
                self.events.end_frame()
                self._each_second()
                due = self._loop.time() - self._built_s >= FIGURES_EVERY_S
                if self.viewers and (self._dirty or due):
                    self._build()
            except Exception:
                logger.exception("view_not_built")
            self.turned_s = self._loop.time()
            # Everybody who waits goes on; who comes now waits for the next turn.
            turned, self._turned = self._turned, asyncio.Event()
            turned.set()

    def _on_counted(self, kind: EventKind | str) -> None:
        self.figures.count(kind)
        self._pace.happened()

    def _on_event(self, scope: str, event: Event) -> None:
        seen = self.tasks.take(scope, event)
        self.figures.take(event, seen)

    def _each_second(self) -> None:
        """Also while nobody looks: replicas that are gone are forgotten, and routes that move are written down."""
        if self._loop.time() - self._looked_s >= FIGURES_EVERY_S:
            self._looked_s = self._loop.time()
            self.replicas.forget_gone()
            routes = route_views(self.questions.routes, self.replicas.all(), self._policy_now(), {})
            self.history.stand(routes, unix_ms() / 1000)

    def _policy_now(self) -> Policy | None:
        return self.policy.values.get(POLICY_KEY)

    def _build(self) -> None:
        self._dirty = False
        self._built_s = self._loop.time()
        snapshot = self._snapshot()
        body = encode_snapshot(structs.replace(snapshot, at_unix_ms=0))
        if body != self._body:
            self._body = body
            self.version += 1
        # Whoever comes next reckons by its time how long ago everything was.
        self._chunk = b"event: state\ndata: %s\n\n" % encode_snapshot(snapshot)

    def _snapshot(self) -> Snapshot:
        now_s, now_unix_ms = self._loop.time(), unix_ms()
        seen = list(self.replicas.all())
        pools = pool_views(seen, self.figures.pool_rates(now_unix_ms), now_s=now_s)
        zones: dict[str, Zone] = {pool.name: pool.zone for pool in pools}
        policy = self._policy_now()
        routes = route_views(self.questions.routes, seen, policy, zones)
        statuses = self.questions.statuses
        backlog = [
            BacklogView(scope=scope, capability=entry.capability, pending=entry.high + entry.normal + entry.low)
            for scope, status in statuses.items()
            for entry in status.backlog
        ][:BACKLOG_SHOWN_MAX]
        orchestrators = [one for _, one in sorted(self.questions.orchestrators.items())]
        connected = self._connection.is_connected
        return Snapshot(
            at_unix_ms=now_unix_ms,
            connected=connected,
            fleet=FleetHead(
                orchestrators=orchestrators, version=max((each.version for each in orchestrators), default="")
            ),
            totals=self.figures.totals(now_unix_ms),
            pools=pools,
            routes=with_idle(routes, self.history.used_lately(), policy, zones),
            boundary=self.figures.boundary(now_unix_ms),
            backlog=backlog,
            needs_you=needs_you(
                Seen(
                    now_unix_ms=now_unix_ms,
                    connected=connected,
                    orchestrators=orchestrators if self.questions.discovered else None,
                    pools=pools,
                    routes=routes,
                    statuses=statuses,
                    failing=self.figures.ends.failing(now_unix_ms / 1000),
                    stalled=self.stalled.tasks,
                    stalled_more=self.stalled.more,
                )
            ),
            policy_revision=self.policy.revisions.get(POLICY_KEY, 0),
        )
