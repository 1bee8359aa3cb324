"""The page that says what to do about what one sees."""

import re
from pathlib import Path

from flotilla.contracts.failures import ErrorKind, FailureKind

REPOSITORY = Path(__file__).parents[3]
PAGE = (REPOSITORY / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
NAMED = set(re.findall(r"`([a-z_]+)`", PAGE))
ERROR = re.compile(r"""logger\.(?:error|critical)\(\s*"([a-z_]+)\"""")


def test_every_way_to_fail_has_a_row():
    """
    A task's error and an attempt's failure.
    """
    kinds = {kind.value for kind in (*ErrorKind, *FailureKind)}

    assert set() == kinds - NAMED


def test_every_error_in_a_log_has_a_row():
    """
    Whoever searches the page for the event finds what it means.
    """
    sources = [file for folder in ("libs", "services") for file in (REPOSITORY / folder).rglob("src/**/*.py")]
    events = {event for file in sources for event in ERROR.findall(file.read_text(encoding="utf-8"))}

    assert events
    assert set() == events - NAMED
