"""The line of figures: rates, sums, what crosses to the cloud, what was spent, and what fails."""

from flotilla.contracts.clock import unix_ms
from flotilla.contracts.results import Event
from flotilla.contracts.subjects import EventKind
from portal.live.failing import FAILED_MIN, FAILING_S, Failing, RecentEnds
from portal.live.figures import LiveFigures
from portal.live.rates import HOUR_STEPS_MAX, HourSum, Rate
from portal.live.tasks import SeenTasks


def event(kind: EventKind, task: str = "t1", at: int = 1, **more: object) -> Event:
    return Event(task=task, capability="classify", kind=kind, at_unix_ms=at, **more)  # pyright: ignore[reportArgumentType]


def test_a_rate_is_of_the_last_ten_whole_seconds():
    """
    The one that has only begun is not in it, and older ones are not either.
    """
    rate = Rate()
    for second in range(100, 130):
        rate.add(second + 0.5, 3)

    assert 3.0 == rate.per_s(130.0)
    assert 0.3 == rate.per_s(139.9)
    assert 0.0 == rate.per_s(141.0)


def test_a_sum_is_of_the_last_hour():
    """
    In steps of ten seconds, and no more of them than make an hour.
    """
    hour = HourSum()
    for second in range(0, 7200, 5):
        hour.add(second, 1.0)

    assert 3600 / 5 == hour.total(7199)
    assert HOUR_STEPS_MAX == len(hour)
    assert 0.0 == hour.total(7199 + 3600)


def test_what_crosses_the_boundary_is_counted_by_its_data_class():
    """
    What stays in the local zone is not; a class that nothing of crossed is nothing, not unknown.
    """
    figures = LiveFigures(lambda pool: "cloud" if pool == "claude" else "local")
    tasks = SeenTasks()
    for pool, data_class in (
        ("claude", "internal"),
        ("claude", "internal"),
        ("claude", "public"),
        ("ollama", "restricted"),
    ):
        what = event("dispatched", pool=pool, data_class=data_class)
        figures.take(what, tasks.take("default", what))

    boundary = figures.boundary(unix_ms() + 1_000)

    assert {"public": 0.1, "internal": 0.2, "restricted": 0.0} == boundary.by_class
    assert 0.3 == boundary.tasks_per_s


def test_what_a_run_has_cost_is_what_its_steps_have_cost():
    """
    Its last event tells the sum of theirs: counted too, the hour would cost twice as much.
    """
    figures = LiveFigures(lambda _pool: "cloud")
    tasks = SeenTasks()
    for what in (
        event("finished", "r-1", pool="claude", cost_usd=0.25),
        event("finished", "r-2", pool="claude", cost_usd=0.5),
        event("finished", "r", cost_usd=0.75),
    ):
        figures.take(what, tasks.take("default", what))

    assert 0.75 == figures.totals(unix_ms()).cost_usd_hour


def test_a_capability_is_failing_when_most_of_its_newest_tasks_fail():
    """
    By which error most of them did; what callers did wrong is not the fleet's, nor is what was long ago.
    """
    ends = RecentEnds()
    for at_s, capability, errors in (
        (1_000.0, "embed", ["no_route"] * 9),
        (1_900.0, "classify", ["no_route"] * 3 + ["provider_failed"] * 2),
        (1_900.0, "summarize", ["provider_failed"] * 6 + [""] * 5),
        (1_900.0, "translate", ["provider_failed"] * 6 + [""] * 6),
        (1_900.0, "chat", ["bad_request"] * 9 + ["no_route"] * (FAILED_MIN - 1)),
    ):
        for error in errors:
            ends.add(at_s, capability, error)

    assert [
        Failing(capability="classify", error="no_route", is_all=True),
        Failing(capability="summarize", error="provider_failed", is_all=False),
    ] == ends.failing(1_950.0)
    assert [] == ends.failing(1_950.0 + FAILING_S)


def test_how_tasks_end_is_taken_from_their_events():
    """
    What went well, too: a capability of which most does is not failing.
    """
    tasks = SeenTasks()
    for went_well, told in ((FAILED_MIN - 1, ["no_route"]), (FAILED_MIN, [])):
        figures = LiveFigures(lambda _pool: "local")
        for number in range(FAILED_MIN):
            what = event("failed", f"f{number}", error="no_route")
            figures.take(what, tasks.take("default", what), 1_900.0)
        for number in range(went_well):
            what = event("finished", f"w{number}", pool="ollama")
            figures.take(what, tasks.take("default", what), 1_900.0)

        assert told == [each.error for each in figures.ends.failing(1_950.0)]
