"""
Routing as a whole over simulated time: several orchestrators, two pools, stats that travel once a second.

Time is a number here, so minutes of traffic take a moment, and every run is the same.
"""

import heapq
import random
from collections.abc import Callable
from itertools import count, pairwise

import pytest

from flotilla.contracts.failures import FailureKind
from flotilla.contracts.policy import CapabilityPolicy, GuardsEntry, Policy, RouteEntry
from flotilla.contracts.stats import RouteKey
from flotilla.routing.observation import UPDATE_INTERVAL_MS
from flotilla.routing.router import PUBLISH_INTERVAL_MS, PolicyRouter
from flotilla.routing.types import Choice, FleetView, PoolView, TaskView

START_MS = 1_800_000_000_000
SERVES = {"m": frozenset({"classify"})}
FLEET = FleetView(
    pools={
        "ollama": PoolView(zone="local", pool="ollama", models=SERVES, replicas=1, slots=200),
        "anthropic": PoolView(zone="cloud", pool="anthropic", models=SERVES, replicas=1, slots=200),
    },
)
TASK = TaskView(capability="classify", scope="default", data_class="internal")

Answer = tuple[float, FailureKind | None, float | None]
Serve = Callable[[float], Answer]
"""From seconds since the start to: latency in ms, the failure if it fails, and Retry-After in s."""


def steady(latency_ms: float) -> Serve:
    return lambda _at_s: (latency_ms, None, None)


def policy_of(*, p95_ms: float | None = 500.0, return_after_s: float = 4.0) -> Policy:
    entry = CapabilityPolicy(
        routes=[RouteEntry(pool="ollama", model="m"), RouteEntry(pool="anthropic", model="m")],
        guards=GuardsEntry(p95_ms=p95_ms, error_rate=0.3),
        return_after_s=return_after_s,
    )
    return Policy(capabilities={"classify": entry})


class Simulation:
    """Tasks arrive evenly at `rate_per_s`; a failed attempt goes to the next route. `firsts` are (s, first choice)."""

    def __init__(self, local: Serve, *, rate_per_s: float, policy: Policy, orchestrators: int = 1) -> None:
        self.now_ms = START_MS
        self.firsts: list[tuple[float, Choice]] = []
        self.sent: list[tuple[float, str]] = []
        self.phases: list[tuple[float, int, str]] = []
        self.unrouted: list[float] = []
        self._serve = {"ollama": local, "anthropic": steady(120.0)}
        self._order = count()
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._rate_per_s = rate_per_s
        self.routers = [
            PolicyRouter(f"o{index}", rng=random.Random(index), clock=lambda: self.now_ms)
            for index in range(orchestrators)
        ]
        for index, router in enumerate(self.routers):
            router.use(policy)
            self._every(UPDATE_INTERVAL_MS, 37 * index, lambda index=index: self._update(index))
            self._every(PUBLISH_INTERVAL_MS, 113 * index, lambda index=index: self._publish(index))

    def run(self, seconds: float) -> "Simulation":
        """Until so many seconds have passed."""
        tasks = int(seconds * self._rate_per_s)
        for number in range(tasks):
            at_ms = START_MS + int(number * 1000 / self._rate_per_s)
            router = self.routers[number % len(self.routers)]
            self._at(at_ms, lambda router=router: self._task(router))
        return self._run(seconds)

    def run_callers(self, callers: int, seconds: float) -> "Simulation":
        """The same with callers that each wait for an answer before they ask again."""
        for number in range(callers):
            router = self.routers[number % len(self.routers)]

            def ask(router: PolicyRouter = router) -> None:
                self._task(router, lambda: self._at(self.now_ms + 1, ask))

            self._at(START_MS + number, ask)
        return self._run(seconds)

    def _run(self, seconds: float) -> "Simulation":
        until_ms = START_MS + int(seconds * 1000)
        while self._events and self._events[0][0] <= until_ms:
            self.now_ms, _, step = heapq.heappop(self._events)
            step()
        return self

    @property
    def now_s(self) -> float:
        return (self.now_ms - START_MS) / 1000

    def local_share(self, from_s: float, to_s: float) -> float:
        pools = [choice.route.pool for at_s, choice in self.firsts if from_s <= at_s < to_s]
        return pools.count("ollama") / len(pools)

    def moves(self, member: int = 0) -> list[tuple[float, str]]:
        seen = [(at_s, phase) for at_s, index, phase in self.phases if index == member]
        return [after for before, after in pairwise([(0.0, "healthy"), *seen]) if before[1] != after[1]]

    def _at(self, at_ms: int, step: Callable[[], None]) -> None:
        heapq.heappush(self._events, (at_ms, next(self._order), step))

    def _every(self, interval_ms: int, offset_ms: int, step: Callable[[], None]) -> None:
        def tick() -> None:
            step()
            self._at(self.now_ms + interval_ms, tick)

        self._at(START_MS + offset_ms, tick)

    def _update(self, index: int) -> None:
        router = self.routers[index]
        router.update()
        known = router.health.at(RouteKey("ollama", "m", "classify"))
        self.phases.append((self.now_s, index, known.standing.phase))

    def _publish(self, index: int) -> None:
        for key, (_, body) in self.routers[index].told().items():
            for other in self.routers:
                other.heard(key, body)

    def _task(self, router: PolicyRouter, then: Callable[[], None] | None = None) -> None:
        decision = router.decide(TASK, FLEET)
        if decision.routes:
            self.firsts.append((self.now_s, decision.routes[0]))
            self._attempt(router, list(decision.routes), then)
        else:
            assert decision.excluded
            self.unrouted.append(self.now_s)

    def _attempt(self, router: PolicyRouter, routes: list[Choice], then: Callable[[], None] | None) -> None:
        route = routes.pop(0).route
        recorder = router.recorder.at(RouteKey(route.pool, route.model, "classify"))
        latency_ms, kind, retry_after_s = self._serve[route.pool](self.now_s)
        began = self.now_ms
        self.sent.append((self.now_s, route.pool))
        recorder.started(began)

        def end() -> None:
            if kind is None:
                recorder.finished(started_unix_ms=began, now_unix_ms=self.now_ms)
                if then is not None:
                    then()
                return
            recorder.failed(kind, started_unix_ms=began, now_unix_ms=self.now_ms, retry_after_s=retry_after_s)
            if routes:
                self._attempt(router, routes, then)

        self._at(began + int(latency_ms), end)


