"""
Why a fleet could not be run on this machine.

    flotilla.contracts.errors.FlotillaError
     └─ SupervisorError
         ├─ OptionError           an option, or the environment behind it, cannot be used
         ├─ FleetRunningError     another `up` runs on the same directory
         ├─ PullError             a model could not be pulled
         └─ NotReadyError         a child cannot start, or the fleet did not become ready in time
"""

from pathlib import Path

from flotilla.contracts.errors import FlotillaError


class SupervisorError(FlotillaError):
    """A fleet could not be run on this machine; the text is one line."""


class OptionError(SupervisorError):
    """An option cannot be used; the text names it and says what was expected."""


class FleetRunningError(SupervisorError):
    """A fleet runs on `directory` already; its supervisor is process `pid` (0 when unknown)."""

    def __init__(self, directory: Path, pid: int) -> None:
        holder = f"process {pid}" if pid else "another process"
        super().__init__(
            f"{directory} is used by a running fleet ({holder}): end that, or name another folder with --dir"
        )
        self.directory = directory
        self.pid = pid


class PullError(SupervisorError):
    """A model could not be pulled; the text names it and says why."""


class NotReadyError(SupervisorError):
    """The fleet did not become ready; the text says what is missing, and where to read more."""
