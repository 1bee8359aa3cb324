"""
A user's own worker: a function per capability.

    async def triage(ticket: dict[str, Any]) -> dict[str, Any]:
        return {"queue": "billing", "priority": 2}

    backend = HandlerBackend({"triage-ticket": triage})
"""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import msgspec

from flotilla.capabilities.errors import AttemptError
from flotilla.contracts.failures import FailureKind
from flotilla.contracts.names import is_name
from flotilla.inference.backend import Answer, Emit, Work

Handler = Callable[..., Awaitable[Any] | Any]
"""
`async (input) -> output`, `async (input, emit) -> output`, or a plain function `(input) -> output`, run in a thread.

The input is JSON data (a dict); so is the output, or a Struct. `await emit(text)` passes a piece on to a caller who
wants a stream, and does nothing for one who does not. To fail with a kind of the wire, raise AttemptError; anything
else that is raised counts as `crashed`.
"""

PARAMETERS_MAX: Final = 2


class HandlerBackend:
    """Serves capabilities with functions; the worker validates what they return."""

    def __init__(self, handlers: Mapping[str, Handler], *, provider: str = "handler", model: str = "handler") -> None:
        """
        Take the handlers by the capability's name.

        Raises:
            ValueError: There are none, a name cannot stand in a subject, or a handler does not take one or two
                positional arguments.
        """
        if not handlers:
            raise ValueError("a worker needs at least one handler")
        self._handlers = {name: _Called(name, handler) for name, handler in handlers.items()}
        self._provider = provider
        self._model = model

    @property
    def provider(self) -> str:
        """What results and metrics call the handlers; of whoever made the backend."""
        return self._provider

    def capabilities(self) -> frozenset[str]:
        """The names that have a handler."""
        return frozenset(self._handlers)

    async def answer(self, work: Work) -> Answer:
        """
        Call the handler.

        Raises:
            AttemptError: As the handler raises it; REFUSED for a capability that has none.
        """
        handler = self._handlers.get(work.capability)
        if handler is None:
            raise AttemptError(FailureKind.REFUSED, f"the capability {work.capability} is not served here")
        began = time.perf_counter()
        output = await handler(msgspec.to_builtins(work.input), work.emit or _discard)
        return Answer(
            output=output,
            provider=self._provider,
            model=work.model or self._model,
            provider_ms=(time.perf_counter() - began) * 1000,
        )

    async def aclose(self) -> None:
        """Nothing is held."""


async def _discard(text: str) -> None:
    del text


class _Called:
    """A handler and the way it wants to be called."""

    def __init__(self, name: str, handler: Handler) -> None:
        if not is_name(name):
            raise ValueError(f"the capability name {name!r} is not 1 to 63 of a-z, 0-9 and hyphens")
        self._handler = handler
        call = getattr(handler, "__call__", None)  # noqa: B004  # an object's async __call__ is what is asked about
        self._is_async = inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(call)
        self._wants_emit = _takes(name, handler) == PARAMETERS_MAX
        if self._wants_emit and not self._is_async:
            raise ValueError(f"the handler of {name} takes emit and must be async to await it")

    async def __call__(self, data: Any, emit: Emit) -> Any:
        if not self._is_async:
            return await asyncio.to_thread(self._handler, data)
        outcome = self._handler(data, emit) if self._wants_emit else self._handler(data)
        return await outcome


def _takes(name: str, handler: Handler) -> int:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    required = [
        parameter
        for parameter in inspect.signature(handler).parameters.values()
        if parameter.kind in kinds and parameter.default is inspect.Parameter.empty
    ]
    if not 1 <= len(required) <= PARAMETERS_MAX:
        raise ValueError(f"the handler of {name} must take the input, and emit if it streams")
    return len(required)
