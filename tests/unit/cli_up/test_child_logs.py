"""Logs have bounds."""

from pathlib import Path

from flotilla.cli.supervisor.child_logs import LAST_LINE_CHARS_MAX, last_line, open_log, shorten, turn_over


def test_a_new_start_keeps_the_log_of_the_last_one(tmp_path: Path):
    """
    One predecessor, and nothing for a log that is empty or not there.
    """
    log = tmp_path / "local-1.log"
    turn_over(log)
    for text in ("first", "second"):
        log.write_text(text)
        turn_over(log)
    log.touch()
    turn_over(log)

    assert (tmp_path / "local-1.log.1").read_text() == "second"
    assert not log.read_text()


def test_a_log_that_grows_beyond_its_bound_starts_over_under_its_writer(tmp_path: Path):
    """
    The child keeps its file open, and goes on at the beginning.
    """
    log = tmp_path / "local-1.log"
    with open_log(log) as output:
        output.write(b"x" * 101)
        output.flush()
        shorten(log, bytes_max=100)
        output.write(b"y")
        output.flush()

        assert log.read_bytes() == b"y"
        assert (tmp_path / "local-1.log.1").read_bytes() == b"x" * 101
        shorten(log, bytes_max=100)
        assert log.read_bytes() == b"y"


def test_the_last_line_is_what_a_child_said_last(tmp_path: Path):
    """
    Empty lines are nothing, and a long one is cut.
    """
    log = tmp_path / "local-1.log"
    assert not last_line(log)

    log.write_text("Traceback\n  File\nTypeError: wrong\n\n")
    assert last_line(log) == "TypeError: wrong"

    log.write_text("x" * 10_000)
    assert last_line(log) == "x" * LAST_LINE_CHARS_MAX
