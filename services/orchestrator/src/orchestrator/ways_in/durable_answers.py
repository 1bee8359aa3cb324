"""How the delivery of a durable task ends: with the result of a run, with one that was there before, or refused."""

from flotilla.contracts.errors import TaskError
from flotilla.contracts.failures import ErrorBody
from flotilla.contracts.names import UNKNOWN_CAPABILITY, is_name, task_id_of
from flotilla.contracts.results import Result, input_digest
from flotilla.fabric.deliveries import Delivery
from flotilla.fabric.stored import StoredMessage
from orchestrator.state.tasks import Task


class DurableAnswer:
    """What is known at the end of a delivery: its result, whether that is committed already, and the task if it was one."""

    __slots__ = ("committed", "result", "task")

    def __init__(self, result: Result, task: Task | None = None, *, committed: bool = False) -> None:
        self.result = result
        self.task = task
        self.committed = committed


def refusal(message: Delivery | StoredMessage, error: ErrorBody) -> Result:
    """The failed result of a message that never became a task, under its own id when that is a valid one."""
    # Also behind a misspelt priority: who submitted it listens for results of the capability that was meant.
    _, _, _, meant, *_ = message.subject.split(".")
    capability = meant if is_name(meant) else UNKNOWN_CAPABILITY
    given = next((value for name, value in message.headers.items() if name.lower() == "nats-msg-id"), None)
    try:
        task_id = task_id_of(given, message.sequence)
    except TaskError:
        task_id = task_id_of(None, message.sequence)
    digest = input_digest(message.body)
    return Result(task=task_id, capability=capability, status="failed", error=error, input_sha256=digest)
