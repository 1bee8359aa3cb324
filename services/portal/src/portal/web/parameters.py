"""The parameters of a request's address, each of a known form."""

from collections.abc import Callable
from typing import Final

from starlette.requests import Request

from flotilla.contracts.fields import MODEL_LENGTH_MAX
from flotilla.contracts.names import is_name, is_scope, is_stored_task_id
from portal.web.errors import bad_request

TEXT_LENGTH_MAX: Final = 400


def text(request: Request, name: str, *, length_max: int = TEXT_LENGTH_MAX) -> str:
    """
    A parameter; empty where it is not given.

    Raises:
        RefusedError: Longer than its bound.
    """
    value = request.query_params.get(name, "")
    if len(value) > length_max:
        raise bad_request(f"{name}: more than {length_max} characters")
    return value


def named(request: Request, name: str, is_one: Callable[[str], bool], expected: str) -> str:
    """
    A parameter that is a name; empty where it is not given.

    Raises:
        RefusedError: It is none.
    """
    value = text(request, name)
    if value and not is_one(value):
        raise bad_request(f"{name}: expected {expected}")
    return value


def capability(request: Request) -> str:
    """The parameter `capability`."""
    return named(request, "capability", is_name, "the name of a capability")


def pool(request: Request) -> str:
    """The parameter `pool`."""
    return named(request, "pool", is_name, "the name of a pool")


def scope(request: Request) -> str:
    """The parameter `scope`."""
    return named(request, "scope", is_scope, "the name of a scope")


def model(request: Request) -> str:
    """The parameter `model`."""
    return text(request, "model", length_max=MODEL_LENGTH_MAX)


def offset(request: Request, offset_max: int) -> int:
    """
    The parameter `cursor` where it counts.

    Raises:
        RefusedError: It is no number up to `offset_max`.
    """
    value = text(request, "cursor") or "0"
    if not value.isascii() or not value.isdigit() or int(value) > offset_max:
        raise bad_request("cursor: expected what the page before it gave")
    return int(value)


def task_of(request: Request) -> tuple[str, str]:
    """
    The scope and the task in a path.

    Raises:
        RefusedError: They cannot be ones.
    """
    found_scope, found_task = request.path_params["scope"], request.path_params["task"]
    if not is_scope(found_scope) or not is_stored_task_id(found_task):
        raise bad_request("expected /api/tasks/SCOPE/TASK")
    return found_scope, found_task
