"""
A table of a test, run as one test where several processes run whole files: `make test` has thousands of rows.

A row that is a test of its own costs each process its collection, and a report of each of its phases on the way to the
process that counts: more than what most rows check. So where `pytest -n` runs whole files, a plain function with
`@pytest.mark.parametrize` and nothing else runs all its rows as one test, and says which have failed. By itself, with `-k` or
with a test's id, pytest has a test for each row as ever.

A row stays a test of its own where more than the row is about: fixtures, other marks, hypothesis, a coroutine, a class.
"""

import inspect
import itertools
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, Final, NamedTuple

import pytest

NAME_CHARS_MAX: Final = 200
OF_EVERY_TEST: Final = frozenset({"event_loop_policy"})
"""Fixtures that pytest-asyncio gives to every test and that do nothing for one that is no coroutine."""

_PARAM: Final = type(pytest.param())


class Row(NamedTuple):
    """Arguments of a test by name, with what the row is called."""

    name: str
    arguments: dict[str, Any]


def pytest_pycollect_makeitem(collector: pytest.Collector, name: str, obj: object) -> list[pytest.Item] | None:
    """
    A plain test with a table, as one test; None for any other, which pytest makes tests of itself.
    """
    if not isinstance(collector, pytest.Module) or not name.startswith("test") or not _whole_files(collector.config):
        return None
    if not inspect.isfunction(obj) or not is_table(obj) or hasattr(collector.obj, "pytestmark"):
        return None
    item: pytest.Function = pytest.Function.from_parent(collector, name=name, callobj=_all_rows(obj))  # pyright: ignore[reportUnknownMemberType]
    return [item] if set(item.fixturenames) <= OF_EVERY_TEST else None


def is_table(test: Callable[..., object]) -> bool:
    """Whether a test takes the columns of its tables and nothing else, and no row has marks of its own."""
    marks: Sequence[pytest.Mark] = getattr(test, "pytestmark", ())
    if not marks or hasattr(test, "hypothesis") or inspect.iscoroutinefunction(test):
        return False
    if any(mark.name != "parametrize" or len(mark.args) != 2 or not mark.kwargs.keys() <= {"ids"} for mark in marks):  # noqa: PLR2004  (columns and rows)
        return False
    columns = [column for mark in marks for column in _columns(mark)]
    if sorted(columns) != sorted(inspect.signature(test).parameters):
        return False
    # A table without rows is pytest's to report, and one that can be read only once is pytest's to read.
    return all(_is_plain(mark.args[1]) for mark in marks)


def rows_of(test: Callable[..., object]) -> Iterator[Row]:
    """The rows of a test's tables, all of one with all of the others, in the order in which pytest has them."""
    marks: Sequence[pytest.Mark] = getattr(test, "pytestmark", ())
    for parts in itertools.product(*(list(_rows(mark)) for mark in marks)):
        arguments: dict[str, Any] = {}
        for part in parts:
            arguments |= part.arguments
        yield Row("-".join(part.name for part in parts), arguments)


def _is_plain(table: object) -> bool:
    rows: Sequence[object] = list(table) if isinstance(table, Collection) else ()  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    return len(rows) > 0 and not any(isinstance(row, _PARAM) and row.marks for row in rows)


def _whole_files(config: pytest.Config) -> bool:
    of_one = config.option.keyword or any("::" in argument for argument in config.args)
    return "PYTEST_XDIST_WORKER" in os.environ and not of_one


def _all_rows(test: Callable[..., object]) -> Callable[[], None]:
    def all_rows() -> None:
        failures: list[BaseException] = []
        skips: list[BaseException] = []
        rows = list(rows_of(test))
        for row in rows:
            try:
                test(**row.arguments)
            except pytest.skip.Exception as skipped:
                skips.append(skipped)
            except (Exception, pytest.fail.Exception) as failure:  # noqa: BLE001  (whatever a row fails by)
                failure.add_note(f"in the row [{row.name}]")
                failures.append(failure)
        if len(failures) == 1:
            raise failures[0]
        if failures:
            raise BaseExceptionGroup(f"{len(failures)} of {len(rows)} rows failed", failures)
        if skips and len(skips) == len(rows):
            raise skips[0]

    # Reports and tracebacks begin where the test is written; what it takes is given here and no fixture.
    vars(all_rows).update(__wrapped__=test, __signature__=inspect.Signature())
    all_rows.__doc__ = test.__doc__
    return all_rows


def _columns(mark: pytest.Mark) -> list[str]:
    names: str | Sequence[str] = mark.args[0]
    return [name.strip() for name in names.split(",") if name.strip()] if isinstance(names, str) else list(names)


def _rows(mark: pytest.Mark) -> Iterator[Row]:
    columns = _columns(mark)
    ids = mark.kwargs.get("ids")
    ids_given = None if ids is None or callable(ids) else list(ids)
    for number, given in enumerate(mark.args[1]):
        row = given if isinstance(given, _PARAM) else None
        listed = tuple(given) if row is None and len(columns) > 1 else (given,)
        values = listed if row is None else row.values
        if row is not None and row.id is not None:
            name = str(row.id)
        elif ids_given is not None:
            name = str(ids_given[number])
        else:
            name = "-".join(_name(value, ids) for value in values)
        yield Row(name[:NAME_CHARS_MAX], dict(zip(columns, values, strict=True)))


def _name(value: object, ids: Callable[[object], object] | None) -> str:
    named = ids(value) if callable(ids) else None
    return repr(value)[:NAME_CHARS_MAX] if named is None else str(named)
