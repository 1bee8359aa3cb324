"""The fleet's own nats-server: started first, started again on the same port and files when it dies, stopped last."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

from flotilla.cli.supervisor.child import how_it_ended, restart_pause_s
from flotilla.cli.supervisor.guard import NATS
from flotilla.cli.supervisor.guardian import Guardian
from flotilla.cli.supervisor.options import UpOptions, scopes_of, sealed_scopes_of
from flotilla.contracts.names import DEFAULT_SCOPE, REDACTION_POOL
from flotilla.contracts.subjects import Zone
from flotilla.fabric.errors import FabricError
from flotilla.provisioning.credentials import Credentials
from flotilla.provisioning.embedded_server import EmbeddedServer
from flotilla.provisioning.server_spec import ServerSpec


def embedded_server(
    directory: Path, options: UpOptions, credentials: Credentials, pools: tuple[tuple[Zone, str], ...]
) -> EmbeddedServer:
    """
    A server for loopback, where a client without credentials is a client of the default scope.

    Raises:
        ServerNotFoundError: There is no binary; `FLOTILLA_NATS_SERVER` may name one.
    """
    named = os.environ.get("FLOTILLA_NATS_SERVER")
    spec = ServerSpec(
        store_dir="",
        public_keys=credentials.public_keys,
        scopes=scopes_of(options),
        pools=pools,
        vault_pools=(REDACTION_POOL,),
        sealed=options.sealed > 0,
        sealed_scopes=sealed_scopes_of(options),
        no_auth_scope=DEFAULT_SCOPE,
        port=options.port,
    )
    return EmbeddedServer(directory, spec, binary=Path(named) if named else None)


class ServerKeeper:
    """Keeps one nats-server running until `stop`."""

    def __init__(self, server: EmbeddedServer, guardian: Guardian, on_change: Callable[[str], None]) -> None:
        """
        Prepare it; nothing is started.

        Args:
            server: Not started yet.
            guardian: Told of every process.
            on_change: Called with what happened whenever the process changed after the first start.
        """
        self._server = server
        self._guardian = guardian
        self._on_change = on_change
        self._keeping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """
        Start it.

        Raises:
            ServerError: It cannot be started; the first time nobody tries again.
        """
        await self._server.start()
        self._guardian.watch(NATS, self._server.pid)
        self._keeping = asyncio.get_running_loop().create_task(self._keep())

    async def stop(self) -> None:
        """Stop it, and keep it stopped."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.wait((self._keeping,))
        await self._server.stop()
        self._guardian.forget(NATS)

    async def _keep(self) -> None:
        deaths = 0
        while True:
            status = await self._server.wait()
            self._guardian.forget(NATS)
            deaths += 1
            self._on_change(f"nats-server {how_it_ended(status)}; it is started again")
            started = False
            while not started:
                await asyncio.sleep(restart_pause_s(deaths))
                try:
                    await self._server.start()
                except FabricError as error:
                    deaths += 1
                    self._on_change(f"nats-server could not be started: {error}")
                else:
                    started = True
            self._guardian.watch(NATS, self._server.pid)
            self._on_change("nats-server runs again, with the same port and files")
            deaths = 0
