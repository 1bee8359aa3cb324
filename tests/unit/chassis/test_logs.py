"""What a service writes to standard error: one JSON object a line, with everything said and nothing that must not be."""

import json
from pathlib import Path
from typing import Any

from flotilla.testkit.fleet_process import FleetProcess
from flotilla.testkit.terminal import on_terminal

MARK = "Zaphod-4711"

PROLOGUE = """
import asyncio, logging, sys
import structlog
from flotilla.chassis.logs import configure_logs, log_loop_errors
configure_logs(service="svc", instance="svc-1", level="info")
"""


async def _lines(tmp_path: Path, code: str) -> list[dict[str, Any]]:
    """What a process that runs this code logs; every line must be one JSON object."""
    process = await FleetProcess.spawn("logs", ("-c", PROLOGUE + code), {}, tmp_path / "log")
    assert 0 == await process.wait(), process.log_text()
    return [json.loads(line) for line in process.log_text().splitlines()]


async def test_an_event_is_one_line_with_its_keys_and_who_says_it(tmp_path: Path):
    """
    Of the services' own loggers.
    """
    lines = await _lines(
        tmp_path,
        """
logger = structlog.get_logger("x")
logger.info("ready", slots=4, name="two\\nlines")
logger.debug("not_shown")
with structlog.contextvars.bound_contextvars(task="t1"):
    logger.warning("slow", took_s=1.5)
""",
    )

    assert ["ready", "slow"] == [line["event"] for line in lines]
    assert {"level": "info", "service": "svc", "instance": "svc-1", "slots": 4, "name": "two\nlines"}.items() <= lines[
        0
    ].items()
    assert lines[0]["timestamp"].endswith("Z")
    assert ("warning", "t1", 1.5) == (lines[1]["level"], lines[1]["task"], lines[1]["took_s"])


async def test_extras_of_the_libraries_become_keys(tmp_path: Path):
    """
    The libraries log through `logging`: their lines look like all others, once each, whatever the logger's depth.
    """
    lines = await _lines(
        tmp_path,
        """
logging.getLogger("flotilla.fabric").warning("nats_error", extra={"detail": "gone", "task": "t1"})
logging.getLogger("flotilla.fabric.deep").error("x %s", "y")
logging.getLogger("httpx").info("a request that nobody wants to read")
""",
    )

    assert ["nats_error", "x y"] == [line["event"] for line in lines]
    assert {"detail": "gone", "task": "t1", "level": "warning", "service": "svc", "instance": "svc-1"}.items() <= lines[
        0
    ].items()
    assert not {"args", "msg", "levelno", "pathname", "_record"} & set(lines[0])


async def test_setting_logs_up_again_does_not_double_the_lines(tmp_path: Path):
    """
    The last word counts.
    """
    lines = await _lines(
        tmp_path,
        """
configure_logs(service="other", instance="other-1", level="info")
structlog.get_logger("x").info("once")
logging.getLogger("y").warning("once_more")
""",
    )

    assert [("once", "other"), ("once_more", "other")] == [(line["event"], line["service"]) for line in lines]


async def test_an_exception_is_logged_by_place_and_class_without_its_text(tmp_path: Path):
    """
    The text of a foreign error may quote a document; the project's own and the system's errors are safe, and wanted.
    """
    lines = await _lines(
        tmp_path,
        f"""
from flotilla.contracts.errors import DecodeFailedError
logger = structlog.get_logger("x")
def parse(text):
    raise ValueError("cannot parse " + text)
try:
    parse("{MARK}")
except ValueError:
    logger.exception("failed")
    logging.getLogger("flotilla.fabric").exception("failed_there")
try:
    try:
        parse("{MARK}")
    except ValueError as error:
        raise DecodeFailedError("card: expected `int`") from error
except DecodeFailedError:
    logger.exception("undecodable")
try:
    open("/nowhere/{MARK}")
except OSError:
    logger.exception("unreadable")
""",
    )

    texts = [line["exception"] for line in lines]
    assert 4 == len(texts)
    assert all("parse" in text and text.endswith("\nValueError") for text in texts[:2])
    assert "ValueError" in texts[2].split("\n\n")[0]
    assert texts[2].endswith("flotilla.contracts.errors.DecodeFailedError: card: expected `int`")
    assert texts[3].endswith("FileNotFoundError: [Errno 2] No such file or directory")
    assert MARK not in str(lines)


async def test_an_error_that_nobody_awaited_is_logged_without_its_text(tmp_path: Path):
    """
    The line of asyncio itself has the text of the error, and the arguments of a callback.
    """
    lines = await _lines(
        tmp_path,
        f"""
import gc
async def main():
    log_loop_errors(asyncio.get_running_loop())
    async def fail():
        raise ValueError("{MARK}")
    task = asyncio.ensure_future(fail())
    await asyncio.sleep(0)
    del task
    gc.collect()
    def callback(text):
        raise KeyError(text)
    asyncio.get_running_loop().call_soon(callback, "{MARK}")
    await asyncio.sleep(0.01)
asyncio.run(main())
""",
    )

    assert {"loop_error"} == {line["event"] for line in lines}
    assert {"Task exception was never retrieved", "Exception in callback main."} == {line["what"] for line in lines}
    assert MARK not in str(lines)


async def test_a_terminal_obeys_nothing_that_a_log_line_holds():
    """
    Names of other members stand in the logs, and a service started by hand logs to a terminal.
    """
    code = (
        PROLOGUE
        + r"""
structlog.get_logger("x").warning("replica_seen", replica="a\x1b]0;owned\x07\x9b\u202e", models=["\x9b\u202e"])
logging.getLogger("flotilla.fabric").warning("nats_error\x9b", extra={"detail": "b\x1b]0;owned\x07"})
"""
    )
    async with on_terminal(["-c", code], {}, columns=200) as terminal:
        assert 0 == await terminal.ended()

    assert "replica_seen" in terminal.shown
    assert not {"\x1b]", "\x07", "\x9b", "\u202e"} & {
        part for part in ("\x1b]", *terminal.shown) if part in terminal.shown
    }
