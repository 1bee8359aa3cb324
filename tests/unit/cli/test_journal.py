"""The journal of what was submitted from here."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from flotilla.chassis.errors import PrivateFileError
from flotilla.cli.console import journal
from flotilla.cli.console.journal import Journal, Noted, fleet_name, journal_path, noted_in

HERE = "nats://127.0.0.1:4222"


def noted(task: str, *, fleet: str = HERE, file: str = "") -> Noted:
    return Noted(task=task, capability="classify", at_unix_ms=1, fleet=fleet, file=file)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """
    In a folder that nobody has made yet.
    """
    return tmp_path / "state" / "flotilla" / "submitted.jsonl"


def test_what_is_noted_is_there_by_fleet_and_oldest_first(path: Path) -> None:
    """
    A task that is noted again counts once, as the newest.
    """
    assert noted_in(path, HERE) == {}
    writer = Journal(path)
    for task in ("a", "b", "a"):
        writer.note(noted(task))
    Journal(path).note(noted("c", fleet=fleet_name(HERE, "acme")))

    assert list(noted_in(path, HERE)) == ["b", "a"]
    assert list(noted_in(path, f"{HERE} acme")) == ["c"]
    assert not writer.trouble


def test_the_journal_is_for_nobody_else(path: Path) -> None:
    """
    Names of files may be private; one that was open to others is closed.
    """
    Journal(path).note(noted("a"))
    path.chmod(0o644)
    Journal(path).note(noted("b"))

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_the_journal_is_bounded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The older half goes; the newest is always there, and every line is whole.
    """
    monkeypatch.setattr(journal, "JOURNAL_BYTES_MAX", 2000)
    writer = Journal(path)
    for number in range(200):
        writer.note(noted(f"t-{number}", file="x" * 5000 if number % 50 == 0 else "f"))
        assert path.stat().st_size <= 2000
    found = list(noted_in(path, HERE))

    assert found == [f"t-{number}" for number in range(200 - len(found), 200)]
    assert len(found) >= 5


def test_lines_that_are_no_notes_are_passed_over(path: Path) -> None:
    """
    Cut off by a crash, or of another version.
    """
    writer = Journal(path)
    writer.note(noted("a", file="caf\udce9.txt"))
    with path.open("ab") as file:
        file.write(b'{"task":"half\n\xff\xfe\n[]\n{"task":1}\n')
    writer.note(noted("b"))

    found = noted_in(path, HERE)

    assert list(found) == ["a", "b"]
    assert found["a"].file == "caf\ufffd.txt"


def test_trouble_with_the_journal_stops_no_task(path: Path, tmp_path: Path) -> None:
    """
    A link is not followed; without a home there is no journal.
    """
    (tmp_path / "elsewhere").write_text("kept")
    path.parent.mkdir(parents=True)
    path.symlink_to(tmp_path / "elsewhere")
    writer, homeless = Journal(path), Journal(journal_path({}))

    for each in (writer, homeless):
        each.note(noted("a"))
        assert each.trouble
    assert "symbolic link" in writer.trouble
    assert (tmp_path / "elsewhere").read_text() == "kept"
    assert noted_in(None, HERE) == {}
    with pytest.raises(PrivateFileError):
        noted_in(path, HERE)


def test_the_journal_is_where_the_user_keeps_state() -> None:
    """
    XDG_STATE_HOME before HOME.
    """
    assert journal_path({"HOME": "/h"}) == Path("/h/.local/state/flotilla/submitted.jsonl")
    assert journal_path({"HOME": "/h", "XDG_STATE_HOME": "/s"}) == Path("/s/flotilla/submitted.jsonl")


def test_processes_that_write_at_once_lose_nothing(path: Path) -> None:
    """
    Each line is written whole, also while another process forgets the older half.
    """
    code = """
import sys
from pathlib import Path
from flotilla.cli.console import journal
journal.JOURNAL_BYTES_MAX = 8_000
writer = journal.Journal(Path(sys.argv[1]))
for number in range(300):
    writer.note(journal.Noted(task=f"{sys.argv[2]}-{number}", capability="c", at_unix_ms=1, fleet="here"))
sys.exit(writer.trouble or 0)
"""
    running = [subprocess.Popen([sys.executable, "-c", code, os.fspath(path), name]) for name in ("a", "b", "c")]
    assert [each.wait() for each in running] == [0, 0, 0]

    lines = path.read_bytes().splitlines()
    found = list(noted_in(path, "here"))
    assert len(found) == len(lines) > 20
    for name in {each.split("-")[0] for each in found}:
        numbers = [int(each.split("-")[1]) for each in found if each.startswith(name)]
        assert numbers == list(range(numbers[0], 300))
