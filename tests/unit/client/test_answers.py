"""An answer as data, as text, and as people read it."""

from typing import Any

import msgspec
import pytest

from flotilla.chassis.terminal_text import clean
from flotilla.cli.console import readable
from flotilla.client import Answer, TaskFailedError
from flotilla.contracts.attempts import Usage
from flotilla.contracts.capabilities import SummarizeOutput
from flotilla.contracts.errors import DecodeFailedError
from flotilla.contracts.failures import ErrorBody, ErrorKind
from flotilla.contracts.results import Result
from flotilla.testkit.fleet_peer import result_of


def _answer(capability: str, output: Any) -> Answer:
    return Answer(result_of("t-1", capability, output=output))


def test_the_output_can_be_had_as_a_type():
    """
    And says where it is not of that type.
    """
    answer = _answer("summarize", {"summary": "short"})

    assert answer.output_as(SummarizeOutput) == SummarizeOutput(summary="short")
    with pytest.raises(DecodeFailedError, match="Expected a list"):
        answer.output_as(list[int])


def test_a_failed_one_has_no_output():
    """
    Reading it raises what the task failed with.
    """
    answer = Answer(result_of("t-1", "classify", error=ErrorBody(kind=ErrorKind.NO_ROUTE, message="none")))

    assert answer.ok is False
    with pytest.raises(TaskFailedError, match="none") as caught:
        _ = answer.output
    assert caught.value.answer is answer


def test_a_result_with_neither_output_nor_error_is_no_success():
    """
    A fleet that errs so must not look like one that answered.
    """
    answer = Answer(Result(task="t-1", capability="classify", status="ok"))

    assert answer.ok is False


@pytest.mark.parametrize(
    ("capability", "output", "expected"),
    [
        ("summarize", {"summary": "short"}, "short"),
        ("chat", {"message": {"role": "assistant", "content": "hi"}}, "hi"),
        ("translate", {"text": "guten Tag", "source": "en"}, "guten Tag"),
        ("classify", {"label": "billing", "confidence": 0.934}, "billing  (93%)"),
        ("classify", {"labels": ["a", "b"], "confidence": 0.5, "rationale": "why"}, "a, b  (50%)\nwhy"),
        ("embed", {"vectors": [[0.1, 0.2]], "dimensions": 2}, "1 vector of 2 dimensions (--json writes them)"),
        (
            "extract-entities",
            {"entities": [{"type": "date", "text": "May", "start": 0, "end": 3}]},
            "date  May  [0:3]",
        ),
        ("my-own", {"n": 1}, '{\n  "n": 1\n}'),
    ],
)
def test_people_read_the_part_that_matters(capability: str, output: Any, expected: str):
    """
    Text as text, and JSON only when nothing reads better.
    """
    assert expected == readable.full(_answer(capability, output))


def test_a_table_has_one_short_line_of_it():
    """
    Whatever the length and the line breaks.
    """
    line = readable.brief(_answer("summarize", {"summary": "one\n two " * 50}))

    assert len(line) == readable.BRIEF_LENGTH_MAX
    assert line.startswith("one two one")


def test_where_it_ran_is_one_line():
    """
    Free answers have no price.
    """
    free = _answer("summarize", {"summary": "short"})
    paid = Answer(msgspec.structs.replace(free.result, usage=Usage(cost_usd=0.01234), latency_ms=2500.0))

    assert readable.origin(free) == "local: local/small · scripted · 6 ms · 30 → 2 tokens · t-1"
    assert readable.origin(paid) == "local: local/small · scripted · 2.5 s · $0.0123 · t-1"


def test_a_terminal_gets_no_control_characters():
    """
    A model's answer could otherwise retitle the window, or hide what was said.
    """
    assert clean("a\x1b]0;owned\x07b\tc\nd\x9bx\u202ee") == "a�]0;owned�b\tc\nd�x�e"
