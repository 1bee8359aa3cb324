"""What a policy came to over a recording: accuracy, cost, latencies, calls."""

from collections import Counter
from collections.abc import Sequence
from math import ceil

from msgspec import Struct

from flotilla.cli.replay.simulation import Outcome


class PolicyFigures(Struct, frozen=True, kw_only=True):
    """
    One line of the report.

    Attributes:
        labelled: Tasks of which it is known what is right.
        correct: Those of them whose answer is the label; a task that failed is not.
        cost_usd: Of all tasks; None where that of one call is not known.
        p50_s: Nearest rank: the least time that half of the tasks do not exceed; failed ones count. So is `p95_s`.
        calls: By model.
    """

    policy: str
    tasks: int
    labelled: int
    correct: int
    failed: int
    escalated: int
    cost_usd: float | None
    p50_s: float
    p95_s: float
    calls: dict[str, int]

    @property
    def accuracy(self) -> float | None:
        """Agreement with the label, 0 to 1; None without labels."""
        return self.correct / self.labelled if self.labelled else None


def figures_of(policy: str, outcomes: Sequence[Outcome]) -> PolicyFigures:
    """Add up what the tasks came to; at least one."""
    costs = [outcome.cost_usd for outcome in outcomes]
    known = [cost_usd for cost_usd in costs if cost_usd is not None]
    labelled = [outcome for outcome in outcomes if outcome.label is not None]
    seconds = sorted(outcome.seconds for outcome in outcomes)
    return PolicyFigures(
        policy=policy,
        tasks=len(outcomes),
        labelled=len(labelled),
        correct=sum(outcome.answer == outcome.label for outcome in labelled),
        failed=sum(outcome.answer is None for outcome in outcomes),
        escalated=sum(outcome.escalated for outcome in outcomes),
        cost_usd=sum(known) if len(known) == len(costs) else None,
        p50_s=nearest_rank(seconds, 0.50),
        p95_s=nearest_rank(seconds, 0.95),
        calls=dict(Counter(model for outcome in outcomes for model in outcome.calls)),
    )


def nearest_rank(ordered: Sequence[float], share: float) -> float:
    """The least value that `share` of the values do not exceed; the values in order, at least one."""
    return ordered[max(0, ceil(share * len(ordered)) - 1)]
