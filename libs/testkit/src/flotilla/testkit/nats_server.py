"""A real nats-server for a test: free port, own directory, the accounts and roles of production."""

import asyncio
import json
import os
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from flotilla.contracts.names import DEFAULT_SCOPE
from flotilla.contracts.subjects import Zone
from flotilla.fabric.connection import NatsSettings
from flotilla.provisioning import roles
from flotilla.provisioning.credentials import Credentials, load_or_create
from flotilla.provisioning.embedded_server import EmbeddedServer
from flotilla.provisioning.server_spec import CONNECTIONS_MAX, RANDOM_PORT, ServerSpec, users

POOLS: Final[tuple[tuple[Zone, str], ...]] = (("local", "local"), ("cloud", "cloud"))


class RunningServer:
    """
    A nats-server that a test may stop, start again and kill.

    Attributes:
        server: The process.
        credentials: Of every user of the fleet.
    """

    def __init__(self, server: EmbeddedServer, credentials: Credentials) -> None:
        self.server: Final = server
        self.credentials: Final = credentials

    @property
    def url(self) -> str:
        """Where clients connect; the same after a restart."""
        return self.server.url

    @property
    def monitoring_url(self) -> str:
        """The base of the HTTP endpoints (`/connz`, `/accountz`, `/subsz`, `/varz`)."""
        url = self.server.monitoring_url
        if url is None:
            raise RuntimeError("the server does not run")
        return url

    async def monitored(self, path: str) -> Any:
        """What a monitoring endpoint tells, decoded."""
        host, port = self.monitoring_url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        body = (await reader.read()).split(b"\r\n\r\n", 1)[1]
        writer.close()
        await writer.wait_closed()
        return json.loads(body)

    @property
    def pid(self) -> int:
        """The process id; 0 when it does not run."""
        return self.server.pid

    @property
    def pids(self) -> tuple[int, ...]:
        """Of every process that it consists of and that runs."""
        return (self.pid,) if self.pid else ()

    async def start(self) -> None:
        """Start again, on the same port with the same streams."""
        await self.server.start()

    async def stop(self) -> None:
        """Stop as an operator would."""
        await self.server.stop()

    async def kill(self) -> None:
        """End it as a crash would."""
        await self.server.kill()

    async def restart(self) -> None:
        """Stop and start."""
        await self.server.restart()

    def orchestrator(self) -> NatsSettings:
        """How an orchestrator connects."""
        return self._settings(roles.orchestrator())

    def sealed_orchestrator(self) -> NatsSettings:
        """How an orchestrator of the sealed lane connects, where there is one."""
        return self._settings(roles.sealed_orchestrator())

    def worker(self, zone: Zone, pool: str) -> NatsSettings:
        """How a worker of the pool connects."""
        return self._settings(roles.worker(zone, pool))

    def observer(self) -> NatsSettings:
        """How an observer connects."""
        return self._settings(roles.observer())

    def admin(self) -> NatsSettings:
        """How the admin connects."""
        return self._settings(roles.admin())

    def tenant(self, scope: str = DEFAULT_SCOPE) -> NatsSettings:
        """How a client of the scope connects with credentials."""
        return self._settings(roles.tenant(scope))

    def approver(self, scope: str = DEFAULT_SCOPE) -> NatsSettings:
        """How the scope's approver connects."""
        return self._settings(roles.approver(scope))

    def anonymous(self) -> NatsSettings:
        """How a client without credentials connects: it is the default scope's tenant."""
        return NatsSettings(url=self.url)

    def _settings(self, role: roles.Role) -> NatsSettings:
        return NatsSettings(url=self.url, creds=self.credentials.path(role.user), inbox_prefix=role.inbox_prefix)


@asynccontextmanager
async def running_server(
    directory: Path,
    *,
    scopes: Sequence[str] = (DEFAULT_SCOPE,),
    pools: Sequence[tuple[Zone, str]] = POOLS,
    vault_pools: Sequence[str] = (),
    sealed: bool = False,
    sealed_scopes: Sequence[str] = (),
    no_auth_scope: str | None = DEFAULT_SCOPE,
    connections_max: int = CONNECTIONS_MAX,
) -> AsyncGenerator[RunningServer]:
    """
    Run a nats-server in `directory` while the block runs; takes some 50 ms.

    Uses the binary that the environment variable FLOTILLA_NATS_SERVER names, else the installed one.
    """
    credentials = load_or_create(directory / "credentials", users(scopes, pools, sealed=sealed))
    spec = ServerSpec(
        store_dir="",
        public_keys=credentials.public_keys,
        scopes=tuple(scopes),
        pools=tuple(pools),
        vault_pools=tuple(vault_pools),
        sealed=sealed,
        sealed_scopes=tuple(sealed_scopes),
        no_auth_scope=no_auth_scope,
        connections_max=connections_max,
        port=RANDOM_PORT,
        monitoring_port=RANDOM_PORT,
    )
    named = os.environ.get("FLOTILLA_NATS_SERVER")
    server = EmbeddedServer(directory, spec, binary=Path(named) if named else None)
    await server.start()
    try:
        yield RunningServer(server, credentials)
    finally:
        # Nothing of it is needed any more, and a kill is instant.
        await server.kill()
