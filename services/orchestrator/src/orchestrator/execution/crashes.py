"""Runs that end by an exception that nobody foresaw: the logs have it, the caller gets an id to find it there."""

import secrets

import structlog

from flotilla.contracts.errors import TaskError
from flotilla.contracts.failures import ErrorKind
from flotilla.fabric.errors import FabricError
from orchestrator.execution.dependencies import NoRouteNowError
from orchestrator.state.tasks import Task

logger = structlog.get_logger("orchestrator")


def goes_back(task: Task, error: Exception) -> bool:
    """Whether an exception sends the task back to its stream; an asked task has none, and fails."""
    return task.durable and isinstance(error, NoRouteNowError | FabricError)


def crashed(task: Task) -> TaskError:
    """Log the exception that is being handled, and give the error that the caller gets for it."""
    error = internal(secrets.token_hex(6))
    logger.exception("task_crashed", **error.details, task=task.id, capability=task.capability, scope=task.scope)  # noqa: LOG004  (called by handlers)
    return error


def internal(reference: str) -> TaskError:
    """The error for what should not have happened: an id to find it in the logs, no text of it."""
    return TaskError(
        ErrorKind.INTERNAL, f"internal error; the logs have it under {reference}", details={"id": reference}
    )
