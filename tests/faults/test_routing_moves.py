"""Routes are left when they get slow, fail, ask to be left alone or disappear, and taken up again when they are well."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from msgspec import Struct

from flotilla.client import Fleet
from flotilla.contracts.api_routing import RouteReport
from flotilla.testkit.fleet import RunningFleet, running_fleet
from flotilla.testkit.plain_client import BODIES, PlainClient
from flotilla.testkit.steady_load import SteadyLoad, steady_load
from flotilla.testkit.steered_worker import Steering, start_steered

RATE_HZ = 25.0
WARM_TASKS = 20
SLOTS = 512
"""More than are ever held: a pool without a free slot would be passed over for a moment."""
AGREED_WITHIN_S = 20.0
PAUSE_S = 8.0
"""Longer than it takes a busy machine to see that both orchestrators have begun it."""
IN_A_ROW = 12
"""Answers of either of two orchestrators that are of both."""
LEFT_WITHIN_S = 20.0
BACK_WITHIN_S = 30.0
ROUTES = 'routes = [{ pool = "local" }, { pool = "cloud" }]\n'
SLOW_GUARD = f"[default]\n{ROUTES}guards = {{ p95_ms = 500 }}\n"
NO_GUARD = f"[default]\n{ROUTES}"


class Stage(Struct, frozen=True):
    """Two orchestrators, a pool at home and one away, both steered by the test, and a load that prefers the first."""

    fleet: RunningFleet
    client: PlainClient
    api: Fleet
    home: Steering
    away: Steering
    load: SteadyLoad


@asynccontextmanager
async def staged(directory: Path, policy: str, *, home_ms: float = 50.0) -> AsyncGenerator[Stage]:
    """The stage, warm: every task goes to the pool at home."""
    async with running_fleet(directory, orchestrators=2, local=0) as fleet, Fleet.connect(fleet.url) as api:
        home = Steering(directory / "home.json", latency_ms=home_ms)
        away = Steering(directory / "away.json", latency_ms=20)
        await asyncio.gather(
            start_steered(fleet, home, "local", slots=SLOTS), start_steered(fleet, away, "cloud", slots=SLOTS)
        )
        await api.policy.set(policy)
        client = await fleet.client()
        async with steady_load(client, RATE_HZ) as load:
            await load.until(
                lambda load: (
                    len(load.samples) >= 2 * WARM_TASKS
                    and {("local",)} == {each.pools for each in load.samples[-WARM_TASKS:]}
                )
            )
            yield Stage(fleet, client, api, home, away, load)
        assert load.failed == []


async def passed(since: float, span_s: float) -> None:
    """Return when a time is over: the time is what these tests are about."""
    await asyncio.sleep(max(0.0, since + span_s - time.monotonic()))


async def until_first_tried(load: SteadyLoad, pool: str, since: float, within_s: float) -> float:
    """When every task (but for probes) was tried first on this pool, in seconds; waits no longer than `within_s`."""
    while time.monotonic() < since + within_s + 1.0:
        await asyncio.sleep(0.25)
        recent = load.sent(max(since, time.monotonic() - 0.8))
        if len(recent) > RATE_HZ / 4 and all(each.pools[:1] == (pool,) for each in recent):
            break
    return load.moved_at(since, pool)


async def as_both_see(api: Fleet, pool: str, standing: str | None = None) -> dict[str, RouteReport]:
    """
    What each of the two orchestrators knows of a pool; either may answer, so both are asked until both have.

    With a `standing` until both say it: one learns from the other's stats, which come once a second.
    """
    seen: dict[str, RouteReport] = {}
    async with asyncio.timeout(60):
        while len(seen) < 2 or (standing and {standing} != {report.standing for report in seen.values()}):
            stats = await api.stats()
            for report in stats.routes:
                if report.pool == pool:
                    seen[stats.orchestrator] = report
    return seen


async def until_both_wait(api: Fleet) -> None:
    """Return when both orchestrators pass over a route since it is rate limited, and say so."""
    async with asyncio.timeout(60):
        in_a_row = 0
        while in_a_row < IN_A_ROW:
            excluded = (await api.explain("classify")).excluded
            in_a_row = in_a_row + 1 if any("rate limited" in route.reason for route in excluded) else 0


async def test_a_route_that_slows_down_is_left_by_both_orchestrators_and_taken_up_again(tmp_path: Path):
    """
    From 50 ms to 2 s: new tasks move and none fails; well again, it is back.
    """
    async with staged(tmp_path, SLOW_GUARD) as stage:
        slow_at = time.monotonic()
        stage.home.set(latency_ms=2000)
        left_s = await until_first_tried(stage.load, "cloud", slow_at, LEFT_WITHIN_S)
        seen = await as_both_see(stage.api, "local", "left")
        explained = await stage.api.explain("classify")
        well_at = time.monotonic()
        stage.home.set(latency_ms=50)
        back_s = await until_first_tried(stage.load, "local", well_at, BACK_WITHIN_S)

    assert left_s <= LEFT_WITHIN_S
    assert {"left"} == {report.standing for report in seen.values()}
    assert all("over 500 ms" in report.why for report in seen.values())
    assert "cloud" == explained.routes[0].pool
    assert back_s <= BACK_WITHIN_S
    probes = [each for each in stage.load.sent(slow_at + left_s, well_at, probes=True) if each.probe]
    assert len(probes) <= (well_at - slow_at - left_s) + 2, "a trickle, not a share"


async def test_a_route_that_fails_is_left_by_both_orchestrators_and_taken_up_again(tmp_path: Path):
    """
    Every attempt fails: the tasks that met a failure were served elsewhere, and its breaker is open.
    """
    async with staged(tmp_path, f"{NO_GUARD}return_after_s = 1\nramp_s = 1\n") as stage:
        failing_at = time.monotonic()
        stage.home.set(failure_rate=1.0)
        left_s = await until_first_tried(stage.load, "cloud", failing_at, LEFT_WITHIN_S)
        seen = await as_both_see(stage.api, "local", "left")
        well_at = time.monotonic()
        stage.home.set()
        back_s = await until_first_tried(stage.load, "local", well_at, BACK_WITHIN_S)

    assert left_s <= LEFT_WITHIN_S
    assert {"left"} == {report.standing for report in seen.values()}
    assert {"closed"} != {report.breaker for report in seen.values()}
    assert back_s <= BACK_WITHIN_S


async def test_some_failures_move_nothing_until_the_policy_says_so(tmp_path: Path):
    """
    5 % stay where they are by default, each task being served all the same; with a guard of 2 % the route is left.
    """
    async with staged(tmp_path, NO_GUARD) as stage:
        failing_at = time.monotonic()
        stage.home.set(failure_rate=0.05)
        await passed(failing_at, 3.0)
        before = await as_both_see(stage.api, "local")
        guarded_at = time.monotonic()
        await stage.api.policy.set(f"[default]\n{ROUTES}guards = {{ error_rate = 0.02 }}\n")
        left_s = await until_first_tried(stage.load, "cloud", guarded_at, LEFT_WITHIN_S)
        after = await as_both_see(stage.api, "local", "left")

    assert {("settled", "closed")} == {(report.standing, report.breaker) for report in before.values()}
    # The rate of the whole window, good times before the failures included: how much these dilute it is the machine's.
    assert all((report.error_rate or 0.0) > 0.0 for report in before.values())
    stayed = stage.load.sent(failing_at, guarded_at)
    assert {"local"} == {each.pools[0] for each in stayed}
    assert any(len(each.pools) > 1 for each in stayed), "some did fail at first"
    assert left_s <= LEFT_WITHIN_S
    assert {"left"} == {report.standing for report in after.values()}


async def test_a_provider_that_asks_for_a_pause_gets_exactly_that_from_both_orchestrators(tmp_path: Path):
    """
    429 with Retry-After: nothing goes there for so long, then everything; and no task waits for it meanwhile.
    """
    async with staged(tmp_path, NO_GUARD) as stage:
        admin = await stage.fleet.admin()
        async with admin.hearing("infer.local.>") as heard:
            # One refusal, heard by one orchestrator: the other one must not have to be refused itself. The task that gets it
            # may have been sent before.
            stage.home.set(failure_rate=1.0, failure="rate_limited", retry_after_s=PAUSE_S, failures_max=1)
            await stage.load.until(lambda load: any("rate_limited" in each.outcomes for each in load.samples))
            await until_both_wait(stage.api)
            quiet = len((await heard.caught_up()).messages)
            closed = await as_both_see(stage.api, "local")
            await heard.until(lambda heard: len(heard.messages) > quiet)
            open_at = time.monotonic()
            back_s = await until_first_tried(stage.load, "local", open_at, BACK_WITHIN_S)

    (refused,) = [each for each in stage.load.samples if "rate_limited" in each.outcomes]
    assert ("local", "cloud") == refused.pools
    assert refused.ended_at - refused.sent_at < PAUSE_S, "it went elsewhere at once"
    assert PAUSE_S - 0.2 <= open_at - refused.sent_at <= PAUSE_S + 10.0
    assert back_s <= BACK_WITHIN_S
    assert {("settled", "closed")} == {(report.standing, report.breaker) for report in closed.values()}


async def test_a_pool_that_dies_costs_no_task_and_is_used_again_when_it_returns(tmp_path: Path):
    """
    Killed with tasks in its hands: they and the next ones are served elsewhere.
    """
    async with staged(tmp_path, f"{NO_GUARD}return_after_s = 1\nramp_s = 1\n") as stage:
        dead_at = time.monotonic()
        stage.fleet.workers[0].kill()
        left_s = await until_first_tried(stage.load, "cloud", dead_at, LEFT_WITHIN_S)
        await start_steered(stage.fleet, stage.home, "local", slots=SLOTS)
        back_at = time.monotonic()
        back_s = await until_first_tried(stage.load, "local", back_at, BACK_WITHIN_S)

    assert left_s <= LEFT_WITHIN_S
    assert back_s <= BACK_WITHIN_S


async def test_a_route_that_hangs_is_left_although_no_failure_is_ever_seen(tmp_path: Path):
    """
    Its tasks run out of time before any timeout of the policy: that nobody was answered meanwhile speaks against it.
    """
    async with running_fleet(tmp_path, local=0) as fleet, Fleet.connect(fleet.url) as api:
        home = Steering(tmp_path / "home.json", latency_ms=60_000)
        away = Steering(tmp_path / "away.json", latency_ms=20)
        await asyncio.gather(start_steered(fleet, home, "local"), start_steered(fleet, away, "cloud"))
        client = await fleet.client()
        hasty = [client.ask("classify", BODIES["classify"], headers={"Flotilla-Deadline-Ms": "400"}) for _ in range(10)]
        hurried = await asyncio.gather(*hasty)
        explained_first = await api.explain("classify")
        patient = {"Flotilla-Deadline-Ms": "5600"}
        hung = await asyncio.gather(*(client.ask("classify", BODIES["classify"], headers=patient) for _ in range(10)))
        async with asyncio.timeout(60):
            while (explained := await api.explain("classify")).routes[0].pool != "cloud":
                await asyncio.sleep(0.05)
        after = await asyncio.gather(*(client.ask("classify", BODIES["classify"], headers=patient) for _ in range(10)))

    assert {"deadline_exceeded"} == {answer.kind for answer in (*hurried, *hung)}
    assert "local" == explained_first.routes[0].pool, "a hurry says nothing"
    served = [answer.result.get("pool") for answer in after if not answer.kind]
    assert served.count("cloud") == len(served) >= len(after) - 1, "all but a probe"
    assert explained.excluded or explained.routes[-1].pool == "local"


async def test_two_orchestrators_agree_on_a_route(tmp_path: Path):
    """
    Soon both know the same p95 and error rate, whoever served the tasks.
    """
    async with running_fleet(tmp_path, orchestrators=2, local=0) as fleet, Fleet.connect(fleet.url) as api:
        steering = Steering(tmp_path / "home.json", latency_ms=80)
        steering.set(failure_rate=0.125)
        await start_steered(fleet, steering)
        client = await fleet.client()
        answers = await asyncio.gather(*(client.ask("classify", BODIES["classify"]) for _ in range(40)))
        attempts = [attempt for answer in answers for attempt in answer.result["attempts"]]
        async with asyncio.timeout(AGREED_WITHIN_S):
            known: set[tuple[int, float | None, float | None, float | None]] = set()
            while len(known) != 1 or {len(attempts)} != {figures[0] for figures in known}:
                seen = (await as_both_see(api, "local")).values()
                known = {(each.attempts, each.p50_ms, each.p95_ms, each.error_rate) for each in seen}

    assert [] == [answer.result for answer in answers if answer.kind]
    ((_, _, p95_ms, error_rate),) = known
    failed = [attempt for attempt in attempts if attempt["outcome"] != "ok"]
    assert len(failed) >= 5
    assert error_rate == pytest.approx(len(failed) / len(attempts))
    assert p95_ms is not None
    assert 75 <= p95_ms <= 1.25 * max(attempt["latency_ms"] for attempt in attempts)
