"""Limits and budgets of a policy: how they are checked, and what counts towards them."""

from datetime import datetime

import pytest

from flotilla.contracts.errors import PolicyError
from flotilla.contracts.limits import Period
from flotilla.routing.compiled import CompiledPolicy
from flotilla.routing.limit_rules import LimitRules, period_ends_unix_s, period_of
from flotilla.routing.policy_check import parse_policy, warnings
from flotilla.routing.reservations import OWNER_SILENT_S, OpenReservations, Reservation
from flotilla.routing.types import Route, TaskView

POLICY = """
[limits.anthropic]
pools = ["anthropic", "anthropic-batch"]
requests_per_minute = 100
tokens_per_minute = 40000
concurrent_requests = 8

[limits.acme]
scopes = ["acme"]
capabilities = ["classify"]
requests_per_minute = 10
mode = "report"

[budgets.team]
usd = 2.5
per = "day"
labels = { team = "x" }
reserve_usd = 0.01
"""


def matched(task: TaskView, pool: str) -> list[str]:
    found = LimitRules(parse_policy(POLICY)).of(task, Route(zone="cloud", pool=pool, model="m"))
    return [name for name, _ in (*found.limits, *found.budgets)]


@pytest.mark.parametrize(
    ("expected", "policy"),
    [
        (False, ""),
        (False, "[default]\nstrategy = 'failover'\n"),
        (True, "[limits.a]\nrequests_per_minute = 1\n"),
        (True, "[budgets.a]\nusd = 1.0\nper = 'day'\n"),
    ],
)
def test_the_gate_is_asked_only_where_the_policy_has_limits_or_budgets(expected: bool, policy: str) -> None:  # noqa: FBT001
    """
    Each alone is enough; a policy without them costs a task nothing.
    """
    assert expected == CompiledPolicy(parse_policy(policy)).limited


def test_what_an_attempt_counts_towards() -> None:
    """
    Every filter that is given must let it in.
    """
    plain = TaskView(capability="classify", scope="default", data_class="public")
    acme = TaskView(capability="classify", scope="acme", data_class="public", labels={"team": "x"})

    assert matched(plain, "openai") == []
    assert matched(plain, "anthropic-batch") == ["anthropic"]
    assert matched(acme, "anthropic") == ["anthropic", "acme", "team"]


def test_money_is_in_whole_micro_dollars() -> None:
    """
    No sum of floats decides what may be spent.
    """
    assert parse_policy(POLICY).budgets["team"].usd_micros == 2_500_000


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[limits.a]\npools = ['x']\n", "limits.a: limits nothing; give one of requests_per_minute"),
        ("[limits.a]\nrequests_per_minute = 0\n", "limits.a.requests_per_minute: "),
        ("[limits.'A b']\nrequests_per_minute = 1\n", "limits.A b: "),
        ("[budgets.a]\nusd = 1\n", "budgets.a.per: missing"),
        ("[budgets.a]\nusd = 1\nper = 'week'\n", "budgets.a.per: "),
        ("[budgets.a]\nusd = -1\nper = 'day'\n", "budgets.a.usd: "),
        ("[budgets.a]\nusd = 1\nper = 'day'\nlables = {}\n", "budgets.a.lables: unknown key (did you mean labels?)"),
        ("[limits]\n" + "".join(f"[limits.l{n}]\nrequests_per_minute = 1\n" for n in range(65)), "limits: "),
    ],
)
def test_what_the_check_refuses(text: str, fault: str) -> None:
    """
    With the key where it stands.
    """
    with pytest.raises(PolicyError) as caught:
        parse_policy(text)
    assert any(each.startswith(fault) for each in caught.value.faults), caught.value.faults


def test_what_may_be_a_mistake_is_warned_of() -> None:
    """
    A pool that nobody has seen; a reservation into which no budget fits.
    """
    policy = parse_policy("[budgets.a]\nusd = 1\nper = 'day'\nreserve_usd = 2\npools = ['nobody']\n")
    assert [text.partition(": ")[0] for text in warnings(policy, ["local"], [])] == [
        "budgets.a.pools[0]",
        "budgets.a.reserve_usd",
    ]


def test_a_period_is_by_utc_and_ends_with_it() -> None:
    """
    Also in December, and in the last second of a month.
    """
    december = 1_798_761_599.0
    assert (period_of("day", december), period_of("month", december)) == ("2026-12-31", "2026-12")
    assert period_ends_unix_s("day", december) == period_ends_unix_s("month", december) == december + 1


def test_what_a_dead_orchestrator_reserved_is_found_once_it_is_silent() -> None:
    """
    Not what a living one has, however old; and nothing that has its end.
    """
    known = OpenReservations()
    for number, owner in enumerate(("dead", "dead", "alive")):
        known.made(Reservation(f"{owner}.{number}", "s", owner, 5), 0.0)
    known.ended("dead.1")
    known.lives("alive", OWNER_SILENT_S)

    assert list(known.lost(OWNER_SILENT_S - 1)) == []
    assert [each.id for each in known.lost(OWNER_SILENT_S)] == ["dead.0"]


def test_a_reservation_that_is_told_again_after_its_end_stays_ended() -> None:
    """
    A counter is read again, from a replica that has not heard of the end; and an end that was missed closes it.
    """
    known = OpenReservations()
    first, second = (Reservation(f"o1.{number}", "s", "o1", 5) for number in range(2))
    for _ in range(2):
        known.made(first, 0.0)
        known.ended(first.id)
    known.made(first, 0.0)
    known.made(second, 0.0)
    known.close(second.id)

    assert not list(known.lost(OWNER_SILENT_S))


@pytest.mark.parametrize(
    ("moment", "day_ends", "month_ends"),
    [
        ("2028-02-28T23:59:59", "2028-02-29", "2028-03-01"),
        ("2028-02-29T00:00:00", "2028-03-01", "2028-03-01"),
        ("2027-02-28T12:00:00", "2027-03-01", "2027-03-01"),
        ("2027-01-31T00:00:00", "2027-02-01", "2027-02-01"),
        ("2027-03-28T01:30:00", "2027-03-29", "2027-04-01"),
        ("2027-10-31T02:30:00", "2027-11-01", "2027-11-01"),
    ],
)
def test_periods_know_leap_days_and_no_summer_time(moment: str, day_ends: str, month_ends: str) -> None:
    """
    By UTC, so the days on which clocks in Europe are put forward and back have 24 hours too.
    """
    unix_s = datetime.fromisoformat(f"{moment}+00:00").timestamp()

    assert moment[:10] == period_of("day", unix_s)
    ends_by_period: dict[Period, str] = {"day": day_ends, "month": month_ends}
    for per, ends in ends_by_period.items():
        assert datetime.fromisoformat(f"{ends}T00:00:00+00:00").timestamp() == period_ends_unix_s(per, unix_s)
