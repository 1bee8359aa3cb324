"""A user's own worker: functions, called as they want to be called."""

import threading
from typing import Any

import pytest

from flotilla.capabilities.errors import AttemptError
from flotilla.contracts.capabilities import SummarizeInput
from flotilla.contracts.failures import FailureKind
from flotilla.inference.backend import Emit, Work
from flotilla.inference.handler import HandlerBackend


def work(capability: str, given: Any, emit: Emit | None = None, model: str = "") -> Work:
    return Work(task="t", capability=capability, input=given, model=model, deadline_s=1.0, emit=emit)


async def upper(ticket: dict[str, Any]) -> dict[str, Any]:
    return {"text": ticket["text"].upper()}


async def slowly(ticket: dict[str, Any], emit: Emit) -> dict[str, Any]:
    for word in ticket["text"].split():
        await emit(word)
    return {"text": ticket["text"]}


async def test_a_handler_gets_json_data_and_gives_it() -> None:
    """No type of this project is needed."""
    backend = HandlerBackend({"mine": upper})

    answer = await backend.answer(work("mine", {"text": "a"}))

    assert ({"text": "A"}, "handler", "handler") == (answer.output, answer.provider, answer.model)
    assert frozenset({"mine"}) == backend.capabilities()


async def test_a_handler_of_a_built_in_capability_gets_a_dict_too() -> None:
    """One rule for every handler."""

    async def summarize(given: dict[str, Any]) -> dict[str, Any]:
        return {"summary": given["document"][:1]}

    answer = await HandlerBackend({"summarize": summarize}).answer(work("summarize", SummarizeInput(document="abc")))

    assert {"summary": "a"} == answer.output


async def test_a_handler_that_wants_to_stream_can_emit_whether_or_not_anyone_listens() -> None:
    """It need not ask."""
    pieces: list[str] = []

    async def emit(text: str) -> None:
        pieces.append(text)

    backend = HandlerBackend({"mine": slowly})
    heard = await backend.answer(work("mine", {"text": "a b"}, emit))
    unheard = await backend.answer(work("mine", {"text": "a b"}))

    assert ["a", "b"] == pieces
    assert heard.output == unheard.output


async def test_a_plain_function_runs_in_a_thread() -> None:
    """Blocking code must not block the worker's loop."""
    ran_in: list[int] = []

    def blocking(given: dict[str, Any]) -> dict[str, Any]:
        ran_in.append(threading.get_ident())
        return given

    assert {"a": 1} == (await HandlerBackend({"mine": blocking}).answer(work("mine", {"a": 1}))).output
    assert [threading.get_ident()] != ran_in


async def test_an_object_that_is_called_asynchronously_is_awaited() -> None:
    """A handler with state of its own."""

    class Counting:
        def __init__(self) -> None:
            self.calls = 0

        async def __call__(self, given: dict[str, Any]) -> dict[str, Any]:
            self.calls += 1
            return {"calls": self.calls, **given}

    backend = HandlerBackend({"mine": Counting()})
    await backend.answer(work("mine", {}))

    assert {"calls": 2} == (await backend.answer(work("mine", {}))).output


async def test_what_has_no_handler_is_refused() -> None:
    """A mistake of routing is not a crash."""
    with pytest.raises(AttemptError) as caught:
        await HandlerBackend({"mine": upper}).answer(work("other", {}))

    assert FailureKind.REFUSED is caught.value.kind


def takes_nothing() -> None:
    return None


async def takes_three(one: Any, two: Any, three: Any) -> Any:
    return [one, two, three]


def emits_without_await(given: Any, emit: Emit) -> Any:
    return [given, emit]


@pytest.mark.parametrize(
    "handlers",
    [
        {},
        {"Not A Name": upper},
        {"mine": takes_nothing},
        {"mine": takes_three},
        {"mine": emits_without_await},
    ],
)
def test_handlers_that_cannot_be_called_are_refused_at_the_start(handlers: dict[str, Any]) -> None:
    """Not at the first task."""
    with pytest.raises(ValueError, match=r"handler|name"):
        HandlerBackend(handlers)
