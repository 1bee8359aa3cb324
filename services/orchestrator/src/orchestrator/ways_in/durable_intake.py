"""Messages of one scope's task stream become tasks, whether a consumer delivered them or the sweep found them."""

from collections.abc import Callable
from functools import partial

from flotilla.contracts import subjects
from flotilla.contracts.errors import TaskError
from flotilla.contracts.failures import ErrorKind
from flotilla.contracts.headers import DataClass
from flotilla.contracts.names import task_id_of
from flotilla.fabric.deliveries import Delivery
from flotilla.fabric.stored import StoredMessage
from orchestrator.state.reading_time import ReadingTime
from orchestrator.state.tasks import Task
from orchestrator.ways_in.intake import Intake, read_options


class DurableIntake:
    """The intake of one scope's durable tasks."""

    def __init__(
        self, intake: Intake, scope: str, data_class_of: Callable[[str], DataClass], reading: ReadingTime
    ) -> None:
        self._intake = intake
        self._reading = reading
        self._scope = scope
        self._data_class_of = data_class_of

    @property
    def is_held_off(self) -> bool:
        """Whether the scope's tasks have taken too long to be read, and are to wait in their stream for a while."""
        return self._reading.held_off_s(self._scope) > 0.0

    def take(self, message: Delivery | StoredMessage) -> Task:
        """
        Check a message and make it a task; without an id of its own it is called by its sequence.

        Raises:
            TaskError: See `Intake.take`.
        """
        self._reading.arrived(self._scope, len(message.body))
        parsed = subjects.parse_tasks(message.subject)
        if parsed is None:
            raise TaskError(ErrorKind.UNKNOWN_CAPABILITY, "the subject is not tasks.<capability>[.high|.low]")
        options = read_options(message.raw_headers)
        take = partial(
            self._intake.take,
            scope=self._scope,
            capability=parsed.capability,
            priority=parsed.priority,
            task_id=task_id_of(options.task_id, message.sequence),
            options=options,
            body=message.body,
            accepted_unix_ms=message.stored_unix_ms,
            durable=True,
            data_class_default=self._data_class_of(self._scope),
        )
        return self._reading.measured(self._scope, len(message.body), take)