def slow_between(from_s: float, to_s: float, slow_ms: float) -> Serve:
    return lambda at_s: (slow_ms if from_s <= at_s < to_s else 50.0, None, None)


@pytest.mark.parametrize("orchestrators", [1, 3])
@pytest.mark.parametrize("rate_per_s", [5.0, 20.0, 100.0])
@pytest.mark.parametrize("slow_ms", [2_000.0, 60_000.0])
def test_tasks_leave_a_slow_route_within_two_seconds_and_are_back_within_ten(
    orchestrators: int,
    rate_per_s: float,
    slow_ms: float,
) -> None:
    """
    From 50 ms to 2 s, or to a hang: calls in flight tell of it before any of them ends.
    """
    fleet = Simulation(
        slow_between(20.25, 40.6, slow_ms),
        rate_per_s=rate_per_s,
        policy=policy_of(),
        orchestrators=orchestrators,
    ).run(60)

    assert fleet.local_share(0, 20) == 1.0
    assert fleet.local_share(22.25, 40.6) <= max(0.1, 1.5 / rate_per_s)
    assert fleet.local_share(50.6, 60) >= 0.95
    assert not fleet.unrouted


@pytest.mark.parametrize("callers", [1, 2, 8])
def test_callers_that_wait_for_each_answer_are_moved_within_two_seconds_too(callers: int) -> None:
    """
    One caller's single slow call is little evidence; that nothing quick came for so long is enough.
    """
    fleet = Simulation(
        slow_between(20.25, 40.6, 2_000.0),
        rate_per_s=0.0,
        policy=policy_of(),
    ).run_callers(callers, 60)

    assert fleet.local_share(0, 20) == 1.0
    assert fleet.moves()[0][1] == "ejected"
    assert fleet.moves()[0][0] <= 22.25 + UPDATE_INTERVAL_MS / 1000
    assert fleet.local_share(22.75, 40.6) <= 0.25
    assert fleet.local_share(50.6, 60) >= 0.95


def test_a_route_that_was_left_gets_a_bounded_trickle_of_probes() -> None:
    """
    One task per interval of the whole fleet, however many orchestrators and tasks there are.
    """
    fleet = Simulation(
        slow_between(10, 1e9, 2_000.0),
        rate_per_s=100.0,
        policy=policy_of(),
        orchestrators=4,
    ).run(70)

    probes = [at_s for at_s, choice in fleet.firsts if choice.route.pool == "ollama" and at_s >= 14]
    assert 56 / 6 <= len(probes) <= 56 * 1.25


def test_a_returning_route_gets_a_growing_share() -> None:
    """
    The return is a ramp, not a jump.
    """
    fleet = Simulation(slow_between(10, 20, 2_000.0), rate_per_s=100.0, policy=policy_of()).run(40)

    returned_s = next(at_s for at_s, phase in fleet.moves() if phase == "returning")
    early, late = (fleet.local_share(returned_s + k, returned_s + k + 0.5) for k in (0.0, 1.4))
    assert 0.05 <= early <= 0.5
    assert 0.5 <= late < 1.0


@pytest.mark.parametrize("seed", range(4))
def test_latency_right_at_the_guard_moves_a_route_at_most_once_a_way_per_return_time(seed: int) -> None:
    """
    No flapping: the p95 hovers around its guard for five minutes.
    """
    rng = random.Random(seed)
    fleet = Simulation(
        lambda _at_s: (rng.uniform(430.0, 525.0), None, None),
        rate_per_s=20.0,
        policy=policy_of(return_after_s=4.0),
    ).run(300)

    moves = fleet.moves()
    for way in ("ejected", "returning"):
        times = [at_s for at_s, phase in moves if phase == way]
        assert all(later - earlier >= 4.0 for earlier, later in pairwise(times))


