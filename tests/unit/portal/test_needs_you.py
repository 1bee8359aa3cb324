"""What somebody is told to look at."""

from typing import Any

import pytest

from flotilla.contracts.api import Backlog, FleetNeeds, FleetStatus
from flotilla.contracts.api_spend import BudgetStanding
from flotilla.contracts.results import Event
from portal.live.failing import Failing
from portal.live.needs_you import NEEDS_MAX, Seen, needs_you
from portal.live.snapshot import NeedsYou, OrchestratorView, PoolView, RouteView
from portal.live.tasks import SeenTask

HOUR_S = 3600.0


def pool(name: str = "local", status: Any = "ready", **more: Any) -> PoolView:
    given: dict[str, Any] = {"zone": "local", "provider": "noop", "models": ["m"], "capabilities": ["classify"]}
    given |= {"slots": 4, "slots_free": 4, "tasks_per_s": 0.0, "words": "no replica is left", "stand_in": False}
    given |= {"replicas": [], "replicas_total": 1, **more}
    return PoolView(name=name, status=status, **given)


def route(status: Any) -> RouteView:
    return RouteView(capability="a&b", pool="claude", model="m/1", zone="cloud", status=status, words="p95 is 3 s")


def status(scope: str = "default", **more: Any) -> FleetStatus:
    given: dict[str, Any] = {"scope": scope, "orchestrator": "o1", "pools": [], "backlog": []}
    return FleetStatus(**(given | more))


def budget(used: int | None, mode: Any = "enforce") -> FleetStatus:
    standing = BudgetStanding(name="team", period="2026-11", usd_micros=10_000_000, used_usd_micros=used, mode=mode)
    return status(needs=FleetNeeds(budgets=[standing]))


def told(*statuses: FleetStatus, **more: Any) -> list[NeedsYou]:
    """What is told of a fleet that is well but for what is given."""
    well: dict[str, Any] = {
        "now_unix_ms": 10_000_000,
        "connected": True,
        "orchestrators": [OrchestratorView(instance="o1", version="1.0")],
        "pools": [pool()],
        "routes": [],
        "statuses": {each.scope: each for each in statuses or (status(),)},
    }
    return needs_you(Seen(**(well | more)))


def task_at(step: str, heard_unix_ms: int) -> SeenTask:
    what = Event(task="t/1", capability="letter", kind="step_started", at_unix_ms=heard_unix_ms, step=step)
    seen = SeenTask("default", what)
    seen.take(what)
    return seen


def test_a_fleet_that_is_well_needs_nobody():
    """
    Nor does one of which not everything is known yet.
    """
    assert [] == told()
    assert [] == told(status(needs=FleetNeeds()))
    assert [] == told(orchestrators=None)
    assert [] == told(routes=[route("healthy"), route("half_open"), route("unavailable")])
    assert [] == told(budget(7_999_999))


