"""A question that came in on `api.<verb>`, and how it is decoded."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from flotilla.capabilities.json_schema import flaw_of
from flotilla.contracts.decoding import UNDECODABLE, checked
from flotilla.contracts.errors import BadRequestError, TaskError
from flotilla.contracts.failures import ErrorKind


class ApiRequest(Struct, frozen=True, kw_only=True):
    """
    One request.

    Attributes:
        from_tenant: It came through a tenant's import; else from a user of the FLEET account.
        request_info: What the server says of who asks (`state/origins.py`), as it came; empty without.
        waiting: Around a wait for something that may not happen: the question's place is others' meanwhile.
    """

    scope: str
    verb: str
    body: bytes
    from_tenant: bool
    request_info: str = ""
    waiting: Callable[[], AbstractAsyncContextManager[None]] = nullcontext


Answerer = Callable[[ApiRequest], Awaitable[Any]]
Query = TypeVar("Query", bound=Struct)


def decode_query(question: ApiRequest, kind: type[Query]) -> Query:
    """
    Decode the body of a question; an empty one asks for the defaults.

    Raises:
        BadRequestError: It is not one; says where, and what was expected there.
    """
    try:
        return msgspec.json.decode(checked(question.body or b"{}"), type=kind)
    except UNDECODABLE as error:
        flaw = flaw_of(error)
        place = flaw.path.removeprefix("$").removeprefix(".")
        told = f"{place}: {flaw.expected}" if place else flaw.expected
        raise BadRequestError(f"the question is not valid: {told}", path=flaw.path, expected=flaw.expected) from None


def not_found(task_id: str, why: str) -> TaskError:
    """The refusal of a question about a task that is not there."""
    return TaskError(ErrorKind.NOT_FOUND, f"task {task_id} {why}", details={"task": task_id})
