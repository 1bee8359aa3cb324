"""Tables that run as one test in a run of several processes, and which process begins with which end."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flotilla.testkit import tables
from flotilla.testkit.both_ends import takes_from_the_end

CONFTEST = """\
from flotilla.testkit.both_ends import pytest_xdist_make_scheduler
from flotilla.testkit.tables import pytest_pycollect_makeitem
"""
FILE = """\
import pytest

@pytest.fixture
def one():
    return 1

@pytest.mark.parametrize("n", [2, 3, pytest.param(4, id="four"), 6, 8], ids=str)
@pytest.mark.parametrize(("a", "b"), [(0, 0), (1, 1)], ids=["zeros", "ones"])
def test_even(n, a, b):
    assert n % 2 == 0
    if a == b == 1 and n == 8:
        pytest.skip("not this one")

@pytest.mark.parametrize("n", [5, 7])
def test_even_too(n):
    print("on the way")
    assert [n % 2] == [0]

@pytest.mark.parametrize("n", [2, 4])
def test_with_a_fixture(one, n):
    assert n % 2 + one == 1

@pytest.mark.parametrize("n", [2, pytest.param(3, marks=pytest.mark.skip("odd"))])
def test_with_a_mark(n):
    assert n % 2 == 0

@pytest.mark.parametrize("n", [2, 3])
def test_all_skipped(n):
    pytest.skip("none of them")

async def test_alone():
    pass
"""
SLOW = "import time\n\ndef test_it():\n    time.sleep(0.2)\n"


def _run(folder: Path, *arguments: str) -> str:
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "pytest.ini").write_text("[pytest]\nasyncio_mode = auto\n")
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    command = [sys.executable, "-m", "pytest", "-rA", "-p", "no:cacheprovider", *arguments]
    quick = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_PLUGINS": "xdist.plugin,pytest_asyncio.plugin"}
    ended = subprocess.run(command, cwd=folder, env=environ | quick, capture_output=True, text=True, check=False)
    assert ended.returncode in {0, 1}, ended.stdout + ended.stderr
    return ended.stdout


def test_a_table_is_one_test_and_says_which_rows_failed(tmp_path: Path):
    """
    Whatever has fixtures or marks of its own, and a row that is asked for, stays apart.
    """
    (tmp_path / "test_numbers.py").write_text(FILE)

    whole = _run(tmp_path, "-n", "1", "--dist", "loadfile", "test_numbers.py")
    apart = _run(tmp_path, "test_numbers.py")
    of_one = _run(tmp_path, "-n", "1", "--dist", "loadfile", "test_numbers.py::test_even[zeros-3]")

    assert "2 failed, 4 passed, 2 skipped" in whole
    assert {"zeros-3", "ones-3", "5", "7"} == set(re.findall(r"in the row \[(.*)\]", whole))
    assert "FAILED test_numbers.py::test_even - " in whole
    assert whole.count("assert [1] == [0]") == 2
    assert whole.count("on the way") == 2
    assert "4 failed, 11 passed, 4 skipped" in apart
    assert "1 failed" in of_one
    assert "test_even[zeros-3]" in of_one


def test_one_process_begins_with_the_last_file(tmp_path: Path):
    """
    The others with the first, each file whole.
    """
    names = [f"test_{letter}.py" for letter in "abcdef"]
    for name in names:
        (tmp_path / name).write_text(SLOW)

    shown = _run(tmp_path, "-n", "3", "--dist", "loadfile", "--no-loadscope-reorder", "-v", *names)

    by = dict(re.findall(r"\[(gw\d)\].* PASSED (test_\w\.py)::test_it", shown)[::-1])
    assert "test_f.py" == by["gw1"]
    assert {"test_a.py", "test_b.py"} == {by["gw0"], by["gw2"]}
    assert "6 passed" in shown


@pytest.mark.parametrize(
    ("worker", "last_first"),
    [("gw0", False), ("gw1", True), ("gw2", False), ("gw5", False), ("gw7", True), ("main", False)],
)
def test_the_end_that_a_process_takes_from(worker: str, *, last_first: bool):
    """
    One of six; who runs alone begins with the first.
    """
    assert last_first == takes_from_the_end(worker)


@pytest.mark.parametrize(
    ("decorate", "table"),
    [
        (pytest.mark.parametrize("n", [1]), True),
        (pytest.mark.parametrize("n", {"a": 1}), True),
        (pytest.mark.parametrize("n", []), False),
        (pytest.mark.parametrize("n", iter([1])), False),
        (pytest.mark.parametrize("n", [1], indirect=True), False),
        (pytest.mark.parametrize("m", [1]), False),
        (pytest.mark.parametrize(("n", "m"), [(1, 2)]), False),
        (pytest.mark.parametrize("n", [pytest.param(1, marks=pytest.mark.xfail)]), False),
        (pytest.mark.usefixtures("tmp_path"), False),
    ],
    ids=["list", "keys", "empty", "read once", "indirect", "other", "more", "marked", "no table"],
)
def test_what_is_a_table(decorate: Callable[..., Any], *, table: bool):
    """
    Its columns are all that the test takes, and its rows can be read again.
    """

    def test(n: int) -> None:
        raise AssertionError(n)

    assert table == tables.is_table(decorate(test))
