"""A fleet's directory: where everything is, and the lock that keeps a second supervisor out."""

import asyncio
import contextlib
import fcntl
import os
import stat
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, Final

from flotilla.chassis.errors import PrivateFileError
from flotilla.chassis.private_files import OTHERS, close_tree, make_directory, open_file, own_place, replace_file
from flotilla.cli.supervisor.errors import FleetRunningError, OptionError
from flotilla.cli.supervisor.portal import PortalFiles
from flotilla.inference.redaction.vault_keys import new_key

TRACES: Final = ("up.lock", "credentials", "nats", "logs")
"""What is in a folder on which a fleet has run."""
LOCK_PATIENCE_S: Final = 12.0
LOCK_POLL_S: Final = 0.02
PID_CHARS_MAX: Final = 20


class Directory:
    """
    The places in a fleet's directory.

    Attributes:
        vault_key: What the values of redacted documents are encrypted with; without it they are lost.
        portal: Who may sign in to the portal.
        state: JSON as `flotilla up --json` prints it, kept up to date while the fleet runs, and gone afterwards.
    """

    def __init__(self, path: Path) -> None:
        self.path: Final = own_place(path)
        self.server: Final = self.path / "nats"
        self.credentials: Final = self.path / "credentials"
        self.logs: Final = self.path / "logs"
        self.lock: Final = self.path / "up.lock"
        self.state: Final = self.path / "fleet.json"
        self.vault_key: Final = self.path / "vault.key"
        self.portal: Final = PortalFiles(self.path / "portal")

    def log(self, name: str) -> Path:
        """The log of a child."""
        return self.logs / f"{name}.log"

    def make(self) -> None:
        """
        Make what is missing, and close what is there to others.

        Raises:
            OptionError: It cannot be made, or is not this user's alone; says what to do.
        """
        try:
            self._refuse_a_shared_one()
            make_directory(self.path)
            make_directory(self.logs)
            # Seeds are in here: `git add .` must not take them along.
            ignored = self.path / ".gitignore"
            if not os.path.lexists(ignored):
                replace_file(ignored, b"*\n")
        except PrivateFileError as error:
            raise OptionError(f"--dir {error}") from error
        except OSError as error:
            raise OptionError(f"--dir {self.path}: {error.strerror or type(error).__name__}") from error

    def _refuse_a_shared_one(self) -> None:
        """A folder that is used for other things is not to be closed to those who use it."""
        if not self.path.is_dir():
            return
        mode = stat.S_IMODE(self.path.stat().st_mode)
        names = {entry.name for entry in self.path.iterdir()} if mode & OTHERS else set[str]()
        if names and not names & set(TRACES):
            raise OptionError(
                f"--dir {self.path}: holds files of others than a fleet and is open to other users (mode {mode:04o}); "
                "name a folder that is new or empty"
            )

    def make_vault_key(self) -> None:
        """
        Make the key of the vaults if there is none; the lock is held.

        Raises:
            PrivateFileError: The file is a link, or belongs to another user.
        """
        with os.fdopen(open_file(self.vault_key, os.O_RDWR), "r+", encoding="ascii") as file:
            if not file.read(1):
                file.write(new_key() + "\n")

    def write_state(self, text: bytes) -> None:
        """Replace the state file in one step."""
        replace_file(self.state, text + b"\n")

    @asynccontextmanager
    async def held(self) -> AsyncGenerator[int, None]:
        """
        Hold the lock while the block runs; gives its file descriptor, with which a child can hold it too.

        Nothing in the directory is a link or belongs to another user then.

        A supervisor that is gone may have left a guard that clears up: that is waited for, LOCK_PATIENCE_S at most.

        Raises:
            FleetRunningError: A supervisor runs here.
            OptionError: Something in the directory is a link, or belongs to another user; says what to do.
        """
        with self._open_lock() as file:
            loop = asyncio.get_running_loop()
            give_up_at = loop.time() + LOCK_PATIENCE_S
            while not _locked(file):
                pid = _pid_in(file)
                if _is_alive(pid) or loop.time() >= give_up_at:
                    raise FleetRunningError(self.path, pid)
                await asyncio.sleep(LOCK_POLL_S)
            self._close_tree()
            file.truncate(0)
            file.write(f"{os.getpid()}\n")
            file.flush()
            try:
                yield file.fileno()
            finally:
                self.state.unlink(missing_ok=True)
                file.truncate(0)

    def _open_lock(self) -> IO[str]:
        try:
            return os.fdopen(open_file(self.lock, os.O_RDWR | os.O_APPEND), "a+", encoding="ascii")
        except PrivateFileError as error:
            raise OptionError(f"--dir {error}") from error

    def _close_tree(self) -> None:
        try:
            close_tree(self.path)
        except PrivateFileError as error:
            raise OptionError(f"--dir {error}") from error


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
