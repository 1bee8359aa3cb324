"""
One orchestrator's routing state, put together for wiring: policy, others' stats, its own recorder, health. No I/O.

The caller feeds it what the buckets say (`use`, `heard`), runs `update` every `UPDATE_INTERVAL_MS`, puts what
`told` returns into the stats bucket every `PUBLISH_INTERVAL_MS`, and asks `decide` for each task.
"""

import random
from collections.abc import Callable, Mapping
from typing import Final, Protocol

import msgspec

from flotilla.contracts.clock import unix_ms
from flotilla.contracts.errors import DecodeFailedError
from flotilla.contracts.headers import DataClass
from flotilla.contracts.policy import Policy
from flotilla.contracts.policy_rules import Rules
from flotilla.contracts.stats import (
    STALE_AFTER_MS,
    RouteKey,
    RouteStats,
    decode_stats,
    encode_stats,
    merge_by_route,
    parse_stats_key,
    stats_key,
)
from flotilla.routing import probes
from flotilla.routing.compiled import CompiledPolicy
from flotilla.routing.decision_cache import DECISIONS_CACHED_MAX, CachedDecision, may_be_cached
from flotilla.routing.health import UNKNOWN, Health
from flotilla.routing.observation import observe
from flotilla.routing.policy_routing import NOT_BUSY, route
from flotilla.routing.recorder import Recorder
from flotilla.routing.shadow import shadow_route
from flotilla.routing.types import Decision, FleetView, Route, TaskView

PUBLISH_INTERVAL_MS: Final = 1_000


class OnToHold(Protocol):
    """See `PolicyRouter.on_to_hold`."""

    def __call__(self, capability: str, model: str, /, *, named: bool) -> None: ...  # noqa: D102


