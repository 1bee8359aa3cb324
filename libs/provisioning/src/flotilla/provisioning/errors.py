"""
What can go wrong while a NATS server is configured and run.

    flotilla.fabric.errors.FabricError
     ├─ ServerSpecError           a server configuration that must not be written
     └─ ServerError               a nats-server of one's own
         ├─ ServerNotFoundError       there is no binary
         ├─ PortInUseError            something else listens there
         ├─ DirectoryInUseError       another nats-server holds the directory
         └─ ServerDidNotStartError    it ended, or did not answer in time
"""

from pathlib import Path

from flotilla.fabric.errors import FabricError


class ServerSpecError(FabricError):
    """A server configuration that must not be written; the text names the field and what was expected."""


class ServerError(FabricError):
    """A nats-server of one's own could not be run."""


class ServerNotFoundError(ServerError):
    """There is no nats-server binary to run; the text says where it was looked for and what to do."""


class PortInUseError(ServerError):
    """Something else listens on `host`:`port` already."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(f"port {port} on {host} is in use")
        self.host = host
        self.port = port


class DirectoryInUseError(ServerError):
    """Another nats-server, of process id `pid` (0 when unknown), holds `directory`; two would corrupt its streams."""

    def __init__(self, directory: Path, pid: int) -> None:
        holder = f"process {pid}" if pid else "another process"
        super().__init__(f"{directory} is in use by a nats-server ({holder})")
        self.directory = directory
        self.pid = pid


class ServerDidNotStartError(ServerError):
    """The nats-server ended while starting, or did not answer in time; `log` is where it says more."""

    def __init__(self, reason: str, log: Path) -> None:
        super().__init__(f"nats-server did not start: {reason} (see {log})")
        self.reason = reason
        self.log = log
