"""
What can go wrong between a caller and the fleet.

    flotilla.contracts.errors.FlotillaError
     ├─ flotilla.contracts.errors.TaskError   a task was refused or failed; `kind` says why
     │   ├─ TaskFailedError                   it has a result, which tells of every attempt
     │   └─ TaskIdTakenError                  its id belongs to a task with another input
     └─ ClientError
         ├─ NoFleetError                      no server can be reached, or nobody answers there
         │   ├─ CredentialsRefusedError       the server is there and does not let this caller in
         │   ├─ NotAllowedError               it does, but not to ask for this
         │   ├─ NoOrchestratorError           it is there, and no orchestrator behind it answers
         │   └─ CertificateNotTrustedError    the server is there, with a certificate of an unknown CA
         ├─ CredentialsUnusableError          the file of credentials cannot be read, or is none
         ├─ StreamCutError                    a stream of pieces ended without its result
         ├─ NotAcceptedError                  the task stream refused a task
         ├─ UnconfirmedError                  nobody knows whether a task was accepted
         └─ ResultTimeoutError                no result yet; the task goes on
"""

from pathlib import Path
from typing import TYPE_CHECKING

from flotilla.contracts.errors import FlotillaError, TaskError
from flotilla.contracts.failures import ErrorBody, ErrorKind

if TYPE_CHECKING:
    from flotilla.client.answers import Answer


class ClientError(FlotillaError):
    """Anything that went wrong between a caller and the fleet."""


class NoFleetError(ClientError):
    """
    No server can be reached at `url`, or no orchestrator answers there.

    Attributes:
        reason: What was seen, in a few words.
    """

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"no fleet at {url}: {reason}")
        self.url = url
        self.reason = reason


class CredentialsRefusedError(NoFleetError):
    """A server answers at `url` and does not accept the credentials, or wants some."""


class NotAllowedError(NoFleetError):
    """The server at `url` does not let these credentials publish to `subject`: they are of a role that has no need to."""

    def __init__(self, url: str, subject: str) -> None:
        super().__init__(url, f"these credentials may not ask on {subject}")
        self.subject = subject

    def __str__(self) -> str:
        """There is a fleet, so the text is not that of the others."""
        return f"not allowed at {self.url}: {self.reason}"


class NoOrchestratorError(NoFleetError):
    """A server answers at `url`, and no orchestrator behind it: none runs, or those that do are stuck."""

    def __str__(self) -> str:
        """There is a server, so whoever reads it needs no other one."""
        return f"no orchestrator answers at {self.url}: {self.reason}"


class CertificateNotTrustedError(NoFleetError):
    """A server answers at `url` with a certificate of a CA that this machine does not know."""


class CredentialsUnusableError(ClientError):
    """The file at `path` cannot be read, or holds no credentials; the text never holds what is in it."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"cannot use {path}: {reason}")
        self.path = path


class StreamCutError(ClientError):
    """
    A stream of pieces ended without its result: what was received is not a complete answer.

    Attributes:
        pieces: How many arrived, in order and without a gap.
    """

    def __init__(self, task: str, pieces: int, reason: str) -> None:
        super().__init__(f"the stream of task {task} was cut after {pieces} pieces: {reason}")
        self.task = task
        self.pieces = pieces
        self.reason = reason


class NotAcceptedError(ClientError):
    """
    The task stream refused a task for a reason of the server's own (a full disk, a limit of the account).

    Attributes:
        code: JetStream's `err_code`.
    """

    def __init__(self, code: int, description: str) -> None:
        super().__init__(f"the task was not accepted: {description or 'no reason given'} (JetStream error {code})")
        self.code = code


class UnconfirmedError(ClientError):
    """
    No acknowledgement came: the task may have been accepted or not.

    Submit it again under the same task id: the stream drops the repeat. Without an id of its own it may run twice.
    """

    def __init__(self, capability: str, task: str | None) -> None:
        again = "submitting it again is safe" if task else "without a task id of its own a repeat may run twice"
        super().__init__(f"no acknowledgement for {task or 'a task'} of {capability}; {again}")
        self.capability = capability
        self.task = task


class ResultTimeoutError(ClientError):
    """There was no result for `task` within `timeout_s`; the task goes on."""

    def __init__(self, task: str, timeout_s: float) -> None:
        super().__init__(f"no result for task {task} within {timeout_s:g} s; the task goes on")
        self.task = task
        self.timeout_s = timeout_s


class TaskIdTakenError(TaskError):
    """A task's id was given to another input before: its result would be the answer to that one."""

    def __init__(self, task: str) -> None:
        text = f"the id {task} was given to another input before; give this one an id of its own"
        super().__init__(ErrorKind.CONFLICT, text, details={"task": task})
        self.task = task


class TaskFailedError(TaskError):
    """
    A task ran and failed, or was refused after it had become a task.

    Attributes:
        answer: The failed result, with its attempts.
    """

    def __init__(self, body: ErrorBody, answer: "Answer") -> None:
        super().__init__(body.kind, body.message, details=body.details)
        self.answer = answer
