"""A strategy is added by its module and its line in the table: the check of a policy and every decision follow from it."""

import random
from typing import Annotated

import pytest
from msgspec import Meta, Struct

from flotilla.contracts.errors import PolicyError
from flotilla.routing.candidates import Candidate
from flotilla.routing.compiled import CompiledPolicy
from flotilla.routing.health import Health
from flotilla.routing.policy_check import parse_policy
from flotilla.routing.policy_routing import route
from flotilla.routing.strategies import STRATEGIES
from flotilla.routing.strategy import InOrder, Strategy
from flotilla.routing.types import Decision, FleetView, PoolView, TaskView

POLICY = """
[capabilities.classify]
strategy = "least-busy"
strategy_options = { skip = SKIP }
routes = [{ pool = "home" }, { pool = "shed" }, { pool = "away" }]
"""


class LeastBusyParameters(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    Of `least-busy`: how many of the least busy routes are passed over.
    """

    skip: Annotated[int, Meta(ge=0, le=10)] = 0


def least_busy(
    candidates: list[Candidate], task: TaskView, parameters: LeastBusyParameters, rng: random.Random
) -> InOrder:
    del task, rng
    order = sorted(candidates, key=lambda each: each.busy)
    skip = parameters.skip % max(1, len(order))
    return InOrder([*order[skip:], *order[:skip]], "least busy", "busier")


LEAST_BUSY = Strategy(name="least-busy", parameters=LeastBusyParameters, plan=least_busy)


@pytest.fixture(autouse=True)
def added(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Its line in the table.
    """
    monkeypatch.setitem(STRATEGIES, LEAST_BUSY.name, LEAST_BUSY)


def decide(skip: int, task: TaskView) -> Decision:
    fleet = FleetView(
        pools={
            name: PoolView(
                zone="cloud" if name == "away" else "local",
                pool=name,
                models={"m": frozenset({"classify"})},
                replicas=1,
                slots=4,
                busy=busy,
            )
            for name, busy in (("home", 3), ("shed", 1), ("away", 0))
        }
    )
    policy = CompiledPolicy(parse_policy(POLICY.replace("SKIP", str(skip))))
    return route(task, policy, fleet, Health(), now_unix_ms=1, rng=random.Random(0), busy={})


def task_of(data_class: str) -> TaskView:
    return TaskView(
        capability="classify", scope="default", data_class="restricted" if data_class == "restricted" else "internal"
    )


@pytest.mark.parametrize(("skip", "order"), [(0, ["away", "shed", "home"]), (1, ["shed", "home", "away"])])
def test_it_orders_the_routes_by_its_options_and_says_why(skip: int, order: list[str]) -> None:
    """
    As one of those that are there already.
    """
    decision = decide(skip, task_of("internal"))

    assert order == [choice.route.pool for choice in decision.routes]
    assert ["least busy", "busier", "busier"] == [choice.reason for choice in decision.routes]


def test_it_is_not_shown_a_route_that_the_data_may_not_reach() -> None:
    """
    So it need not know of data classes.
    """
    assert ["shed", "home"] == [choice.route.pool for choice in decide(0, task_of("restricted")).routes]


def test_a_policy_is_refused_that_gives_it_an_option_out_of_bounds() -> None:
    """
    By the bounds that its parameters have.
    """
    with pytest.raises(PolicyError, match=r"strategy_options\.skip"):
        parse_policy(POLICY.replace("SKIP", "11"))
