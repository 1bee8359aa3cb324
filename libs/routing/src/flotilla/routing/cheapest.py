"""
`cheapest`: by expected cost. The latency ceiling is the p95 guard: a route above it is ejected like under any strategy,
and so is not among the candidates here.

A cold route costs what the policy's `cost_usd_hint` says, nothing at home, and more than any known price otherwise.
"""

import math
import random
from typing import Final

from flotilla.routing.candidates import Candidate, expected_cost_usd
from flotilla.routing.strategy import InOrder, NoParameters, Strategy
from flotilla.routing.types import TaskView


def plan(candidates: list[Candidate], task: TaskView, parameters: NoParameters, rng: random.Random) -> InOrder:
    """The candidates by expected cost; at the same cost by latency, then as the policy lists them."""
    del task, parameters, rng
    return InOrder(sorted(candidates, key=_rank), "lowest expected cost", "expected to cost more")


def _rank(candidate: Candidate) -> tuple[float, float, int]:
    cost_usd = expected_cost_usd(candidate.entry, candidate.route.zone, candidate.known)
    latency_ms = candidate.known.expected_ms
    return (
        math.inf if cost_usd is None else cost_usd,
        math.inf if latency_ms is None else latency_ms,
        candidate.place,
    )


STRATEGY: Final = Strategy(name="cheapest", parameters=NoParameters, plan=plan)
