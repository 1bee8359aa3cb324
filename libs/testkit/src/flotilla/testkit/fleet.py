"""
A whole fleet for a test: a real nats-server and real processes, ready to serve, gone afterwards.

    async with running_fleet(tmp_path, orchestrators=2, local=2, latency_ms=50) as fleet:
        client = await fleet.client()
        answer = await client.ask("classify", BODIES["classify"])
"""

import asyncio
import os
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import nats.errors

from flotilla.cli.supervisor.guardian import Guardian
from flotilla.contracts.names import DEFAULT_SCOPE
from flotilla.contracts.subjects import Zone
from flotilla.fabric.connection import NatsSettings
from flotilla.testkit.fleet_process import FleetProcess
from flotilla.testkit.fork_client import AS_IN_IMAGES
from flotilla.testkit.nats_cluster import running_cluster
from flotilla.testkit.nats_server import POOLS, RunningServer, running_server
from flotilla.testkit.plain_client import PlainClient, connect_plainly

READY_TIMEOUT_S: Final = 60.0
CLUSTER_READY_TIMEOUT_S: Final = 90.0
POLL_S: Final = 0.03
SURE_OF_ALL: Final = 8
GRACE_S: Final = 8.0

LIVE: Final[list["RunningFleet"]] = []
"""The fleets that run in this process now: a failed test's report shows their logs."""


