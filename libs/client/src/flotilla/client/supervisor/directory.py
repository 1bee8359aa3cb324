"""A fleet's directory: where everything is, and the lock that keeps a second supervisor out."""

import asyncio
import contextlib
import fcntl
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, Final

from flotilla.client.supervisor.errors import FleetRunningError, OptionError

MODE: Final = 0o700
LOCK_PATIENCE_S: Final = 12.0
LOCK_POLL_S: Final = 0.02
PID_CHARS_MAX: Final = 20


class Directory:
    """
    The places in a fleet's directory.

    Attributes:
        state: JSON as `flotilla up --json` prints it, kept up to date while the fleet runs, and gone afterwards.
    """

    def __init__(self, path: Path) -> None:
        self.path: Final = path.absolute()
        self.server: Final = self.path / "nats"
        self.credentials: Final = self.path / "credentials"
        self.logs: Final = self.path / "logs"
        self.lock: Final = self.path / "up.lock"
        self.state: Final = self.path / "fleet.json"

    def log(self, name: str) -> Path:
        """The log of a child."""
        return self.logs / f"{name}.log"

    def make(self) -> None:
        """
        Make what is missing.

        Raises:
            OptionError: It cannot be made; says why.
        """
        try:
            self.path.mkdir(mode=MODE, parents=True, exist_ok=True)
            self.logs.mkdir(mode=MODE, exist_ok=True)
            # Seeds are in here: `git add .` must not take them along.
            (self.path / ".gitignore").write_text("*\n", encoding="utf-8")
        except OSError as error:
            raise OptionError(f"--dir {self.path}: {error.strerror or type(error).__name__}") from error

    def write_state(self, text: bytes) -> None:
        """Replace the state file in one step."""
        partial = self.state.with_suffix(".partial")
        partial.write_bytes(text + b"\n")
        partial.replace(self.state)

    @asynccontextmanager
    async def held(self) -> AsyncGenerator[int, None]:
        """
        Hold the lock while the block runs; gives its file descriptor, with which a child can hold it too.

        A supervisor that is gone may have left a guard that clears up: that is waited for, LOCK_PATIENCE_S at most.

        Raises:
            FleetRunningError: A supervisor runs here.
        """
        with self.lock.open("a+", encoding="ascii") as file:
            loop = asyncio.get_running_loop()
            give_up_at = loop.time() + LOCK_PATIENCE_S
            while not _locked(file):
                pid = _pid_in(file)
                if _is_alive(pid) or loop.time() >= give_up_at:
                    raise FleetRunningError(self.path, pid)
                await asyncio.sleep(LOCK_POLL_S)
            file.truncate(0)
            file.write(f"{os.getpid()}\n")
            file.flush()
            try:
                yield file.fileno()
            finally:
                self.state.unlink(missing_ok=True)
                file.truncate(0)


def _locked(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _pid_in(file: IO[str]) -> int:
    file.seek(0)
    text = file.read(PID_CHARS_MAX).strip()
    return int(text) if text.isdigit() else 0


def _is_alive(pid: int) -> bool:
    if pid <= 0:
        return False
    with contextlib.suppress(PermissionError):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
    return True
