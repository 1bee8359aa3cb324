"""Zones that a task may not enter before it is approved: what needs no approval, and what is left of a decision."""

import pytest

from flotilla.contracts.subjects import Zone
from flotilla.routing.types import Choice, Decision, Escalation, Panel, Route
from orchestrator.execution.shut_zones import goes_elsewhere, outside

CLOUD: frozenset[Zone] = frozenset({"cloud"})


def _choice(zone: Zone) -> Choice:
    return Choice(route=Route(zone=zone, pool=zone, model="m"), reason="it is listed")


HOME, AWAY = _choice("local"), _choice("cloud")
PANEL = Panel(order=(HOME.route, AWAY.route), ask=2, agree=2)
CASCADE = Escalation(order=(HOME.route, AWAY.route), confidence_min=0.5)


@pytest.mark.parametrize(
    ("decision", "elsewhere", "left"),
    [
        (Decision(routes=(HOME, AWAY)), True, (HOME,)),
        (Decision(routes=(AWAY, HOME)), False, (HOME,)),
        (Decision(routes=(HOME,)), True, (HOME,)),
        (Decision(routes=(AWAY,)), False, ()),
        (Decision(), True, ()),
        (Decision(routes=(HOME, AWAY), panel=PANEL), False, ()),
        (Decision(routes=(HOME, HOME), panel=PANEL), True, (HOME, HOME)),
        (Decision(routes=(HOME, AWAY), escalation=CASCADE), False, ()),
    ],
)
def test_the_route_that_would_be_taken_decides(decision: Decision, elsewhere: bool, left: tuple[Choice, ...]):  # noqa: FBT001
    """
    Of those that are asked together, or one after another, any one; whatever is left has no route into a shut zone.
    """
    found = outside(decision, CLOUD)

    assert elsewhere == goes_elsewhere(decision, CLOUD)
    assert left == found.routes
    assert found.at_gate == (left != decision.routes)
    assert found is decision or (found.panel, found.escalation) == (None, None)