class PolicyRouter:
    """
    Routes tasks by policy and health; `recorder` is to be told of every attempt as it begins and ends.

    `writer` is this orchestrator's name in the keys of the stats bucket. `on_to_hold` is called with a capability and the
    model that it is to be held to, until `hold` says that it is; `named` when the policy in force names it.
    """

    def __init__(
        self,
        writer: str,
        *,
        rng: random.Random | None = None,
        clock: Callable[[], int] = unix_ms,
    ) -> None:
        self.recorder = Recorder()
        self.policy = CompiledPolicy()
        self.health: Health = UNKNOWN
        self._writer = writer
        self._rng = rng or random.Random()
        self._clock = clock
        self._heard: dict[tuple[RouteKey, str], RouteStats] = {}
        self.on_to_hold: OnToHold = _nothing
        self._cache: dict[tuple[str, str, str | None, str | None], CachedDecision] = {}

    def use(self, policy: Policy | None, revision: int = 0) -> None:
        """Follow a policy from the next decision on; None is a fleet without one."""
        self.policy = CompiledPolicy(policy, self.policy.held, revision=revision)
        self.update()
        # So that it is still held to this model when the policy is gone.
        for capability, model in self.policy.to_be_held().items():
            self.on_to_hold(capability, model, named=True)

    def hold(self, capability: str, model: str) -> None:
        """Serve a capability with this model alone from the next decision on, where the policy names none."""
        if self.policy.held.get(capability) != model:
            held = {**self.policy.held, capability: model}
            self.policy = CompiledPolicy(self.policy.document, held, revision=self.policy.revision)
            self.update()

    def heard(self, key: str, body: bytes | None) -> bool:
        """
        Take in a value of the stats bucket; None means that the key is gone.

        False when the key or the value is not understood: then nothing is known of that route from that writer.
        """
        parsed = parse_stats_key(key)
        if parsed is None:
            return False
        if parsed[1] == self._writer:
            return True
        self._heard.pop(parsed, None)
        if not body:
            return True
        try:
            stats = self._heard[parsed] = decode_stats(body)
        except DecodeFailedError:
            return False
        pair = parsed[0][:2]
        if stats.retry_after_until_unix_ms > max(self._clock(), self.health.retry_after.get(pair, 0)):
            asked = self.recorder.asked.get(pair, 0)
            self.recorder.asked[pair] = max(asked, stats.retry_after_until_unix_ms)
        return True

    def update(self) -> None:
        """Move the health on by everything heard and recorded up to now."""
        now_unix_ms = self._clock()
        writers = sorted({self._writer, *self._live_writers(now_unix_ms)})
        self.health = observe(
            self.health,
            self.policy,
            self.merged(),
            now_unix_ms=now_unix_ms,
            member=writers.index(self._writer),
            members=len(writers),
        )

    def merged(self) -> dict[RouteKey, RouteStats]:
        """What the whole fleet has seen of each route, for whoever shows it."""
        now_unix_ms = self._clock()
        own = self.recorder.snapshots(now_unix_ms)
        values = [*own.items(), *((key, stats) for (key, _), stats in self._heard.items())]
        return merge_by_route(values, now_unix_ms)

    def told(self) -> dict[str, tuple[bytes, bytes]]:
        """
        Keys of the stats bucket, each with a fingerprint that only changes when there is something new, and the value.

        Keys that are not among them any more may go.
        """
        snapshots = self.recorder.snapshots(self._clock())
        return {
            stats_key(key, self._writer): (
                encode_stats(msgspec.structs.replace(stats, written_unix_ms=0)),
                encode_stats(stats),
            )
            for key, stats in snapshots.items()
        }

    def data_class_of(self, scope: str) -> DataClass:
        """The data class of a scope's tasks that name none, by the policy in force."""
        return self.policy.data_class_of(scope)

    def rules_of(self, capability: str) -> Rules:
        """What the policy in force says of a capability."""
        return self.policy.rules_of(capability)

    def decide(self, task: TaskView, fleet: FleetView, busy: Mapping[str, int] = NOT_BUSY) -> Decision:
        """Where a task goes now. A probe that the decision holds is taken as sent."""
        if self.recorder.asked:
            self._close_at_once()
        wish = (task.capability, task.data_class, task.wanted_pool, task.wanted_model)
        cached = self._cache.get(wish)
        if cached is not None and cached.holds(task, self.policy, fleet, self.health, busy):
            return cached.decision
        now_unix_ms = self._clock()
        decision = route(task, self.policy, fleet, self.health, now_unix_ms=now_unix_ms, rng=self._rng, busy=busy)
        if decision.to_hold is not None:
            self.on_to_hold(task.capability, decision.to_hold, named=False)
        self.health = probes.noted(self.health, decision, task.capability, now_unix_ms)
        if may_be_cached(decision, self.policy.rules_of(task.capability)):
            if len(self._cache) >= DECISIONS_CACHED_MAX:
                self._cache.clear()
            self._cache[wish] = CachedDecision(decision, self.policy, fleet, self.health)
        return decision

    def explain(self, task: TaskView, fleet: FleetView, busy: Mapping[str, int] = NOT_BUSY) -> Decision:
        """Where such a task would go now, and why; changes nothing."""
        return route(task, self.policy, fleet, self.health, now_unix_ms=self._clock(), rng=self._rng, busy=busy)

    def shadow_of(self, task: TaskView, fleet: FleetView, busy: Mapping[str, int] = NOT_BUSY) -> Route | None:
        """Where such a task goes besides, now; None where the policy names no shadow, or it is not to be used."""
        found = shadow_route(task, self.policy, fleet, self.health, now_unix_ms=self._clock(), busy=busy)
        return found if isinstance(found, Route) else None

    def _close_at_once(self) -> None:
        """Put what providers have just asked for into the health; from the next update on the stats have it too."""
        closed = dict(self.health.retry_after)
        for pair, until_unix_ms in self.recorder.asked.items():
            closed[pair] = max(closed.get(pair, 0), until_unix_ms)
        self.recorder.asked.clear()
        self.health = msgspec.structs.replace(self.health, retry_after=closed)

    def _live_writers(self, now_unix_ms: int) -> set[str]:
        return {
            writer
            for (_, writer), stats in self._heard.items()
            if now_unix_ms - stats.written_unix_ms <= STALE_AFTER_MS
        }


def _nothing(_capability: str, _model: str, *, named: bool) -> None:
    del named
