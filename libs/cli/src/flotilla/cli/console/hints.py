"""What to do next, by what went wrong: the one table of hints, for every command and for `flotilla doctor`."""

from contextlib import suppress
from typing import Final

from flotilla.client.errors import (
    CertificateNotTrustedError,
    CredentialsRefusedError,
    CredentialsUnusableError,
    NoFleetError,
    NoOrchestratorError,
    NotAllowedError,
    TaskFailedError,
)
from flotilla.contracts.errors import TaskError
from flotilla.contracts.failures import ErrorKind, FailureKind
from flotilla.contracts.providers import OLLAMA_MODELS

_HINTS: Final = {
    ErrorKind.UNKNOWN_CAPABILITY: "`flotilla status` shows what the live pools can do",
    ErrorKind.NO_ROUTE: "`flotilla status` shows which pools are live and what they can do",
    ErrorKind.NO_CAPACITY: "try again, or let it wait its turn with `flotilla submit`",
    ErrorKind.BACKLOG_FULL: "try again later; `flotilla status` shows the backlog",
    ErrorKind.DEADLINE_EXCEEDED: "give it longer with --deadline-s",
    ErrorKind.TOO_LARGE: "split the document",
    ErrorKind.NOT_PERMITTED: "ask whoever runs the fleet, or give other credentials with --creds",
    ErrorKind.APPROVAL_REQUIRED: "an approver signs the input with `flotilla approvals sign`; give the grant with --approval",
    ErrorKind.APPROVAL_DENIED: "nothing was sent; `flotilla audit` says who denied it, with an approver's credentials",
    ErrorKind.APPROVAL_EXPIRED: "nothing was sent; submit it again, and have an approver decide in time",
    ErrorKind.PROVIDER_FAILED: "every route was tried; try again later",
    ErrorKind.CONFLICT: "look at what it is now, and apply the change to that",
}

_BY_OUTCOME: Final = {
    FailureKind.AUTH: "set the key of that pool's provider again; `flotilla doctor` tries keys",
    FailureKind.UNKNOWN_MODEL: f"its server does not have it: `{OLLAMA_MODELS.pull_command} MODEL`, or FLOTILLA_MODELS",
    FailureKind.INVALID_OUTPUT: "a larger model may do it: `flotilla ask --route POOL/MODEL`, or the policy",
    FailureKind.REFUSED: "the model or its provider declined; another route may take it: --route POOL/MODEL",
}
"""Of a task whose every route failed: what mends that which waiting does not; by what the last attempt failed of."""

_IN_A_STEP: Final = {
    ErrorKind.APPROVAL_REQUIRED: "submit it with `flotilla submit`: its step waits until somebody has approved it"
}
"""Where a step of a pipeline failed of it."""

BY_POLICY: Final = (
    "`flotilla policy get` shows the policy; `flotilla policy rollback` goes back to the last good one, "
    "`flotilla policy unset` to none"
)


STORES_NOTHING: Final = "NATS stores nothing: no task is accepted, no result kept"
NO_ROOM: Final = "NATS may have no room: if its log has `no space left on device`, make room, then restart nats-server"
"""What most likely keeps a stream from acknowledging while questions are answered."""
_MINE: Final = "`flotilla tasks` lists what was submitted from here lately"
NOT_FOUND: Final = {
    "approvals": "`flotilla approvals list --all` shows those that are kept",
    "cancel": _MINE,
    "dead": "`flotilla dead list` shows those that are kept",
    "experiment": "`flotilla policy get` shows which capabilities are split, and between which routes",
    "policy": "`flotilla policy history` lists the revisions that are kept",
    "result": _MINE,
    "status": _MINE,
}
"""Where what was not found could be seen, by the command."""

_NO_ORCHESTRATOR: Final = (
    "the terminal of `flotilla up` and the folder logs beside its credentials say why; "
    "in a cluster `kubectl -n flotilla get pods`"
)
_OTHER_CREDENTIALS: Final = "name those of another role with --creds, or in FLOTILLA_NATS_CREDS"
_APPROVER: Final = "name an approver's with --creds: `approver.<scope>.nk` in the folder credentials of `flotilla up`"
_CREDENTIALS: Final = {"approvals": _APPROVER, "decide": _APPROVER}
"""Whose credentials may ask, by the last word of the subject."""


def way_in(error: NoFleetError | CredentialsUnusableError) -> str:
    """What to do about a fleet that does not answer, or does not let these credentials ask."""
    if isinstance(error, CredentialsUnusableError):
        return "name a seed file that this user may read with --creds, or in FLOTILLA_NATS_CREDS"
    if isinstance(error, CredentialsRefusedError):
        return "name the credentials of this fleet with --creds, or in FLOTILLA_NATS_CREDS"
    if isinstance(error, NotAllowedError):
        return _CREDENTIALS.get(error.subject.rpartition(".")[2], _OTHER_CREDENTIALS)
    if isinstance(error, CertificateNotTrustedError):
        return "name the CA's certificate with --tls-ca, or in FLOTILLA_NATS_TLS_CA"
    if isinstance(error, NoOrchestratorError):
        return _NO_ORCHESTRATOR
    return "start one with `flotilla up`, or name another with --url"


def of_task(error: TaskError) -> list[str]:
    """What to do about a task that failed: what mends its last attempt, else what its kind of error asks for."""
    return _of_outcome(error) or _of_kind(error)


def _of_outcome(error: TaskError) -> list[str]:
    """What to do about what the last attempt failed of, where trying again would be no use."""
    if error.kind is not ErrorKind.PROVIDER_FAILED or not isinstance(error, TaskFailedError):
        return []
    outcome = next((attempt.outcome for attempt in reversed(error.answer.attempts)), "")
    return [hint for kind, hint in _BY_OUTCOME.items() if kind.value == outcome]


def _of_kind(error: TaskError) -> list[str]:
    """What to do next; of a run of a pipeline, about what its step failed of."""
    if error.kind is not ErrorKind.STEP_FAILED:
        return [_HINTS[error.kind]] if error.kind in _HINTS else []
    with suppress(ValueError):
        inner = ErrorKind(error.details.get("kind"))
        found = {**_HINTS, **_IN_A_STEP}.get(inner)
        # A durable run is among the dead.
        again = isinstance(error, TaskFailedError) and isinstance(error.answer.result.input_sha256, str)
        hints = [found] if found else []
        return [*hints, "`flotilla dead retry` goes on from this step"] if again else hints
    return []
