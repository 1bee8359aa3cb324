"""How a service ends: its exit code says whose fault it was, and its last line says why."""

import asyncio
import json
from pathlib import Path

import pytest

from flotilla.chassis.service import EXIT_FAILED, EXIT_OK, EXIT_USAGE, instance_name
from flotilla.chassis.signals import starting
from flotilla.contracts.names import is_replica
from flotilla.testkit.fleet_process import FleetProcess

MARK = "Zaphod-4711"

SERVICE = """
import asyncio, os, sys
from flotilla.chassis.service import run_service
from flotilla.chassis.settings import ServiceSettings
from flotilla.chassis.signals import starting, stop_signals
from flotilla.contracts.errors import SettingsError
from flotilla.fabric.errors import FabricError

async def run(settings, instance):
    %s

sys.exit(run_service("svc", ServiceSettings, run))
"""


async def _ended(tmp_path: Path, body: str, **environ: str) -> tuple[int, list[str]]:
    process = await FleetProcess.spawn("svc", ("-c", SERVICE % body), environ, tmp_path / "log")
    return await process.wait(), process.log_text().splitlines()


async def test_a_service_that_ends_exits_with_0(tmp_path: Path):
    """
    Without a word of its own.
    """
    assert (EXIT_OK, []) == await _ended(tmp_path, "assert instance")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("raise FabricError('no server')", EXIT_FAILED),
        (f"raise ValueError('{MARK}')", EXIT_FAILED),
        (f"raise ExceptionGroup('{MARK}', [ValueError('{MARK}')])", EXIT_FAILED),
    ],
)
async def test_a_service_that_fails_exits_with_1_and_says_why(tmp_path: Path, body: str, code: int):
    """
    In one line of its log, even when the error was not foreseen.
    """
    exited, lines = await _ended(tmp_path, body)

    assert code == exited
    assert 1 == len(lines)
    assert json.loads(lines[0])["event"] in {"stopped", "crashed"}
    assert MARK not in lines[0]


async def test_an_error_that_nobody_awaited_is_logged_by_every_service(tmp_path: Path):
    """
    As one line like the others, without its text, and the service goes on.
    """
    body = f"""
    async def fail():
        raise ValueError("{MARK}")
    failing = asyncio.ensure_future(fail())
    await asyncio.sleep(0)
    del failing
    """
    exited, lines = await _ended(tmp_path, body.strip())

    assert (EXIT_OK, ["loop_error"]) == (exited, [json.loads(line)["event"] for line in lines])
    assert MARK not in lines[0]


@pytest.mark.parametrize(
    ("body", "environ", "line"),
    [
        ("raise SettingsError('setting FLOTILLA_X: no')", {}, "svc: setting FLOTILLA_X: no"),
        ("pass", {"FLOTILLA_GRACE_S": "long"}, "svc: setting FLOTILLA_GRACE_S: Expected a number, got text"),
    ],
)
async def test_a_wrong_setting_exits_with_2_and_one_line(tmp_path: Path, body: str, environ: dict[str, str], line: str):
    """
    Found before the start, or by the service itself.
    """
    assert (EXIT_USAGE, [line]) == await _ended(tmp_path, body, **environ)


async def test_a_stop_signal_is_an_event_and_a_second_one_changes_nothing(tmp_path: Path):
    """
    The service leaves in its own time.
    """
    body = """
    with stop_signals() as stop:
        os.kill(os.getpid(), 15)
        os.kill(os.getpid(), 2)
        await asyncio.wait_for(stop.wait(), 5)
        os.kill(os.getpid(), 15)
        await asyncio.sleep(0.05)
    """

    assert (EXIT_OK, []) == await _ended(tmp_path, body.strip())


@pytest.mark.parametrize(
    "body",
    [
        "os.kill(os.getpid(), 15); await asyncio.sleep(9)",
        "with stop_signals() as stop, starting(stop): os.kill(os.getpid(), 15); await asyncio.sleep(9)",
        "with stop_signals() as stop, starting(stop): stop.set()",
    ],
    ids=["before it looks out for signals", "while it waits", "just when it has all"],
)
async def test_a_stop_signal_during_the_start_is_a_good_end(tmp_path: Path, body: str):
    """
    At once, since nothing is held: what follows the start is not reached.
    """
    exited, lines = await _ended(tmp_path, f"{body}\n    raise AssertionError")

    assert EXIT_OK == exited
    assert ["stopped"] == [json.loads(line)["event"] for line in lines] or not lines


async def test_whoever_cancels_a_start_sees_it_cancelled():
    """
    Only the stop signal is a good end.
    """

    async def start() -> None:
        with starting(asyncio.Event()):
            await asyncio.sleep(9)

    task = asyncio.ensure_future(start())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_an_instance_has_a_name_that_fits_into_a_subject_and_is_its_own():
    """
    Two processes on one host must not share stats or an inbox.
    """
    names = {instance_name() for _ in range(100)}

    assert 100 == len(names)
    assert all(is_replica(name) for name in names)
