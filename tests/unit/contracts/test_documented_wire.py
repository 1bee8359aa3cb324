"""The pages on the wire name all that the contracts have: whoever uses plain NATS has nothing else."""

import re
from pathlib import Path
from typing import Final, get_args

from flotilla.contracts import subjects
from flotilla.contracts.blackboard import BlackboardEntries, BlackboardEntry, BlackboardQuery
from flotilla.contracts.capabilities import BUILT_IN
from flotilla.contracts.failures import ErrorKind
from flotilla.contracts.headers import KNOWN, TASK_ID
from flotilla.contracts.redaction import LOCAL_CAPABILITIES
from flotilla.contracts.results import AttemptReport, Event, Result

REPOSITORY: Final = Path(__file__).parents[3]


def page(name: str) -> str:
    """A page, as it is read."""
    return (REPOSITORY / name).read_text(encoding="utf-8")


def section(name: str, title: str) -> str:
    """What stands below a title, up to the next one of its kind."""
    return page(name).partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def first_cells(text: str) -> set[str]:
    """What is marked as code in the first column of the tables."""
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("|")]
    return set(re.findall(r"`([^`]+)`", " ".join(rows))) | {row.strip() for row in rows}


def test_every_header_of_a_task_stands_in_the_table_of_headers():
    """
    An option that nobody can find is none.
    """
    assert {TASK_ID, *KNOWN} <= first_cells(section("README.md", "Use it"))


def test_every_kind_of_error_stands_with_its_code_in_the_table_of_errors():
    """
    Whoever reads only the headers has the code.
    """
    table = section("docs/wire.md", "Errors")

    assert [] == [kind.value for kind in ErrorKind if f"| `{kind.value}` | {kind.code} |" not in table]


def test_every_kind_of_event_and_every_field_is_told():
    """
    Of those that are published.
    """
    text = section("docs/wire.md", "Events")

    assert set(get_args(subjects.EventKind)) <= first_cells(text)
    assert [] == [field for field in Event.__struct_fields__ if f"`{field}`" not in text]


def test_every_question_stands_in_the_table_of_questions():
    """
    With its body.
    """
    assert set(subjects.API_VERBS) <= first_cells(section("docs/wire.md", "Questions"))


def test_every_capability_stands_in_the_table_of_capabilities():
    """
    Those that every fleet has.
    """
    assert {*BUILT_IN, *LOCAL_CAPABILITIES} <= first_cells(section("docs/wire.md", "Capabilities"))


def test_every_field_of_a_result_is_told():
    """
    In the example, or below it.
    """
    text = section("docs/wire.md", "Result")
    fields = {*Result.__struct_fields__, *AttemptReport.__struct_fields__}

    assert [] == sorted(field for field in fields if not re.search(rf'[`"]{field}[`":]', text))


def test_every_field_of_the_blackboards_questions_and_answers_is_told():
    """
    There is a library for Python alone.
    """
    text = section("docs/blackboard.md", "From any other language")
    answers = {*BlackboardEntry.__struct_fields__, *BlackboardEntries.__struct_fields__}

    assert {*BlackboardQuery.__struct_fields__} - {"verb"} <= first_cells(text)
    assert [] == sorted(field for field in answers if f'"{field}"' not in text)
