"""Conditions: what they read, what bounds them, and how they fail."""

import subprocess
import sys
from typing import Any

import pytest

from flotilla.pipelines.conditions import GIVEN_BYTES_MAX, GIVEN_VALUES_MAX, Condition, condition
from flotilla.pipelines.errors import ConditionError
from flotilla.pipelines.references import AbsentError, Reference, reach


def compiled(text: str) -> Condition:
    faults: list[str] = []
    made = condition(text, "when", faults)
    assert not faults
    assert made is not None
    return made


def resolver(values: dict[str, Any]) -> Any:
    def resolve(read: Reference) -> Any:
        return reach(values, tuple(str(read).split(".")))

    return resolve


@pytest.mark.parametrize(
    ("text", "reads"),
    [
        ("steps.a.label == 'x'", ["steps.a.label"]),
        ("'steps.b' == steps.a.label", ["steps.a.label"]),
        ('"it\'s steps.b" == r"\\" // steps.c\n', []),
        ("size(input.pages) > 2 && input . document.startsWith('steps.z')", ["input.pages", "input.document"]),
        ("input.pages[0].text == steps.a.text", ["input.pages", "steps.a.text"]),
        ("input.labels.exists(one, one == item.label)", ["input.labels", "item.label"]),
        ("has(steps.a.x.y)", ["steps.a.x.y"]),
        ("input.a.b == input.a", ["input.a", "input.a.b"]),
        ("input == steps.a", ["input", "steps.a"]),
        ("(index) > 3", ["index"]),
        ("one.steps.a == 1 || other.input", []),
    ],
)
def test_what_a_condition_reads_is_seen_in_its_text(text: str, reads: list[str]):
    assert sorted(reads) == sorted(str(read) for read in compiled(text).references)


@pytest.mark.parametrize(
    "text",
    [
        "steps",
        "steps['a'].label",
        "dyn(steps)",
        "dyn(steps.a)",
        ".steps.a == 1",
        "1 +",
        "steps.a.label == 'x",
        "unknown(input.a)",
        "timestamp(input.a) > timestamp(input.b)",
        "input.a.all(x, input.b.all(y, x == y))",
        "(" * 17 + "true" + ")" * 17,
        "!" * 101 + "true",
        "'" + "x" * 1_000 + "' == input.a",
        "input.a.matches(input.b)",
        "input.a.matches('x' + input.b)",
        "matches(input.a, 'x')",
        "input.a.all(x, x.matches('y'))",
        "input.a.matches('(a{1,20}){1,20}')",
        "input.a.matches('a{201}b{0}')",
        "input.a.matches('" + "x" * 199 + "')",
        "size(input.a.map(x, x)) == 1",
        "size([1, 2] . map (x, input.t)) == 1",
        "index.x == 1",
        "steps.Upper == 1",
        "\x00",
        "",
    ],
)
def test_what_is_no_condition_is_a_fault_of_the_file(text: str):
    faults: list[str] = []
    assert condition(text, "steps.one.when", faults) is None
    assert faults
    assert all(fault.startswith("steps.one.when: ") for fault in faults)


VALUES: dict[str, Any] = {
    "input": {"n": 3, "f": 0.5, "text": "a long one", "list": [1, 2, 3], "nothing": None, "deep": {"x": {"y": True}}},
    "steps": {"a": {"label": "x"}, "out": None},
}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("steps.a.label == 'x'", True),
        ("steps.out == null", True),
        ("steps.out != null && steps.out.x == 1", False),
        ("has(steps.a.missing)", False),
        ("has(steps.a.label)", True),
        ("input.deep.x.y", True),
        ("input.list.exists(x, x > 2) && input.n == 3", True),
        ("input.text.matches('^a .*e$')", True),
        ("input.f < 1.0", True),
        ("size(input.list) == input.n", True),
        ("input.nothing == null", True),
        ("input.text.matches('^a [a-z]{2,10} .*$') && input.text . matches(r'one{1,200}')", True),
        ("steps.out.x == 1", False),
    ],
)
def test_conditions_hold_or_not(text: str, holds: bool):  # noqa: FBT001
    assert holds is compiled(text).holds("one", resolver(VALUES))


@pytest.mark.parametrize(
    "text",
    [
        "steps.a.missing == 1",
        "input.n / 0 == 1",
        "input.text + 1 == 'x'",
        "input.text.matches('(')",
        "input.n",
        "input.text",
        "9223372036854775807 + input.n > 1",
        "int(input.text) == 1",
        "input.list[7] == 1",
    ],
)
def test_what_cannot_be_evaluated_is_an_error_that_quotes_no_value(text: str):
    with pytest.raises(ConditionError) as raised:
        compiled(text).holds("one", resolver(VALUES))
    assert "one" == raised.value.step
    assert "a long one" not in str(raised.value)


@pytest.mark.parametrize(
    "value",
    ["x" * GIVEN_BYTES_MAX, [0] * GIVEN_VALUES_MAX, {str(n): 0 for n in range(GIVEN_VALUES_MAX)}, 2**70],
)
def test_what_is_too_much_is_not_looked_at(value: Any):
    with pytest.raises(ConditionError, match="reads more than"):
        compiled("input.x == 1").holds("one", resolver({"input": {"x": value}}))


@pytest.mark.parametrize(
    "text",
    [
        "input.many.all(x, x in input.many)",
        "input.many.exists(x, input.long.contains('y'))",
        "size(input.many.filter(x, input . long != '')) == 1",
        "[1].all(x, input.some == input.some" + " && input.some == input.some" * 20 + ")",
        "[1, 2, 3, 4].all(x, size(input.long + input.long + input.long + input.long) > x)",
        "input.some.all(x, size([input.some, (input.some)]) > 1" + " && x in input.some" * 25 + ")",
    ],
)
def test_what_is_read_for_each_element_is_bounded_by_how_often_and_how_much(text: str):
    with pytest.raises(ConditionError, match="for the elements of a list"):
        compiled(text).holds("one", resolver(REPEATED))


REPEATED: dict[str, Any] = {
    "input": {"many": [1] * 1_850, "few": [1] * 100, "some": [1] * 200, "long": "x" * 200_000, "absent": None}
}


@pytest.mark.parametrize(
    "text",
    [
        "input.many.all(x, x in input.few)",
        "input.few.all(x, x in input.few && x in input.few)",
        "input.many.all(x, x == 1) && input.long.contains('x') && 1 in input.many",
        "size(input.many.filter(x, x == input.few[0])) == 1850",
        "input.many.all(x, x == 1 || x == input.gone)",
    ],
)
def test_what_is_read_once_or_is_small_is_read_for_each_element(text: str):
    assert compiled(text).holds("one", resolver(REPEATED))


def test_a_condition_is_given_what_it_names_and_nothing_beside():
    asked: list[str] = []

    def resolve(read: Reference) -> Any:
        asked.append(str(read))
        if read.path == ("gone",):
            raise AbsentError
        return 1

    assert not compiled("has(input.gone) && input.there == 1").holds("one", resolve)
    assert ["input.gone", "input.there"] == sorted(asked)


def test_the_engine_comes_without_the_command_line_of_its_authors():
    program = (
        "import sys\n"
        "from flotilla.pipelines.conditions import condition\n"
        "assert condition('1 == 1', 'when', []) is not None\n"
        "assert not {'typer', 'rich', 'prompt_toolkit', 'pygments'} & sys.modules.keys()\n"
    )
    assert 0 == subprocess.run([sys.executable, "-c", program], check=False).returncode
