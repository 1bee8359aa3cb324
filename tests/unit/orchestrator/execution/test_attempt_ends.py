"""What an attempt that came to no answer consumed: what is known of it, and what its provider may charge besides."""

import msgspec
import pytest

from flotilla.contracts.attempts import Failed, Usage
from flotilla.contracts.failures import FailureKind
from flotilla.contracts.results import AttemptReport
from flotilla.routing.types import Figures
from flotilla.testkit.run_story import TO_HERE, TO_THERE, Story
from orchestrator.execution.attempt_ends import usage_without_answer
from orchestrator.state.outcomes import Ended
from orchestrator.state.paid import Paid


def failed(kind: FailureKind, usage: Usage) -> Failed:
    return Failed(kind=kind, message="", usage=usage)


@pytest.mark.parametrize(
    ("outcome", "usage"),
    [
        (Ended.CANCELLED, Usage(unpriced=1)),
        (Ended.DEADLINE, Usage(unpriced=1)),
        (failed(FailureKind.LOST, Usage()), Usage(unpriced=1)),
        (failed(FailureKind.TIMEOUT, Usage()), Usage(unpriced=1)),
        (
            failed(FailureKind.UNAVAILABLE, Usage(input_tokens=7, cost_usd=None)),
            Usage(input_tokens=7, unpriced=1),
        ),
        (failed(FailureKind.UNAVAILABLE, Usage()), Usage()),
        (failed(FailureKind.RATE_LIMITED, Usage()), Usage()),
        (failed(FailureKind.INVALID_OUTPUT, Usage(cost_usd=0.5)), Usage(cost_usd=0.5)),
        (failed(FailureKind.TIMEOUT, Usage(cost_usd=0.5)), Usage(cost_usd=0.5)),
    ],
)
def test_what_is_not_known_is_counted_and_not_taken_for_nothing(outcome: Failed | Ended, usage: Usage) -> None:
    """
    In the cloud.
    """
    assert usage == usage_without_answer(TO_THERE, outcome)


@pytest.mark.parametrize(("costs_usd", "unpriced"), [(None, False), (0.0, False), (0.01, True)])
def test_at_home_a_cancelled_attempt_costs_nothing_unless_attempts_there_do(
    costs_usd: float | None, *, unpriced: bool
) -> None:
    """
    By what those before it have cost.
    """
    figures = None if costs_usd is None else Figures(cost_usd=costs_usd)
    choice = msgspec.structs.replace(TO_HERE, figures=figures)

    assert (Usage(unpriced=1) if unpriced else Usage()) == usage_without_answer(choice, Ended.CANCELLED)


def test_a_task_pays_for_what_is_known_and_tells_of_what_is_not() -> None:
    """
    Beside an answer, and in the ledger, in which it has a line of its own.
    """
    run = Story().run
    report = AttemptReport(pool="there", model="m", outcome="ok", latency_ms=1.0, reason="")
    for usage in (Usage(cost_usd=0.25), Usage(cost_usd=None).without_answer(), Usage(unpriced=1)):
        run.report(report, usage)

    assert Usage(cost_usd=0.25, unpriced=2) == run.usage
    assert [0.25, None, None] == [each.usd for each in run.paid]
    assert {Paid("there", "m", 0.25), Paid("there", "m", None)} == set(run.paid)
