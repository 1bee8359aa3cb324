"""Where a caller's subjects are: as a tenant sees them, or behind `scope.<scope>.` in the FLEET account."""

from pathlib import Path
from typing import Final

from flotilla.contracts import subjects
from flotilla.contracts.errors import BadRequestError
from flotilla.contracts.names import SEALED_PREFIX, is_name, is_scope, is_stored_task_id
from flotilla.contracts.subjects import PRIORITIES, Priority

DEFAULT_URL: Final = "nats://127.0.0.1:4222"
ANY: Final = "*"
_PLACEHOLDER: Final = "x"
_APPROVER: Final = "approver."


class Addresses:
    """
    Builds the subjects of one caller.

    Attributes:
        scope: None for a tenant, whose account maps its plain subjects to its scope; else the scope that a user of the
            FLEET account works in.
    """

    def __init__(self, scope: str | None) -> None:
        if scope is not None and not is_scope(scope):
            raise BadRequestError("the scope must be 1 to 63 of A-Za-z0-9_-", path="scope")
        self.scope: Final = scope
        self._name: Final = scope or _PLACEHOLDER
        self._cut: Final = 0 if scope else len(f"scope.{_PLACEHOLDER}.")

    def ask(self, capability: str) -> str:
        """Where an interactive task is requested."""
        return subjects.ask(self._name, checked(capability))[self._cut :]

    def tasks(self, capability: str, priority: Priority) -> str:
        """Where a durable task is published."""
        if priority not in PRIORITIES:
            raise BadRequestError(f"priority: expected one of {', '.join(PRIORITIES)}", path="priority")
        return subjects.tasks(self._name, checked(capability), priority)[self._cut :]

    def results(self, capability: str = ANY, task: str = ANY) -> str:
        """Where results are committed; wildcards unless told."""
        return subjects.results(self._name, _any_or(capability), _any_or_task(task))[self._cut :]

    def events(self, capability: str = ANY) -> str:
        """Where the events of a capability's tasks are published; wildcards unless told, and for the kind always."""
        one = subjects.events(self._name, _any_or(capability), "queued")
        return f"{one.rpartition('.')[0]}.{ANY}"[self._cut :]

    def api(self, verb: str) -> str:
        """Where a question to the fleet is requested."""
        return subjects.api(self._name, verb)[self._cut :]

    def sealed_api(self, verb: str) -> str | None:
        """The same of the sealed lane, for a tenant that has both; None for a user of the FLEET account, which has it not."""
        return None if self.scope else f"{SEALED_PREFIX}{self.api(verb)}"


def checked(capability: str) -> str:
    """
    Refuse a name that no capability can have: it would not stand in a subject as one token.

    Raises:
        BadRequestError: It is not 1 to 63 of `a-z0-9-`.
    """
    if not is_name(capability):
        expected = "1 to 63 of a-z0-9-, no hyphen at either end"
        raise BadRequestError(f"the name of a capability must be {expected}", path="capability", expected=expected)
    return capability


def checked_task(task: str) -> str:
    """
    Refuse an id that no task can have: the same for a subject.

    Raises:
        BadRequestError: It is not 1 to 64 of `A-Za-z0-9_-`.
    """
    if not is_stored_task_id(task):
        raise BadRequestError("a task id is 1 to 64 of A-Za-z0-9_-", path="task")
    return task


def inbox_prefix_of(scope: str | None, creds: Path | None) -> str:
    """
    What a caller may subscribe to for replies: a user of the FLEET account only what is named after it, and approvers, whose
    file has the name of their user, what is theirs.
    """
    if scope is None and creds is not None and creds.name.startswith(_APPROVER):
        return subjects.APPROVER_INBOX
    if scope is None or creds is None:
        return "_INBOX"
    return f"_INBOX.{creds.stem}"


def _any_or(capability: str) -> str:
    return capability if capability == ANY else checked(capability)


def _any_or_task(task: str) -> str:
    return task if task == ANY else checked_task(task)
