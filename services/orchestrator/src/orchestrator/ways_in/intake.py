"""
What comes in: a subject, headers and bytes become a task, or a typed refusal. Pure apart from the clock.

A message is decoded once here to check it; the caller's bytes then travel on as they are.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from msgspec import Struct

from flotilla.capabilities.catalogue import Catalogue
from flotilla.capabilities.json_schema import check_transport
from flotilla.contracts.errors import BadRequestError, TaskError
from flotilla.contracts.failures import ErrorKind
from flotilla.contracts.header_block import read_block
from flotilla.contracts.headers import (
    ASK_DEADLINE_MS_DEFAULT,
    ASK_DEADLINE_MS_MAX,
    DEADLINE_MS,
    NO_OPTIONS,
    TASK_DEADLINE_MS_DEFAULT,
    TASK_DEADLINE_MS_MAX,
    DataClass,
    TaskOptions,
    parse_headers,
)
from flotilla.contracts.names import check_task_id, is_name
from flotilla.contracts.redaction import task_data_class
from flotilla.contracts.subjects import Priority
from orchestrator.state.tasks import Task

ENVELOPE_BYTES: Final = 4096
"""What an attempt's request adds to the caller's bytes, at most."""
REMEMBERED_PER_POOL_MAX: Final = 512
"""Capabilities that a pool announces or has announced: more than it can have at a time."""
POOLS_REMEMBERED_MAX: Final = 512
KNOWN_SHOWN_MAX: Final = 200
"""Of those that no definition here has, in the refusal of an unknown one."""
NO_DEADLINES: Final[Mapping[str, int]] = {}
EARLIER: Final = ""
"""Stands for the pool of what was announced before this orchestrator was started; no pool is called so."""


class Limits(Struct, frozen=True, kw_only=True):
    """
    What a task may ask for.

    Attributes:
        payload_bytes_max: The server's limit on one message.
    """

    payload_bytes_max: int


class Intake:
    """Decodes and checks tasks against the catalogue of capabilities."""

    def __init__(
        self,
        catalogue: Catalogue,
        limits: Limits,
        serves: Callable[[str], bool] = lambda _capability: False,
        deadlines_ms: Mapping[str, int] = NO_DEADLINES,
        *,
        sealed: bool = False,
    ) -> None:
        """
        Know nothing that is announced yet.

        Args:
            catalogue: Of the definitions that are here.
            limits: What a task may ask for.
            serves: Whether somebody serves a capability now, whether or not it was announced.
            deadlines_ms: Of capabilities whose tasks have another deadline than the fleet's where their caller gives none.
            sealed: Every task is restricted, whatever its headers and the policy say.
        """
        self._catalogue = catalogue
        self._serves = serves
        self._sealed = sealed
        self._limits = limits
        self._deadlines_ms = deadlines_ms
        self._remembered: dict[str, dict[str, None]] = {}

    def announce(self, pool: str, capabilities: Iterable[str]) -> None:
        """
        Know also what a pool's workers announce, whether or not its definition is here, and go on knowing it.

        They may come back: what was accepted for them waits, and is not refused as unknown. What a pool announced
        longest ago is forgotten first, and never for another pool's sake.
        """
        names = self._remembered.pop(pool, {})
        self._remembered[pool] = names
        for capability in capabilities:
            names.pop(capability, None)
            names[capability] = None
        while len(names) > REMEMBERED_PER_POOL_MAX:
            del names[next(iter(names))]
        while len(self._remembered) > POOLS_REMEMBERED_MAX:
            del self._remembered[next(iter(self._remembered))]

    def remember(self, capability: str) -> None:
        """Some worker had it before this orchestrator was started."""
        self.announce(EARLIER, (capability,))

    def knows(self, capability: str) -> bool:
        """Whether some definition has this capability, a worker that lives or has lived, or somebody who serves it now."""
        return (
            self._catalogue.get(capability) is not None
            or any(capability in names for names in self._remembered.values())
            or self._serves(capability)
        )

    def take(
        self,
        *,
        scope: str,
        capability: str,
        priority: Priority,
        task_id: str,
        options: TaskOptions,
        body: bytes,
        accepted_unix_ms: int,
        durable: bool,
        data_class_default: DataClass,
    ) -> Task:
        """
        Check a message and make it a task.

        Raises:
            TaskError: `bad_request`, `unknown_capability` or `too_large`, with what was expected; never with the
                caller's text.
        """
        definition = self._catalogue.get(capability)
        if definition is None and not self.knows(capability):
            raise self.unknown(capability)
        limit = self._limits.payload_bytes_max - ENVELOPE_BYTES
        if len(body) > limit:
            details = {"limit_bytes": limit, "size_bytes": len(body)}
            raise TaskError(ErrorKind.TOO_LARGE, f"the input has {len(body)} bytes; at most {limit}", details=details)
        check_transport(body, is_decoded=definition is not None)
        if definition is not None:
            definition.decode_input(body)
        return Task(
            task_id=task_id,
            scope=scope,
            capability=capability,
            priority=priority,
            data_class=self.data_class(capability, options.data_class, data_class_default),
            body=body,
            options=options,
            accepted_unix_ms=accepted_unix_ms,
            deadline_ms=_deadline_ms(options, self._deadlines_ms.get(capability), durable=durable),
            durable=durable,
        )

    def data_class(self, capability: str, given: DataClass | None, default: DataClass) -> DataClass:
        """The class of a task that says `given`, in a scope whose tasks are `default` where they say nothing."""
        return "restricted" if self._sealed else task_data_class(capability, given, default)

    def unknown(self, capability: str) -> TaskError:
        """The refusal of a capability that nobody knows; lists those that are known."""
        announced = {name for names in self._remembered.values() for name in names}
        known = sorted({*self._catalogue.names(), *sorted(announced)[:KNOWN_SHOWN_MAX]})
        shown = capability if is_name(capability) else "?"
        return TaskError(
            ErrorKind.UNKNOWN_CAPABILITY,
            f"no capability {shown}; known are {', '.join(known)}",
            details={"capability": shown, "known": known},
        )


def read_options(raw_headers: bytes | None) -> TaskOptions:
    """
    The options of a task, from its header block as it arrived; its id checked.

    Raises:
        BadRequestError: See `read_block`, `parse_headers` and `check_task_id`.
    """
    if raw_headers is None:
        return NO_OPTIONS
    options = parse_headers(read_block(raw_headers))
    if options.task_id is not None:
        check_task_id(options.task_id)
    return options


def _deadline_ms(options: TaskOptions, of_capability_ms: int | None, *, durable: bool) -> int:
    given = options.deadline_ms
    limit = TASK_DEADLINE_MS_MAX if durable else ASK_DEADLINE_MS_MAX
    if given is None:
        if of_capability_ms is not None:
            return min(of_capability_ms, limit)
        return TASK_DEADLINE_MS_DEFAULT if durable else ASK_DEADLINE_MS_DEFAULT
    if given > limit:
        expected = f"at most {limit} ms"
        raise BadRequestError(
            f"header {DEADLINE_MS}: expected {expected}", path=f"header {DEADLINE_MS}", expected=expected
        )
    return given