class RunningFleet:
    """
    A fleet that a test may hurt.

    Attributes:
        server: The nats-server.
        directory: Holds every log.
        orchestrators: In the order of their start, dead ones included.
        workers: The same.
    """

    def __init__(
        self,
        server: RunningServer,
        directory: Path,
        guardian: Guardian,
        stack: AsyncExitStack,
        orchestrator_env: Mapping[str, str],
    ) -> None:
        self.server: Final = server
        self.directory: Final = directory
        self._orchestrator_env: Final = orchestrator_env
        self.orchestrators: Final[list[FleetProcess]] = []
        self.workers: Final[list[FleetProcess]] = []
        self._guardian = guardian
        self._clients: list[PlainClient] = []
        self._stack = stack
        self._count = 0

    @property
    def url(self) -> str:
        """Where any NATS client connects; without credentials it is the default scope's tenant."""
        return self.server.url

    @property
    def processes(self) -> list[FleetProcess]:
        """Every process but the server, dead ones included."""
        return [*self.orchestrators, *self.workers]

    async def client(self, scope: str | None = None) -> PlainClient:
        """A plain nats-py connection as a tenant; closed with the fleet."""
        return await self.connect(self.server.anonymous() if scope is None else self.server.tenant(scope))

    async def admin(self) -> PlainClient:
        """A plain nats-py connection that may see everything in the FLEET account; closed with the fleet."""
        return await self.connect(self.server.admin())

    async def connect(self, settings: NatsSettings) -> PlainClient:
        """A plain nats-py connection with the credentials of a role; closed with the fleet."""
        seed = None if settings.creds is None else str(settings.creds)
        client = await connect_plainly(self.url, nkeys_seed=seed, inbox_prefix=settings.inbox_prefix)
        self._clients.append(client)
        return client

    async def close_clients(self) -> None:
        """Close the connections that were made so far: one that idles on a loop that stands still is cut off."""
        clients, self._clients = self._clients, []
        for client in clients:
            await client.nc.close()

    async def start_orchestrator(
        self, name: str | None = None, *, env: Mapping[str, str] | None = None, wait: bool = True
    ) -> FleetProcess:
        """
        Start an orchestrator, set like those that the fleet began with; with `wait`, return when it serves.

        With `FLOTILLA_LANE=sealed` in `env` it has the credentials of the sealed lane.
        """
        name = name or self._next("orchestrator")
        sealed = (env or {}).get("FLOTILLA_LANE") == "sealed"
        settings = self.server.sealed_orchestrator() if sealed else self.server.orchestrator()
        environ = {
            **_connection(settings, name),
            "FLOTILLA_GRACE_S": f"{GRACE_S:g}",
            **self._orchestrator_env,
            **(env or {}),
        }
        process = await self.spawn(name, ("-m", "orchestrator"), environ)
        self.orchestrators.append(process)
        if wait:
            await self.until_ready(process)
        return process

    async def start_worker(
        self,
        zone: Zone = "local",
        pool: str | None = None,
        name: str | None = None,
        *,
        slots: int = 8,
        engine: str = "noop",
        latency_ms: float = 0.0,
        jitter: float = 0.0,
        failure_rate: float = 0.0,
        env: Mapping[str, str] | None = None,
        command: Sequence[str] | None = None,
        fork: bool = True,
        wait: bool = True,
    ) -> FleetProcess:
        """
        Start a worker; with `wait`, return when its card says that it serves.

        Args:
            zone: Local or cloud.
            pool: Called after its zone, if not given; the server must know it (`pools` of the fleet).
            name: The replica; made up if not given.
            slots: Attempts at a time.
            engine: The provider.
            latency_ms: Of the noop engine, as the two that follow.
            jitter: A fraction of the latency.
            failure_rate: A fraction of the work.
            env: More settings.
            command: Arguments of the interpreter, for a worker of one's own.
            fork: See `FleetProcess.spawn`; a program that changes modules before the services import them has to do without.
            wait: For its card.
        """
        pool = pool or zone
        name = name or self._next(zone)
        environ = {
            **_connection(self.server.worker(zone, pool), name),
            "FLOTILLA_ZONE": zone,
            "FLOTILLA_POOL": pool,
            "FLOTILLA_PROVIDER": engine,
            "FLOTILLA_SLOTS": str(slots),
            "FLOTILLA_ENGINE_LATENCY_MS": f"{latency_ms:g}",
            "FLOTILLA_ENGINE_JITTER": f"{jitter:g}",
            "FLOTILLA_ENGINE_FAILURE_RATE": f"{failure_rate:g}",
            "FLOTILLA_GRACE_S": f"{GRACE_S:g}",
            **(env or {}),
        }
        process = await self.spawn(name, command or ("-m", f"{zone}_inference"), environ, fork=fork)
        self.workers.append(process)
        if wait:
            await self.until_ready(process)
            await self.until_replicas({name})
        return process

    async def spawn(
        self, name: str, command: Sequence[str], environ: Mapping[str, str], *, fork: bool = True
    ) -> FleetProcess:
        """Start any process; it ends with the fleet at the latest."""
        process = await FleetProcess.spawn(name, command, environ, self.directory / f"{name}.log", fork=fork)
        self._guardian.watch(name, process.pid)
        self._stack.push_async_callback(_end, process, self._guardian)
        return process

    async def until_ready(self, process: FleetProcess, timeout_s: float = READY_TIMEOUT_S) -> None:
        """
        Return when a process has said that it is ready.

        Raises:
            RuntimeError: It ended, or has not in time; with its log.
        """
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + timeout_s
        while '"event": "ready"' not in process.log_text():
            if not process.is_running or loop.time() >= give_up_at:
                raise RuntimeError(f"{process.name} did not become ready:\n{process.log_tail()}")
            await asyncio.sleep(POLL_S)

    async def until_replicas(
        self, present: set[str], *, absent: frozenset[str] = frozenset(), timeout_s: float = READY_TIMEOUT_S
    ) -> None:
        """
        Return when the orchestrators see that the replicas `present` take tasks, and none of `absent`.

        Any of them answers, so it is asked until as many answers in a row agree as make it sure of all.
        """
        client = await connect_plainly(self.url)
        try:
            async with asyncio.timeout(timeout_s):
                in_a_row = 0
                while in_a_row < (SURE_OF_ALL if len(self.orchestrators) > 1 else 1):
                    seen = await _seen(client)
                    holds = seen is not None and present <= seen.taking and not absent & seen.all
                    in_a_row = in_a_row + 1 if holds else 0
                    if not in_a_row:
                        await asyncio.sleep(POLL_S)
        except TimeoutError:
            raise RuntimeError(f"the replicas {present} were not seen in time\n{self.report()}") from None
        finally:
            await client.nc.close()

    def report(self) -> str:
        """The end of every log."""
        parts = [f"--- {each.name} ({each.returncode}) ---\n{each.log_tail()}" for each in self.processes]
        return "\n".join(parts)

    def _next(self, stem: str) -> str:
        self._count += 1
        return f"{stem}-{self._count}"


