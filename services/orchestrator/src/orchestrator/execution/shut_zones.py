"""Zones that a task may not enter before a person has approved it: which routes are left of a decision. Pure."""

from typing import Final

import msgspec

from flotilla.contracts.subjects import ZONES, Zone
from flotilla.routing.types import Decision

ALL_ZONES: Final = frozenset(ZONES)


def goes_elsewhere(decision: Decision, shut: frozenset[Zone]) -> bool:
    """
    Whether a task that is decided so needs no approval now.

    Of several routes that are asked together, or one after another, none may lie there; else the first counts. Where there
    is no route at all, nothing leaves yet.
    """
    together = decision.panel is not None or decision.escalation is not None
    looked_at = decision.routes if together else decision.routes[:1]
    return all(choice.route.zone not in shut for choice in looked_at)


def outside(decision: Decision, shut: frozenset[Zone]) -> Decision:
    """A decision without its routes into these zones; `at_gate` says that there were any."""
    left = tuple(choice for choice in decision.routes if choice.route.zone not in shut)
    if len(left) == len(decision.routes):
        return decision
    together = decision.panel is not None or decision.escalation is not None
    return msgspec.structs.replace(decision, routes=() if together else left, panel=None, escalation=None, at_gate=True)
