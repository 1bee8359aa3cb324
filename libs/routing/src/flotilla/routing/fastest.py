"""
`fastest`: by expected completion, from latency, tokens and free slots.

Of two candidates drawn by chance the faster one stands first: always taking the fastest of all would send every
orchestrator's tasks to the same route until its figures catch up. Behind it stand the others, fastest first.

A cold route (never seen) is expected to be as fast as the fastest known one, so it is tried and soon known; where no
route is known, the local ones are expected to be faster.
"""

import random

from flotilla.routing.candidates import Candidate, Ordered
from flotilla.routing.types import TaskView

BYTES_PER_TOKEN = 4.0
SIZE_FACTOR_MAX = 4.0
CLOUD_COLD_MS = 1.0


def order(candidates: list[Candidate], task: TaskView, rng: random.Random) -> Ordered:
    """The faster of two drawn ones, then the rest by expected completion."""
    known = [candidate.known.expected_ms for candidate in candidates if candidate.known.expected_ms is not None]
    cold_ms = min(known, default=None)
    expected = [expected_ms(candidate, task, cold_ms) for candidate in candidates]
    ranks = sorted(range(len(candidates)), key=expected.__getitem__)
    if len(ranks) > 1:
        # Both are drawn among ranks sorted by expectation, so the lower one is the faster.
        first = rng.randrange(len(ranks))
        second = rng.randrange(len(ranks) - 1)
        ranks.insert(0, ranks.pop(min(first, second + (second >= first))))
    return Ordered([candidates[rank] for rank in ranks], "expected to be the faster of two", "expected to be slower")


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
