"""Children: started again when they die, stopped when told to, and never left behind."""

import asyncio
import contextlib
import fcntl
import os
import signal
import sys
import time
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import IO

import pytest

from flotilla.cli.supervisor.child import (
    RESTART_AFTER_MAX_S,
    Child,
    ChildSpec,
    how_it_ended,
    restart_pause_s,
    stop_all,
)
from flotilla.cli.supervisor.guardian import Guardian

PATIENCE_S = 20.0
SLEEPER = "import time; print('up', flush=True); time.sleep(600)"
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
)
SUPERVISOR = """
import asyncio, fcntl, sys
from flotilla.cli.supervisor.guardian import Guardian
async def main():
    with open(sys.argv[1], "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        guardian = Guardian(lock.fileno())
        await guardian.start()
        child = await asyncio.create_subprocess_exec(sys.executable, "-c", sys.argv[3], stdout=asyncio.subprocess.PIPE)
        await child.stdout.readline()
        guardian.watch(sys.argv[2], child.pid)
        await asyncio.sleep(0)
        print(child.pid, flush=True)
        await asyncio.sleep(600)
asyncio.run(main())
"""


CLOSES_ITS_FILES = """
import pathlib, signal, sys, time
def close(*_):
    time.sleep(0.2)
    pathlib.Path("{0}").touch()
    sys.exit(0)
signal.signal(signal.SIGTERM, close)
print("up", flush=True)
time.sleep(600)
"""


class Yard:
    """Makes children that write to logs of their own, and waits for what becomes of them."""

    def __init__(self, folder: Path, guardian: Guardian) -> None:
        self.folder = folder
        self.guardian = guardian
        self.events: list[str] = []
        self._changed = asyncio.Event()
        self.children: list[Child] = []

    def child(self, program: str, name: str = "child-1") -> Child:
        """A child that runs a line of Python; started."""
        spec = ChildSpec(
            name=name,
            command=(sys.executable, "-c", program),
            environ={"PATH": os.environ["PATH"]},
            log=self.folder / f"{name}.log",
        )
        child = Child(spec, self.guardian, self._on_change)
        self.children.append(child)
        child.start()
        return child

    async def until(self, holds: Callable[[], bool]) -> None:
        """Return when something holds, looking after every change and now and then."""
        async with asyncio.timeout(PATIENCE_S):
            while not holds():
                self._changed.clear()
                try:
                    await asyncio.wait_for(self._changed.wait(), 0.02)
                except TimeoutError:
                    continue

    async def until_up(self, child: Child) -> None:
        """Return when it has said that it is up."""
        await self.until(lambda: child.spec.log.exists() and child.spec.log.read_text().endswith("up\n"))

    def _on_change(self, _child: Child, event: str) -> None:
        self.events.append(event)
        self._changed.set()


@pytest.fixture
async def yard(tmp_path: Path) -> AsyncGenerator[Yard, None]:
    """A yard with a real guard."""
    with (tmp_path / "lock").open("w") as lock:
        guardian = Guardian(lock.fileno())
        await guardian.start()
        yard = Yard(tmp_path, guardian)
        yield yard
        for child in yard.children:
            child.kill()
            await child.ended()
        await guardian.stop()


async def test_a_child_that_dies_is_started_again(yard: Yard):
    """
    With another process, and with a word about it.
    """
    child = yard.child(SLEEPER)
    await yard.until_up(child)
    first = child.pid

    os.kill(first, signal.SIGKILL)
    await yard.until(lambda: child.pid not in (0, first))

    assert child.deaths == 1
    assert yard.events == ["", "child-1 was ended by SIGKILL; it is started again in 0.1 s", ""]


async def test_a_child_that_cannot_live_is_tried_ever_more_slowly_and_never_given_up(yard: Yard):
    """
    A broken service must not keep a core busy.
    """
    child = yard.child("raise SystemExit(3)")

    await yard.until(lambda: child.deaths == 3)

    pauses = [event.rsplit(" in ", 1)[1] for event in yard.events if event]
    assert pauses == ["0.1 s", "0.2 s", "0.4 s"]
    assert child.last_status == 3


