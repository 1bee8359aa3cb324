"""The page that says what to do about what one sees."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from flotilla.contracts.failures import ErrorKind, FailureKind

REPOSITORY = Path(__file__).parents[3]
PAGE = (REPOSITORY / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
NAMED = set(re.findall(r"`([a-z_]+)`", PAGE))
ALARMING: Final = frozenset({"warning", "error", "exception", "critical"})


def log_events(source: Path) -> Iterator[str]:
    """What a module logs as a warning or worse."""
    text = source.read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(text)) if "logger." in text else ():
        match node:
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id="logger"), attr=level), args=[ast.Constant(value=str(event)), *_]
            ) if level in ALARMING:
                yield event
            case _:
                pass


def test_every_way_to_fail_has_a_row():
    """
    A task's error and an attempt's failure.
    """
    kinds = {kind.value for kind in (*ErrorKind, *FailureKind)}

    assert set() == kinds - NAMED


def test_every_warning_and_error_of_a_log_has_a_row():
    """
    In the table of the log's events: whoever is woken by one finds what it means.
    """
    table = PAGE.partition("## The log says")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    told = set(re.findall(r"`([a-z_]+\*?)`", " ".join(rows)))
    sources = [
        file
        for folder in ("libs", "services")
        for file in (REPOSITORY / folder).rglob("src/**/*.py")
        if "testkit" not in file.parts
    ]
    said = {event for source in sources for event in log_events(source)}

    assert len(said) > 50
    assert not sorted(event for event in said if event not in told and f"{event.partition('_')[0]}_*" not in told)
