"""One child process: started, started again when it dies, and stopped when it is told to."""

import asyncio
import contextlib
import signal
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from msgspec import Struct

from flotilla.chassis.errors import PrivateFileError
from flotilla.chassis.private_files import UMASK
from flotilla.cli.supervisor.child_logs import open_log, turn_over
from flotilla.cli.supervisor.guardian import Guardian

RESTART_AFTER_S: Final = 0.1
RESTART_AFTER_MAX_S: Final = 10.0
STEADY_AFTER_S: Final = 30.0
KILL_TIMEOUT_S: Final = 5.0


class ChildSpec(Struct, frozen=True, kw_only=True):
    """
    What to run.

    Attributes:
        name: Unique among the children: `orchestrator-1`, `local-2`.
        environ: The whole environment.
        log: Where its output goes.
        fds: What it inherits, under the same numbers.
    """

    name: str
    command: tuple[str, ...]
    environ: Mapping[str, str]
    log: Path
    fds: tuple[int, ...] = ()


def restart_pause_s(deaths: int) -> float:
    """The pause before a start that follows `deaths` deaths in a row: doubles from RESTART_AFTER_S to a bound."""
    doublings = min(max(deaths - 1, 0), 10)
    return min(RESTART_AFTER_S * 2**doublings, RESTART_AFTER_MAX_S)


def how_it_ended(status: int) -> str:
    """A process's end, for people."""
    if status >= 0:
        return f"ended with code {status}"
    with contextlib.suppress(ValueError):
        return f"was ended by {signal.Signals(-status).name}"
    return f"was ended by signal {-status}"


class Child:
    """
    A process that runs until `stop`.

    Attributes:
        deaths: In a row, without a steady time between them.
        last_status: Of its last death; negative is a signal.
    """

    def __init__(self, spec: ChildSpec, guardian: Guardian, on_change: Callable[["Child", str], None]) -> None:
        """
        Prepare it; nothing is started.

        Args:
            spec: What to run.
            guardian: Told of every process.
            on_change: Called with what happened ("" for a start) whenever the process changed.
        """
        self.spec: Final = spec
        self.deaths = 0
        self.last_status = 0
        self._guardian = guardian
        self._on_change = on_change
        self._process: Process | None = None
        self._stopping = asyncio.Event()
        self._running: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        """The process id; 0 while it does not run."""
        process = self._process
        return 0 if process is None or process.returncode is not None else process.pid

    def start(self) -> None:
        """Start, and keep it running."""
        turn_over(self.spec.log)
        self._running = asyncio.get_running_loop().create_task(self._run())

    def ask_to_stop(self) -> None:
        """Send SIGTERM; it is not started again."""
        self._stopping.set()
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL; it is not started again."""
        self._stopping.set()
        self._send(signal.SIGKILL)

    async def ended(self) -> None:
        """Return when it has ended for good, which only a stop brings about."""
        if self._running is not None:
            await asyncio.wait((self._running,))

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while not self._stopping.is_set():
            try:
                process = await self._spawn()
            except (OSError, PrivateFileError) as error:  # no memory, no file handles: may pass
                self.deaths += 1
                reason = error.strerror if isinstance(error, OSError) else str(error)
                self._on_change(self, f"{self.spec.name} could not be started: {reason}")
            else:
                started_at = loop.time()
                self._process = process
                self._guardian.watch(self.spec.name, process.pid)
                self._on_change(self, "")
                if self._stopping.is_set():
                    self._send(signal.SIGTERM)
                self.last_status = await process.wait()
                self._guardian.forget(self.spec.name)
                self._count_death(loop.time() - started_at)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(restart_pause_s(self.deaths)):
                    await self._stopping.wait()

    def _count_death(self, lived_s: float) -> None:
        if self._stopping.is_set():
            return
        self.deaths = 1 if lived_s >= STEADY_AFTER_S else self.deaths + 1
        pause_s = restart_pause_s(self.deaths)
        self._on_change(
            self, f"{self.spec.name} {how_it_ended(self.last_status)}; it is started again in {pause_s:g} s"
        )

    async def _spawn(self) -> Process:
        with open_log(self.spec.log) as output:
            return await asyncio.create_subprocess_exec(
                *self.spec.command,
                stdin=DEVNULL,
                stdout=output,
                stderr=output,
                env=dict(self.spec.environ),
                pass_fds=self.spec.fds,
                # A terminal's Ctrl-C is for the supervisor, which stops the children in order.
                umask=UMASK,
                start_new_session=True,
            )

    def _send(self, which: signal.Signals) -> None:
        process = self._process
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(which)


async def stop_all(children: list[Child], *, timeout_s: float, hurry: asyncio.Event) -> None:
    """Stop children side by side: asked first, killed after `timeout_s`, or as soon as `hurry` is set."""
    for child in children:
        child.ask_to_stop()
    ended = asyncio.gather(*(child.ended() for child in children))
    hurried = asyncio.ensure_future(hurry.wait())
    await asyncio.wait((ended, hurried), timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    hurried.cancel()
    if not ended.done():
        for child in children:
            child.kill()
        await asyncio.wait((ended,), timeout=KILL_TIMEOUT_S)