def test_the_pause_before_a_start_has_a_bound():
    """
    It doubles up to ten seconds, however often a child died.
    """
    assert [restart_pause_s(deaths) for deaths in (0, 1, 2, 3)] == [0.1, 0.1, 0.2, 0.4]
    assert restart_pause_s(10_000) == RESTART_AFTER_MAX_S


def test_an_end_is_told_in_words():
    """
    Names of signals, not their numbers.
    """
    assert how_it_ended(2) == "ended with code 2"
    assert how_it_ended(-15) == "was ended by SIGTERM"
    assert how_it_ended(-63) == "was ended by signal 63"


async def test_a_stopped_child_stays_stopped(yard: Yard):
    """
    Its death is no accident.
    """
    child = yard.child(SLEEPER)
    await yard.until_up(child)

    await stop_all([child], timeout_s=PATIENCE_S, hurry=asyncio.Event())

    assert (child.pid, child.last_status, yard.events) == (0, -signal.SIGTERM, [""])


async def test_a_child_that_does_not_stop_is_killed_when_its_time_is_over(yard: Yard):
    """
    A drain ends.
    """
    child = yard.child(STUBBORN)
    await yard.until_up(child)

    await stop_all([child], timeout_s=0.1, hurry=asyncio.Event())

    assert child.last_status == -signal.SIGKILL


async def test_haste_kills_without_waiting_for_the_grace(yard: Yard):
    """
    The second Ctrl-C.
    """
    child = yard.child(STUBBORN)
    await yard.until_up(child)
    hurry = asyncio.Event()

    stopping = asyncio.create_task(stop_all([child], timeout_s=600.0, hurry=hurry))
    hurry.set()
    await asyncio.wait_for(stopping, PATIENCE_S)

    assert child.last_status == -signal.SIGKILL


async def test_a_child_is_the_leader_of_its_own_session_and_has_no_input(yard: Yard):
    """
    Ctrl-C in a terminal reaches only the supervisor.
    """
    child = yard.child(f"import os, sys; assert sys.stdin.read() == '' and os.getsid(0) == os.getpid(); {SLEEPER}")

    await yard.until_up(child)


@pytest.mark.parametrize("name", ["nats", "local-1"])
async def test_the_guard_ends_what_a_killed_supervisor_leaves_behind_and_holds_the_lock_until_then(
    tmp_path: Path, name: str
):
    """
    However the supervisor went, the next one finds the ground clear; only nats-server has files to close.
    """
    lock, closed = tmp_path / "lock", tmp_path / "closed"
    supervisor = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", SUPERVISOR, str(lock), name, CLOSES_ITS_FILES.format(closed)),
        stdout=asyncio.subprocess.PIPE,
    )
    assert supervisor.stdout is not None
    pid = int(await supervisor.stdout.readline())
    try:
        assert is_running(pid)

        supervisor.kill()
        await supervisor.wait()
        with lock.open("a") as file:
            give_up_at = time.monotonic() + PATIENCE_S
            while not is_free(file):
                assert time.monotonic() < give_up_at
                await asyncio.sleep(0.001)

        assert not is_running(pid)
        assert closed.exists() == (name == "nats")
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


async def test_a_guard_that_dies_is_replaced_and_told_everything(yard: Yard):
    """
    The new one ends the child when it is let go.
    """
    child = yard.child(SLEEPER)
    await yard.until_up(child)
    first, pid = yard.guardian.pid, child.pid

    os.kill(first, signal.SIGKILL)
    await yard.until(lambda: yard.guardian.pid not in (0, first))
    await yard.guardian.stop()
    await yard.until(lambda: child.pid != pid)

    assert "child-1 was ended by SIGKILL" in yard.events[1]


def is_free(file: IO[str]) -> bool:
    """Whether nobody holds the lock; it is taken then."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def is_running(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        os.kill(pid, 0)
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
