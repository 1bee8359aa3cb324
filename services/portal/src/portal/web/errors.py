"""What a browser is told when something cannot be done: a kind for programs, a sentence for people."""

from collections.abc import Mapping
from typing import Final

import msgspec
from starlette.responses import Response

from flotilla.client.errors import ClientError, NoFleetError
from flotilla.contracts.errors import FlotillaError, PolicyError, TaskError
from flotilla.contracts.failures import ErrorKind
from flotilla.contracts.fields import printable

MESSAGE_LENGTH_MAX: Final = 500
FAULTS_MAX: Final = 50
_STATUS_BY_KIND: Final[Mapping[ErrorKind, int]] = {
    ErrorKind.NOT_FOUND: 404,
    ErrorKind.CONFLICT: 409,
    ErrorKind.NOT_PERMITTED: 403,
    ErrorKind.NO_CAPACITY: 503,
    ErrorKind.DEADLINE_EXCEEDED: 503,
}

encode: Final = msgspec.json.Encoder().encode


class RefusedError(FlotillaError):
    """
    A request that is answered with an error.

    Attributes:
        status: Of HTTP.
        kind: For programs.
    """

    def __init__(self, status: int, kind: str, message: str, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.message = message
        self.headers = dict(headers or {})


def bad_request(message: str) -> RefusedError:
    """400: the request is wrong, and how."""
    return RefusedError(400, "bad_request", message)


def as_json(body: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """An answer with data."""
    return Response(encode(body), status, dict(headers or {}), media_type="application/json")


def error_response(error: FlotillaError) -> Response:
    """The answer for an error of this project; what the fleet says is told in its words, without control characters."""
    match error:
        case RefusedError():
            return _error(error.status, error.kind, error.message, headers=error.headers)
        case TaskError():
            return _error(_STATUS_BY_KIND.get(error.kind, 400), error.kind.value, error.message)
        case PolicyError():
            faults = [printable(str(fault), MESSAGE_LENGTH_MAX) for fault in error.faults[:FAULTS_MAX]]
            return _error(400, "bad_policy", faults[0] if faults else "not a policy", faults=faults)
        case NoFleetError() | ClientError():
            return _error(503, "no_fleet", "No orchestrator answers; look at the fleet's view, and try again")
        case _:
            return _error(503, "unavailable", "The fleet cannot be asked at the moment; try again")


def _error(
    status: int, kind: str, message: str, *, headers: Mapping[str, str] | None = None, **more: object
) -> Response:
    body = {"error": {"kind": kind, "message": printable(message, MESSAGE_LENGTH_MAX), **more}}
    return as_json(body, status=status, headers=headers)
