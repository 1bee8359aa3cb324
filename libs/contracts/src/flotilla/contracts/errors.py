"""
Why a task was refused or failed, as callers see it.

    FlotillaError
     ├─ TaskError              a task was refused or failed; carries the wire's error body
     │   └─ BadRequestError    the caller's message is not a task
     ├─ DecodeFailedError      a message of the fleet's own did not decode
     ├─ PolicyError            a policy document is not one; carries every fault with the key it stands at
     │   ├─ NoPolicyError      what stands in the policy's place is nothing that anybody meant as one
     │   └─ NewerPolicyError   it is of a later version, which may forbid what is not understood here
     └─ SettingsError          a setting of a service is unknown, missing or malformed
"""

from collections.abc import Mapping, Sequence
from typing import Any

from flotilla.contracts.failures import ErrorBody, ErrorKind


class FlotillaError(Exception):
    """Anything that this project raises on purpose."""


class TaskError(FlotillaError):
    """
    A task was refused or failed, for one of the kinds of the wire's error table.

    Attributes:
        retryable: Whether the same request may succeed later without a change; as its kind says, unless told.
    """

    def __init__(
        self,
        kind: ErrorKind,
        message: str,
        *,
        details: Mapping[str, Any] | None = None,
        retryable: bool | None = None,
    ) -> None:
        super().__init__(f"{kind.value}: {message}")
        self.kind = kind
        self.message = message
        self.details: dict[str, Any] = dict(details or {})
        self.retryable = kind.retryable if retryable is None else retryable

    @property
    def body(self) -> ErrorBody:
        """The error as it goes over the wire."""
        return ErrorBody(kind=self.kind, message=self.message, retryable=self.retryable, details=self.details)

    @classmethod
    def from_body(cls, body: ErrorBody) -> "TaskError":
        """The exception that stands for an error which came over the wire."""
        return cls(body.kind, body.message, details=body.details, retryable=body.retryable)


class BadRequestError(TaskError):
    """The caller's message is not a task: says where, and what was expected there."""

    def __init__(self, message: str, *, path: str = "", expected: str = "") -> None:
        details = {key: value for key, value in (("path", path), ("expected", expected)) if value}
        super().__init__(ErrorKind.BAD_REQUEST, message, details=details)


class DecodeFailedError(FlotillaError):
    """A message of the fleet's own (a reply, a card) did not decode; the text says where, never what it held."""


class PolicyError(FlotillaError):
    """
    A policy document is not one.

    Attributes:
        faults: All that was found, each beginning with its key (`capabilities.classify.routes[1].pool`).
    """

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = tuple(faults)


class NoPolicyError(PolicyError):
    """What stands in the policy's place has no `format`: no version has ever written it as a policy."""


class NewerPolicyError(PolicyError):
    """A policy is of a later version than this reader; it may forbid what is not understood here."""


class SettingsError(FlotillaError):
    """A setting is unknown, missing or malformed; the text is one line that names it and what was expected."""
