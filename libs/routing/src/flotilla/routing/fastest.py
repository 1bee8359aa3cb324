"""
`fastest`: by expected completion, from latency, tokens and free slots.

Of some candidates drawn by chance (two, unless the policy says otherwise) the fastest one stands first: always taking the
fastest of all would send every orchestrator's tasks to the same route until its figures catch up. Behind it stand the
others, fastest first.

A cold route (never seen) is expected to be as fast as the fastest known one, so it is tried and soon known; where no
route is known, the local ones are expected to be faster.
"""

import random
from typing import Annotated, Final

from msgspec import Meta, Struct

from flotilla.contracts.policy import ROUTES_MAX
from flotilla.routing.candidates import Candidate
from flotilla.routing.strategy import InOrder, Strategy
from flotilla.routing.types import TaskView

BYTES_PER_TOKEN = 4.0
SIZE_FACTOR_MAX = 4.0
CLOUD_COLD_MS = 1.0


class FastestParameters(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    Of `fastest`.

    Attributes:
        draws: Candidates drawn by chance, of which the fastest stands first; as many as there are routes is always the
            fastest of all.
    """

    draws: Annotated[int, Meta(ge=1, le=ROUTES_MAX)] = 2


def plan(candidates: list[Candidate], task: TaskView, parameters: FastestParameters, rng: random.Random) -> InOrder:
    """The fastest of those drawn, then the rest by expected completion."""
    known = [candidate.known.expected_ms for candidate in candidates if candidate.known.expected_ms is not None]
    cold_ms = min(known, default=None)
    expected = [expected_ms(candidate, task, cold_ms) for candidate in candidates]
    ranks = sorted(range(len(candidates)), key=expected.__getitem__)
    if len(ranks) > 1:
        # They are drawn among ranks sorted by expectation, so the lowest one is the fastest.
        drawn = min(rng.sample(range(len(ranks)), min(parameters.draws, len(ranks))))
        ranks.insert(0, ranks.pop(drawn))
    return InOrder([candidates[rank] for rank in ranks], "expected to be the fastest drawn", "expected to be slower")


def expected_ms(candidate: Candidate, task: TaskView, cold_ms: float | None) -> float:
    """
    When a task is expected to be done here: its share of the usual time by its size, and the wait for a slot.

    A task's size is only known in bytes; more than four times the usual time is not believed on that ground.
    """
    usual_ms = candidate.known.expected_ms
    if usual_ms is None:
        if cold_ms is None:
            return 0.0 if candidate.route.zone == "local" else CLOUD_COLD_MS
        usual_ms = cold_ms
    alone_ms = usual_ms
    if candidate.known.tokens > 0.0 and task.input_bytes:
        size = task.input_bytes / BYTES_PER_TOKEN / candidate.known.tokens
        alone_ms *= min(SIZE_FACTOR_MAX, max(1.0, size))
    if candidate.free > 0:
        return alone_ms
    waiting = candidate.busy - candidate.pool.slots + 1
    return alone_ms + usual_ms * waiting / max(1, candidate.pool.slots)


STRATEGY: Final = Strategy(name="fastest", parameters=FastestParameters, plan=plan)
