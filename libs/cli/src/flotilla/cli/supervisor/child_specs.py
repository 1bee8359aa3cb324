"""What runs in a fleet on one machine: which services, how many of each, with whose credentials and which environment."""

import os
import socket
import sys
from importlib.util import find_spec
from typing import Final

from flotilla.cli.supervisor import environment
from flotilla.cli.supervisor.child import ChildSpec
from flotilla.cli.supervisor.directory import Directory
from flotilla.cli.supervisor.engines import Engines
from flotilla.cli.supervisor.options import UpOptions
from flotilla.contracts.names import OBSERVER, ORCHESTRATOR, REDACTION_POOL, SEALED_ORCHESTRATOR
from flotilla.contracts.subjects import Zone
from flotilla.provisioning import roles
from flotilla.provisioning.credentials import Credentials

PORTAL: Final = "portal"
NEEDED_TO_REDACT: Final = ("cryptography", "flotilla.privacy")

MODULES: Final = {
    ORCHESTRATOR: "orchestrator",
    SEALED_ORCHESTRATOR: "orchestrator",
    "local": "local_inference",
    "cloud": "cloud_inference",
    REDACTION_POOL: "local_inference",
    PORTAL: "portal",
}
"""The kinds of children, workers by their pool, and the module that each runs."""


class ChildSpecs:
    """
    Says how each child of a fleet is started.

    Args:
        portal_socket: What listens where the portal is to be; None where there is none.
    """

    def __init__(
        self,
        options: UpOptions,
        directory: Directory,
        engines: Engines,
        credentials: Credentials,
        *,
        portal_socket: socket.socket | None,
    ) -> None:
        self._options = options
        self._directory = directory
        self._engines = engines
        self._credentials = credentials
        self._portal_socket = portal_socket

    @property
    def orchestrators(self) -> dict[str, int]:
        """How many orchestrators run, and how many of the sealed lane."""
        return {ORCHESTRATOR: self._options.orchestrators, SEALED_ORCHESTRATOR: self._options.sealed}

    @property
    def workers(self) -> dict[str, int]:
        """How many run in each pool: none where there is nothing that they could serve."""
        options, engines = self._options, self._engines
        return {
            "local": options.local if engines.local else 0,
            "cloud": options.cloud if engines.cloud else 0,
            REDACTION_POOL: options.redaction if can_redact() else 0,
        }

    @property
    def replicas(self) -> dict[Zone, int]:
        """How many workers run in each zone."""
        wanted: dict[Zone, int] = {"local": 0, "cloud": 0}
        for kind, count in self.workers.items():
            wanted[_zone(kind)] += count
        return wanted

    def spec(self, kind: str, number: int, *, nats_url: str) -> ChildSpec:
        """One of a kind (`MODULES`), numbered from 1."""
        name = f"{kind}-{number}"
        creds = str(self._credentials.path(_user(kind)))
        place = environment.Place(nats_url=nats_url, creds=creds, instance=name)
        command = (sys.executable, "-m", MODULES[kind])
        log = self._directory.log(name)
        fds = () if kind != PORTAL or self._portal_socket is None else (self._portal_socket.fileno(),)
        return ChildSpec(name=name, command=command, environ=self._environment(kind, place), log=log, fds=fds)

    def _environment(self, kind: str, place: environment.Place) -> dict[str, str]:
        if kind == ORCHESTRATOR:
            return environment.of_orchestrator(self._options, place, os.environ)
        if kind == SEALED_ORCHESTRATOR:
            return environment.of_sealed_orchestrator(self._options, place, os.environ)
        if kind == REDACTION_POOL:
            return environment.of_redaction(self._options, place, self._directory.vault_key, os.environ)
        if kind == PORTAL and self._portal_socket is not None:
            return environment.of_portal(self._options, place, self._directory.portal, self._portal_socket, os.environ)
        return environment.of_worker(_zone(kind), self._options, self._engines, place, os.environ)


def can_redact() -> bool:
    """Whether what a worker needs to redact is installed."""
    return all(find_spec(name) is not None for name in NEEDED_TO_REDACT)


def _user(kind: str) -> str:
    """Whose credentials a child has."""
    if kind == PORTAL:
        return OBSERVER
    return kind if MODULES[kind] == "orchestrator" else roles.worker_user(_zone(kind), kind)


def _zone(kind: str) -> Zone:
    return "cloud" if kind == "cloud" else "local"
