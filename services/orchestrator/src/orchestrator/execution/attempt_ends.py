"""The end of an attempt that had a slot and brought no answer: counted, told as an event, and handed to the run."""

import time

from flotilla.contracts.attempts import Failed, Usage
from flotilla.routing.types import Choice
from orchestrator.economy.permits import OF_UNKNOWN_COST
from orchestrator.execution.attempt_reports import report_of
from orchestrator.execution.dependencies import Dependencies
from orchestrator.execution.next_action import ended_as
from orchestrator.execution.run_state import RunState
from orchestrator.execution.run_steps import AttemptEnded
from orchestrator.state.attempt import Attempt
from orchestrator.state.outcomes import Ended
from orchestrator.state.tasks import NO_USAGE


def attempt_without_answer(
    dependencies: Dependencies, state: RunState, choice: Choice, attempt: Attempt, outcome: Failed | Ended
) -> AttemptEnded:
    """Count the end for its route where the route is to blame, or for the task's own time; and say how it ended."""
    usage = usage_without_answer(choice, outcome)
    outcome = ended_as(state, outcome, time.monotonic())
    if not isinstance(outcome, Failed):
        (dependencies.ledger.ran_out if outcome is Ended.DEADLINE else dependencies.ledger.cancelled)(attempt)
        return AttemptEnded(choice, outcome, report_of(choice, attempt, outcome.value), usage)
    attempt.tell_started()
    blameless = not dependencies.attempts.liveness.counts_against_route(attempt, outcome)
    dependencies.ledger.failed(attempt, outcome, blameless=blameless)
    kind = outcome.kind.value
    dependencies.events.tell(
        state.task,
        "attempt_failed",
        route=choice.route,
        replica=attempt.replica,
        error=kind,
        latency_ms=attempt.elapsed_ms,
    )
    report = report_of(choice, attempt, kind, outcome.message)
    return AttemptEnded(choice, outcome, report, usage, attempt.heard_at is not None, attempt.suspects)


def usage_without_answer(choice: Choice, outcome: Failed | Ended) -> Usage:
    """
    What is known of an attempt's usage that came to no answer; where its provider may charge more for it, that is counted.

    A replica that says nothing of the cost may have worked all the same. At home that costs nothing, unless the route's
    attempts do.
    """
    usage = outcome.usage if isinstance(outcome, Failed) else NO_USAGE
    if usage.cost_usd is None:
        return usage.without_answer()
    silent = not usage.cost_usd and (isinstance(outcome, Ended) or outcome.kind in OF_UNKNOWN_COST)
    costs = choice.route.zone == "cloud" or (choice.figures is not None and bool(choice.figures.cost_usd))
    return usage.without_answer() if silent and costs else usage
