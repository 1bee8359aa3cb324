"""
What can go wrong: the kinds a caller sees, and the kinds a worker reports with what the dispatcher does about each.

`RULES` is the one table of retry behaviour in the project. SDKs run with their own retries off.
"""

from enum import Enum
from typing import Annotated, Any, Final

from msgspec import Meta, Struct

ERROR_LENGTH_MAX: Final = 1024 * 1024
"""A refusal may list every capability that is known."""
DETAILS_MAX: Final = 64


class ErrorKind(Enum):
    """A refusal or failure as the caller sees it (the wire's error table)."""

    BAD_REQUEST = "bad_request"
    UNKNOWN_CAPABILITY = "unknown_capability"
    NOT_PERMITTED = "not_permitted"
    TOO_LARGE = "too_large"
    NO_ROUTE = "no_route"
    NO_CAPACITY = "no_capacity"
    BACKLOG_FULL = "backlog_full"
    DEADLINE_EXCEEDED = "deadline_exceeded"
    CANCELLED = "cancelled"
    PROVIDER_FAILED = "provider_failed"
    STEP_FAILED = "step_failed"
    APPROVAL_REQUIRED = "approval_required"
    APPROVAL_DENIED = "approval_denied"
    APPROVAL_EXPIRED = "approval_expired"
    NOT_FOUND = "not_found"
    CONFLICT = "conflict"
    INTERNAL = "internal"

    @property
    def code(self) -> int:
        """The HTTP-like status that goes in the header `Nats-Service-Error-Code`."""
        return _CODES[self]

    @property
    def retryable(self) -> bool:
        """Whether the same request may succeed later without a change."""
        return self in _RETRYABLE


_CODES = {
    ErrorKind.BAD_REQUEST: 400,
    ErrorKind.UNKNOWN_CAPABILITY: 404,
    ErrorKind.NOT_PERMITTED: 403,
    ErrorKind.TOO_LARGE: 413,
    ErrorKind.NO_ROUTE: 422,
    ErrorKind.NO_CAPACITY: 429,
    ErrorKind.BACKLOG_FULL: 429,
    ErrorKind.DEADLINE_EXCEEDED: 504,
    ErrorKind.CANCELLED: 499,
    ErrorKind.PROVIDER_FAILED: 502,
    ErrorKind.STEP_FAILED: 502,
    ErrorKind.APPROVAL_REQUIRED: 403,
    ErrorKind.APPROVAL_DENIED: 403,
    ErrorKind.APPROVAL_EXPIRED: 403,
    ErrorKind.NOT_FOUND: 404,
    ErrorKind.CONFLICT: 409,
    ErrorKind.INTERNAL: 500,
}
_RETRYABLE = frozenset(
    {ErrorKind.NO_CAPACITY, ErrorKind.BACKLOG_FULL, ErrorKind.PROVIDER_FAILED, ErrorKind.INTERNAL},
)


class ErrorBody(Struct, frozen=True, kw_only=True):
    """
    The value of `error` in a reply or a failed result.

    Attributes:
        message: For people; never holds a document's text, a prompt or a key.
        details: What a program may need: `path`, `expected`, `limit_bytes`, `size_bytes`, `retry_after_s`, ...
    """

    kind: ErrorKind
    message: Annotated[str, Meta(max_length=ERROR_LENGTH_MAX)]
    retryable: bool = False
    details: Annotated[dict[str, Any], Meta(max_length=DETAILS_MAX)] = {}


class FailureKind(Enum):
    """Why one attempt failed: what workers report, and what the dispatcher itself observes of them."""

    RATE_LIMITED = "rate_limited"
    UNAVAILABLE = "unavailable"
    TIMEOUT = "timeout"
    REFUSED = "refused"
    INVALID_OUTPUT = "invalid_output"
    UNKNOWN_MODEL = "unknown_model"
    NOT_RELEASABLE = "not_releasable"
    INTERRUPTED = "interrupted"
    CRASHED = "crashed"
    BAD_INPUT = "bad_input"
    AUTH = "auth"
    TOO_LARGE = "too_large"
    LOST = "lost"
    LOADING = "loading"
    NOT_FOUND = "not_found"
    NOT_APPROVED = "not_approved"


class Rule(Struct, frozen=True, kw_only=True):
    """
    What follows an attempt that failed with one kind.

    Attributes:
        same_route_max: How many more attempts the same route gets (another replica of it, if there is one).
        next_route: Whether the next route of the list is tried afterwards.
        passes: It says something about the route, not about the task, and ends by itself: a durable task that has no
            other route waits for this one until its deadline.
        passes_soon: It ends within seconds, and says so: an asked task waits too, within its deadline.
        counts: Whether an attempt is one of the limited number that a task has, also where the task waits.
        penalise: Whether the failure counts against the route's health (its error rate and its breaker).
        backoff_s: Pause before the same route is tried again; doubles each time, with jitter.
        fails_as: The kind that the caller sees when this failure ends the task: at once, or since every attempt had it.
    """

    same_route_max: int = 0
    next_route: bool = True
    passes: bool = False
    passes_soon: bool = False
    counts: bool = True
    penalise: bool = True
    backoff_s: float = 0.0
    fails_as: ErrorKind = ErrorKind.PROVIDER_FAILED


RULES: dict[FailureKind, Rule] = {
    FailureKind.RATE_LIMITED: Rule(same_route_max=1, backoff_s=0.5, passes=True, counts=False),
    FailureKind.UNAVAILABLE: Rule(same_route_max=1, backoff_s=0.1, passes=True, counts=False),
    # A server that hangs passes; a task that no model ever finishes does not, so these are counted all the same.
    FailureKind.TIMEOUT: Rule(passes=True),
    FailureKind.REFUSED: Rule(penalise=False),
    FailureKind.INVALID_OUTPUT: Rule(),
    FailureKind.UNKNOWN_MODEL: Rule(),
    FailureKind.NOT_RELEASABLE: Rule(penalise=False),
    # A replica that leaves gracefully is no sign of an unhealthy route: the same pool may serve at once.
    FailureKind.INTERRUPTED: Rule(same_route_max=3, passes=True, counts=False, penalise=False),
    FailureKind.CRASHED: Rule(same_route_max=1),
    FailureKind.BAD_INPUT: Rule(next_route=False, penalise=False, fails_as=ErrorKind.BAD_REQUEST),
    FailureKind.AUTH: Rule(),
    FailureKind.TOO_LARGE: Rule(penalise=False, fails_as=ErrorKind.TOO_LARGE),
    FailureKind.LOST: Rule(same_route_max=2, passes=True, counts=False),
    # Another worker may be one that asks for no grant: what was kept back here must not go out there.
    FailureKind.NOT_APPROVED: Rule(next_route=False, penalise=False, fails_as=ErrorKind.APPROVAL_REQUIRED),
    # What the input names is not there: no other replica has it.
    FailureKind.NOT_FOUND: Rule(next_route=False, penalise=False, fails_as=ErrorKind.NOT_FOUND),
    # The server lives and is about to serve: it is not ill, and need not be probed.
    FailureKind.LOADING: Rule(passes=True, passes_soon=True, counts=False, penalise=False),
}