@asynccontextmanager
async def running_fleet(
    directory: Path,
    *,
    orchestrators: int = 1,
    local: int = 1,
    cloud: int = 0,
    slots: int = 8,
    engine: str = "noop",
    latency_ms: float = 0.0,
    jitter: float = 0.0,
    failure_rate: float = 0.0,
    scopes: Sequence[str] = (DEFAULT_SCOPE,),
    pools: Sequence[tuple[Zone, str]] = POOLS,
    vault_pools: Sequence[str] = (),
    sealed: bool = False,
    sealed_scopes: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    worker_env: Mapping[str, str] | None = None,
    nodes: int = 1,
) -> AsyncGenerator[RunningFleet]:
    """
    Run a fleet while the block runs; takes about a second to be ready, with a cluster some ten.

    Args:
        directory: Of the server's files and the logs.
        orchestrators: How many.
        local: How many workers in the pool local/local.
        cloud: How many workers in the pool cloud/cloud.
        slots: Of each worker.
        engine: Of each worker.
        latency_ms: Of the noop engine, as the two that follow.
        jitter: A fraction of the latency.
        failure_rate: A fraction of the work.
        scopes: The tenants.
        pools: Which the server has credentials for.
        vault_pools: The local ones of them that may reach the vaults.
        sealed: Whether there is a sealed lane; its orchestrator is called `sealed`.
        sealed_scopes: The tenants that have the sealed lane alone.
        env: More settings of the orchestrators.
        worker_env: More settings of the workers.
        nodes: Of the NATS server; with 3, `server` is a `RunningCluster`, and every stream has 3 replicas.
    """
    directory.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240  (before anything runs)
    async with AsyncExitStack() as stack:
        running = running_server if nodes == 1 else partial(running_cluster, nodes=nodes)
        server = await stack.enter_async_context(
            running(
                directory / "nats",
                scopes=scopes,
                pools=pools,
                vault_pools=vault_pools,
                sealed=sealed,
                sealed_scopes=sealed_scopes,
            )
        )
        lock_fd = os.open(directory / "guard.lock", os.O_CREAT | os.O_WRONLY, 0o600)
        stack.callback(os.close, lock_fd)
        guardian = Guardian(lock_fd)
        await guardian.start()
        stack.push_async_callback(guardian.stop)
        for index, pid in enumerate(server.pids):
            guardian.watch(f"nats-{index}", pid)
        settings = {"FLOTILLA_SCOPES": ",".join(scopes), "FLOTILLA_STREAM_REPLICAS": str(nodes), **(env or {})}
        fleet = RunningFleet(server, directory, guardian, stack, settings)
        stack.push_async_callback(fleet.close_clients)
        LIVE.append(fleet)
        stack.callback(LIVE.remove, fleet)
        work: dict[str, Any] = {
            "slots": slots,
            "engine": engine,
            "latency_ms": latency_ms,
            "jitter": jitter,
            "failure_rate": failure_rate,
            "env": worker_env,
        }
        lane = {"FLOTILLA_LANE": "sealed"}
        await asyncio.gather(
            *(fleet.start_orchestrator(f"o{index + 1}", wait=False) for index in range(orchestrators)),
            *(fleet.start_orchestrator("sealed", env=lane, wait=False) for _ in range(int(sealed))),
            *(fleet.start_worker("local", name=f"local-w{index + 1}", wait=False, **work) for index in range(local)),
            *(fleet.start_worker("cloud", name=f"cloud-w{index + 1}", wait=False, **work) for index in range(cloud)),
        )
        timeout_s = READY_TIMEOUT_S if nodes == 1 else CLUSTER_READY_TIMEOUT_S
        await asyncio.gather(*(fleet.until_ready(process, timeout_s) for process in fleet.processes))
        if orchestrators:
            await fleet.until_replicas({worker.name for worker in fleet.workers})
        yield fleet


def _connection(settings: NatsSettings, instance: str) -> dict[str, str]:
    return {
        "FLOTILLA_NATS_URL": settings.url,
        "FLOTILLA_NATS_CREDS": str(settings.creds),
        "FLOTILLA_INSTANCE": instance,
        "PYTHONPATH": str(AS_IN_IMAGES),
    }


class _Seen(NamedTuple):
    """The replicas that an orchestrator knows; one that is joining, or leaving, is known and takes no tasks."""

    taking: set[str]
    all: set[str]


async def _seen(client: PlainClient) -> _Seen | None:
    """None without an answer, which says nothing of who is absent."""
    try:
        answer = await client.api("replicas", timeout_s=1.0)
    except (nats.errors.Error, TimeoutError):
        return None
    cards = answer.get("replicas", ())
    return _Seen({card["replica"] for card in cards if not card["draining"]}, {card["replica"] for card in cards})


async def _end(process: FleetProcess, guardian: Guardian) -> None:
    process.kill()
    await process.wait()
    guardian.forget(process.name)
