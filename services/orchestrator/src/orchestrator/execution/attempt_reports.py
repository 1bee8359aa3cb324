"""How an attempt ended, as the result and the log tell of it."""

import logging
from typing import Final

import structlog

from flotilla.contracts.results import AttemptReport
from flotilla.routing.types import Choice
from orchestrator.state.attempt import Attempt
from orchestrator.state.tasks import Task

logger = structlog.get_logger("orchestrator")
_log_levels: Final = logging.getLogger("orchestrator")
"""Asked first: a line that nobody wants must not cost every attempt the making of it."""


def report_of(choice: Choice, attempt: Attempt, outcome: str, message: str = "") -> AttemptReport:
    """One attempt, as the result tells of it."""
    return AttemptReport(
        pool=choice.route.pool,
        model=choice.route.model,
        outcome=outcome,
        latency_ms=attempt.elapsed_ms,
        reason=choice.reason,
        replica=attempt.replica,
        message=message,
    )


def log_attempt(task: Task, attempt: Attempt, report: AttemptReport) -> None:
    """A line at `debug`."""
    if not _log_levels.isEnabledFor(logging.DEBUG):
        return
    logger.debug(
        "attempt_ended",
        task=task.id,
        attempt=attempt.id,
        capability=task.capability,
        scope=task.scope,
        pool=report.pool,
        model=report.model,
        replica=report.replica,
        outcome=report.outcome,
        latency_ms=round(report.latency_ms, 1),
    )