@pytest.mark.parametrize(
    ("found", "severity", "name", "text", "href"),
    [
        (told(orchestrators=[]), "bad", "orchestrators", "No orchestrator answers", "#/"),
        (
            told(orchestrators=[OrchestratorView(instance=f"o{at}", version=f"1.{at % 2}") for at in range(4)]),
            "warn",
            "versions",
            "2 versions are at work: 1.0, 1.1",
            "#/",
        ),
        (told(pools=[pool(status="gone")]), "bad", "workers", "No worker is there", "#/"),
        (told(pools=[pool(status="lost")]), "bad", "workers", "No worker is heard any more", "#/"),
        (told(pools=[pool(), pool("gpu", "gone")]), "warn", "pool local gpu", "Pool gpu: no replica is left", "#/"),
        (told(pools=[pool(), pool("gpu", "lost")]), "bad", "pool local gpu", "Pool gpu: no replica is left", "#/"),
        (
            told(failing=[Failing(capability="a&b", error="no_route", is_all=True)]),
            "bad",
            "failing a&b",
            "All tasks of a&b fail: no route",
            "#/tasks?capability=a%26b&state=failed",
        ),
        (
            told(pools=[pool(stand_in=True), pool("gpu"), pool("cloud", stand_in=True)]),
            "info",
            "stand-ins",
            "No model answers in local, cloud: a stand-in does",
            "#/",
        ),
        (
            told(routes=[route("open")]),
            "bad",
            "route a&b claude m/1",
            "a&b on claude/m/1: p95 is 3 s",
            "#/routes?capability=a%26b&pool=claude&model=m%2F1",
        ),
        (told(routes=[route("ejected")]), "warn", "route a&b claude m/1", "p95 is 3 s", "#/routes?capability=a%26b"),
        (told(budget(8_000_000)), "warn", "budget team", "is nearly spent: $8.00 of $10.00 in 2026-11", "#/spend"),
        (told(budget(10_000_000)), "bad", "budget team", "is spent: $10.00 of $10.00", "#/spend"),
        (told(budget(None)), "bad", "budget team", "cannot be read: what it covers is refused", "#/spend"),
        (told(budget(20_000_000, "report")), "warn", "budget team", "is spent: $20.00", "#/spend"),
        (
            told(status(needs=FleetNeeds(approvals_waiting=1, approvals_oldest_s=59.0))),
            "warn",
            "approvals default",
            "1 request waits for an approval for less than a minute",
            "#/approvals",
        ),
        (
            told(status(), status("acme", needs=FleetNeeds(approvals_waiting=3, approvals_oldest_s=2.5 * HOUR_S))),
            "warn",
            "approvals acme",
            "3 requests wait for an approval, the oldest for 2 h in acme",
            "#/approvals",
        ),
        (
            told(stalled=[task_at("german", 10_000_000 - 420_000)], stalled_more=2),
            "warn",
            "stalled",
            "letter task t/1 has not advanced for 7 min at the step german, and 2 more",
            "#/tasks/default/t%2F1",
        ),
        (
            told(
                status(backlog=[Backlog(capability="classify", normal=7)]),
                pools=[pool(capabilities=["embed"]), pool("gpu", "lost")],
            ),
            "bad",
            "pool local gpu",
            "Pool gpu",
            "#/",
        ),
        (told(status(dead=1), status("acme", dead=2)), "warn", "dead", "3 dead letters", "#/dead"),
    ],
)
def test_what_is_not_well_is_told_with_what_may_be_done_and_where(
    found: list[NeedsYou], severity: str, name: str, text: str, href: str
):
    """
    The same thing has the same name, however long it lasts.
    """
    first = found[0]

    assert (severity, name) == (first.severity, first.name)
    assert text in first.text
    assert first.href.startswith(href)
    assert first.todo.endswith(".")


def test_how_many_wait_is_told_of_what_is_one_need():
    """
    It stands beside the name of their view.
    """
    needs = FleetNeeds(approvals_waiting=12, approvals_oldest_s=60.0)

    assert {"approvals default": 12, "dead": 7} == {need.name: need.count for need in told(status(dead=7, needs=needs))}
    assert [1] == [need.count for need in told(pools=[pool(), pool("gpu", "gone")])]


def test_tasks_that_no_pool_serves_any_more_are_told_beside_the_pool():
    """
    What no pool ever served may be a pipeline, and is not.
    """
    backlog = [Backlog(capability="classify", normal=7), Backlog(capability="letter", high=1)]
    found = told(status(backlog=backlog), pools=[pool(capabilities=["embed"]), pool("gpu", "gone")])

    assert ["pool local gpu", "backlog default classify"] == [need.name for need in found]
    assert "7 classify wait, and no pool serves it now" == found[1].text


def test_who_left_is_to_be_started_again_and_who_is_not_heard_to_be_looked_for():
    """
    A worker that is frozen or cut off is not gone: started again, there would be two.
    """
    [left] = told(pools=[pool(), pool("gpu", "gone")])
    [lost] = told(pools=[pool(), pool("gpu", "lost")])
    [nobody] = told(pools=[pool("gpu", "lost")])

    assert "start them again" in left.todo
    assert "whether their processes run" in lost.todo
    assert "whether their processes run" in nobody.todo


def test_the_worst_stands_first_and_there_is_a_bound():
    """
    Without a connection nothing else is known.
    """
    pools = [pool("a", stand_in=True), *(pool(f"p{number}", "lost") for number in range(2 * NEEDS_MAX))]
    found = told(status(dead=3), pools=pools)

    assert NEEDS_MAX == len(found)
    assert {"bad"} == {need.severity for need in found}
    assert ["nats"] == [need.name for need in told(status(dead=3), connected=False, pools=pools)]