def test_a_route_that_is_slow_only_under_load_does_not_swing_for_ever_at_the_same_pace() -> None:
    """
    Well on probes and slow under load: each return that fails at once is followed by a longer wait.
    """
    recent: list[float] = []

    def local(at_s: float) -> Answer:
        recent.append(at_s)
        busy = sum(1 for sent_s in recent[-40:] if at_s - sent_s < 1.0)
        return (2_000.0 if busy > 15 else 50.0), None, None

    fleet = Simulation(local, rate_per_s=40.0, policy=policy_of()).run(200)

    left = [at_s for at_s, phase in fleet.moves() if phase == "ejected"]
    gaps = [later - earlier for earlier, later in pairwise(left)]
    assert len(gaps) >= 3
    assert gaps[-1] > 2 * gaps[0]


def test_orchestrators_that_watch_the_same_stats_move_within_two_seconds_of_each_other() -> None:
    """
    Health is the fleet's, not each replica's own.
    """
    fleet = Simulation(
        slow_between(20, 40, 2_000.0),
        rate_per_s=60.0,
        policy=policy_of(),
        orchestrators=3,
    ).run(60)

    histories = [fleet.moves(member) for member in range(3)]
    assert [phase for _, phase in histories[0]] == ["ejected", "returning", "healthy"]
    for step in zip(*histories, strict=True):
        assert len({phase for _, phase in step}) == 1
        assert max(at_s for at_s, _ in step) - min(at_s for at_s, _ in step) <= 2.0


def test_an_orchestrator_without_traffic_of_its_own_knows_what_the_others_saw() -> None:
    """
    A replica that has just started does not have to find out for itself that a route is down.
    """
    fleet = Simulation(slow_between(5, 1e9, 2_000.0), rate_per_s=40.0, policy=policy_of(), orchestrators=2)
    late = PolicyRouter("late", rng=random.Random(9), clock=lambda: fleet.now_ms)
    late.use(policy_of())
    fleet.run(20)
    for router in fleet.routers:
        for key, (_, body) in router.told().items():
            assert late.heard(key, body)

    late.update()
    decision = late.decide(TASK, FLEET)

    assert decision.routes[-1].route.pool == "ollama"
    assert decision.routes[-1].last_resort


def failing(share: float, kind: FailureKind, *, from_s: float, to_s: float, seed: int = 5) -> Serve:
    rng = random.Random(seed)
    return lambda at_s: (50.0, kind if from_s <= at_s < to_s and rng.random() < share else None, None)


def test_five_percent_of_errors_is_no_reason_to_leave() -> None:
    """
    Below the guard a failed attempt is retried elsewhere, and the route stays.
    """
    fleet = Simulation(
        failing(0.05, FailureKind.UNAVAILABLE, from_s=0, to_s=1e9),
        rate_per_s=20.0,
        policy=policy_of(),
    ).run(180)

    assert fleet.local_share(0, 180) == 1.0
    assert fleet.moves() == []


def test_when_every_attempt_fails_the_route_is_left_at_once_and_taken_up_again() -> None:
    """
    The breaker opens long before there are samples enough for the guard.
    """
    fleet = Simulation(
        failing(1.0, FailureKind.UNAVAILABLE, from_s=20, to_s=40),
        rate_per_s=20.0,
        policy=policy_of(),
    ).run(120)

    assert fleet.local_share(0, 20) == 1.0
    assert fleet.local_share(21.5, 40) <= 0.05
    assert fleet.moves()[0][1] == "ejected"
    assert fleet.local_share(80, 120) == 1.0
    assert not fleet.unrouted


def test_failures_that_are_no_fault_of_the_route_do_not_count() -> None:
    """
    A model that refuses a document is not ill.
    """
    fleet = Simulation(
        failing(1.0, FailureKind.REFUSED, from_s=0, to_s=1e9),
        rate_per_s=20.0,
        policy=policy_of(),
    ).run(30)

    assert fleet.local_share(0, 30) == 1.0


def test_retry_after_closes_a_route_for_exactly_as_long() -> None:
    """
    Not a moment less, nor more: neither breaker nor guard adds to what the provider asked for.
    """
    closed = (10.0, 17.0)

    def local(at_s: float) -> Answer:
        if closed[0] <= at_s < closed[0] + 0.5:
            return 0.0, FailureKind.RATE_LIMITED, closed[1] - closed[0]
        return 50.0, None, None

    fleet = Simulation(local, rate_per_s=100.0, policy=policy_of(), orchestrators=1).run(30)

    asked_s = max(at_s for at_s, pool in fleet.sent if pool == "ollama" and 10.0 <= at_s < 10.6)
    assert fleet.local_share(asked_s + 0.011, asked_s + 7.0) == 0.0
    assert fleet.local_share(asked_s + 7.0, 30.0) == 1.0
    assert asked_s == 10.0
