"""The line of figures, counted from events as they come."""

from collections.abc import Callable
from typing import Final

from flotilla.contracts.clock import unix_ms
from flotilla.contracts.names import POOLS_MAX
from flotilla.contracts.policy import DATA_CLASSES_DEFAULT
from flotilla.contracts.results import Event
from flotilla.contracts.subjects import Zone
from portal.live.failing import RecentEnds
from portal.live.rates import HOUR_STEP_S, HOUR_STEPS_MAX, HourSum, Rate
from portal.live.snapshot import Boundary, Totals
from portal.live.tasks import SeenTask

_HOUR_MS: Final = HOUR_STEP_S * HOUR_STEPS_MAX * 1000


class LiveFigures:
    """
    Rates of the last ten seconds and sums of the last hour.

    Attributes:
        ends: How the newest tasks ended.
    """

    def __init__(self, zone_of: Callable[[str], Zone | None]) -> None:
        self._zone_of = zone_of
        self._since_unix_ms = unix_ms()
        self._ended = Rate()
        self._ok_hour = HourSum()
        self._ended_hour = HourSum()
        self._cost_hour = HourSum()
        self._pools: dict[str, Rate] = {}
        self._classes: Final = {name: Rate() for name in DATA_CLASSES_DEFAULT}
        self._crossed = Rate()
        self.ends: Final = RecentEnds()
        self._took = {zone: (HourSum(), HourSum()) for zone in ("local", "cloud")}

    def begin_at(self, at_unix_ms: int) -> None:
        """What was counted is whole from then on, which is before the portal began."""
        self._since_unix_ms = min(self._since_unix_ms, at_unix_ms)

    def count(self, kind: str, now_s: float | None = None) -> None:
        """An event of this kind came, read or not; now unless told."""
        if kind in ("finished", "failed"):
            now_s = unix_ms() / 1000 if now_s is None else now_s
            self._ended.add(now_s)
            self._ended_hour.add(now_s)
            if kind == "finished":
                self._ok_hour.add(now_s)

    def take(self, event: Event, seen: SeenTask, now_s: float | None = None) -> None:
        """An event was read; `seen` is its task after it."""
        now_s = unix_ms() / 1000 if now_s is None else now_s
        if event.kind == "dispatched" and event.pool:
            if event.pool not in self._pools and len(self._pools) >= POOLS_MAX:
                self._pools.clear()
            self._pools.setdefault(event.pool, Rate()).add(now_s)
            if self._zone_of(event.pool) == "cloud":
                self._crossed.add(now_s)
                if event.data_class:
                    self._classes[event.data_class].add(now_s)
        elif event.kind == "failed":
            self.ends.add(now_s, event.capability, event.error or "internal")
        elif event.kind == "finished":
            self.ends.add(now_s, event.capability, "")
            # What no pool answered is a run, whose cost is that of its steps, or came from the cache.
            if event.pool:
                self._cost_hour.add(now_s, event.cost_usd or 0.0)
            zone = self._zone_of(seen.pool)
            if zone is not None and event.latency_ms:
                total_ms, count = self._took[zone]
                total_ms.add(now_s, event.latency_ms)
                count.add(now_s)

    def pool_rates(self, now_unix_ms: int) -> dict[str, float]:
        """Dispatched attempts per second by pool."""
        return {pool: rate.per_s(now_unix_ms / 1000) for pool, rate in self._pools.items()}

    def totals(self, now_unix_ms: int) -> Totals:
        """The line of figures."""
        now_s = now_unix_ms / 1000
        ended = self._ended_hour.total(now_s)
        return Totals(
            tasks_per_s=round(self._ended.per_s(now_s), 2),
            tasks_hour=int(ended),
            ok_share=self._ok_hour.total(now_s) / ended if ended else None,
            local_ms_avg=self._average_ms("local", now_s),
            cloud_ms_avg=self._average_ms("cloud", now_s),
            cost_usd_hour=round(self._cost_hour.total(now_s), 6),
            since_unix_ms=max(self._since_unix_ms, now_unix_ms - _HOUR_MS),
        )

    def boundary(self, now_unix_ms: int) -> Boundary:
        """What has crossed from local to cloud lately."""
        now_s = now_unix_ms / 1000
        by_class = {name: round(rate.per_s(now_s), 2) for name, rate in self._classes.items()}
        return Boundary(tasks_per_s=round(self._crossed.per_s(now_s), 2), by_class=by_class)

    def _average_ms(self, zone: Zone, now_s: float) -> float | None:
        total_ms, count = self._took[zone]
        counted = count.total(now_s)
        return round(total_ms.total(now_s) / counted, 1) if counted else None
