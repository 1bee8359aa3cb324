"""Real nats-servers as one cluster on loopback: the accounts, roles and cluster configuration of production."""

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

import msgspec
import nats.errors

from flotilla.contracts.names import DEFAULT_SCOPE
from flotilla.contracts.subjects import Zone
from flotilla.provisioning.credentials import Credentials, load_or_create
from flotilla.provisioning.embedded_server import EmbeddedServer
from flotilla.provisioning.errors import PortInUseError, ServerDidNotStartError
from flotilla.provisioning.server_spec import RANDOM_PORT, ClusterSpec, ServerSpec, users
from flotilla.testkit.nats_server import POOLS, RunningServer
from flotilla.testkit.plain_client import connect_plainly
from flotilla.testkit.ports import free_ports

NODES: Final = 3
START_TRIES_MAX: Final = 3
LEADER_TIMEOUT_S: Final = 30.0
ASK_TIMEOUT_S: Final = 1.0
POLL_S: Final = 0.05

_decode: Final = msgspec.json.Decoder(dict[str, Any]).decode


class ClusterNode(RunningServer):
    """
    One node, which a test may kill and start again on its own.

    Attributes:
        name: What the others call it.
    """

    def __init__(self, name: str, server: EmbeddedServer, credentials: Credentials) -> None:
        super().__init__(server, credentials)
        self.name: Final = name


class RunningCluster(RunningServer):
    """
    The nodes as one server: clients get all URLs; `stop`, `kill` and `start` are about every node at once.

    Attributes:
        nodes: In the order of their names.
    """

    def __init__(self, nodes: Sequence[ClusterNode]) -> None:
        super().__init__(nodes[0].server, nodes[0].credentials)
        self.nodes: Final = tuple(nodes)

    @property
    def url(self) -> str:
        """Every node's, with commas between."""
        return ",".join(node.url for node in self.nodes)

    @property
    def pids(self) -> tuple[int, ...]:
        """Of the nodes that run."""
        return tuple(node.pid for node in self.nodes if node.pid)

    async def start(self) -> None:
        """Start the nodes that do not run; returns, or raises the first error, when each has been tried."""
        ends = await asyncio.gather(*(node.start() for node in self.nodes), return_exceptions=True)
        for end in ends:
            if end is not None:
                raise end

    async def stop(self) -> None:
        """Stop every node as an operator would."""
        await asyncio.gather(*(node.stop() for node in self.nodes))

    async def kill(self) -> None:
        """End every node at once, as a power cut would."""
        await asyncio.gather(*(node.kill() for node in self.nodes))

    async def restart(self) -> None:
        """Stop and start."""
        await self.stop()
        await self.start()

    async def leader_of(self, stream: str, timeout_s: float = LEADER_TIMEOUT_S) -> ClusterNode:
        """
        The node that leads a stream, once there is one.

        Raises:
            TimeoutError: There is none in time.
        """
        info = await self._until(stream, _has_leader, timeout_s)
        return next(node for node in self.nodes if node.name == info["cluster"]["leader"])

    async def until_whole(self, stream: str, timeout_s: float = LEADER_TIMEOUT_S) -> None:
        """
        Return when every node holds the whole stream.

        Raises:
            TimeoutError: One does not in time.
        """

        def whole(info: dict[str, Any]) -> bool:
            replicas: list[dict[str, Any]] = info["cluster"].get("replicas") or []
            current = [each for each in replicas if each.get("current") and not each.get("offline")]
            return bool(info["cluster"].get("leader")) and len(current) == len(self.nodes) - 1

        await self._until(stream, whole, timeout_s)

    async def _until(self, stream: str, holds: Callable[[dict[str, Any]], bool], timeout_s: float) -> dict[str, Any]:
        """What the stream's leader says of it, once a condition holds."""
        admin = self.admin()
        urls = ",".join(node.url for node in self.nodes if node.pid)
        client = await connect_plainly(urls, nkeys_seed=str(admin.creds), inbox_prefix=admin.inbox_prefix)
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    with suppress(TimeoutError, nats.errors.Error):
                        reply = await client.nc.request(f"$JS.API.STREAM.INFO.{stream}", b"", timeout=ASK_TIMEOUT_S)
                        info = _decode(reply.data)
                        if "cluster" in info and holds(info):
                            return info
                    await asyncio.sleep(POLL_S)
        finally:
            await client.nc.close()


@asynccontextmanager
async def running_cluster(
    directory: Path,
    *,
    scopes: Sequence[str] = (DEFAULT_SCOPE,),
    pools: Sequence[tuple[Zone, str]] = POOLS,
    vault_pools: Sequence[str] = (),
    sealed: bool = False,
    sealed_scopes: Sequence[str] = (),
    no_auth_scope: str | None = DEFAULT_SCOPE,
    nodes: int = NODES,
) -> AsyncGenerator[RunningCluster]:
    """
    Run a cluster in `directory` while the block runs; its nodes may have no leader yet when it begins.

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
        monitoring_port=RANDOM_PORT,
    )
    cluster = await _started(directory, spec, credentials, nodes)
    try:
        yield cluster
    finally:
        # Nothing of it is needed any more, and a kill is instant.
        await cluster.kill()


async def _started(directory: Path, spec: ServerSpec, credentials: Credentials, count: int) -> RunningCluster:
    """Start on free ports; again on others when somebody took one in between."""
    for left in reversed(range(START_TRIES_MAX)):
        cluster = _cluster(directory, spec, credentials, count)
        try:
            await cluster.start()
        except (PortInUseError, ServerDidNotStartError):
            await cluster.kill()
            if not left:
                raise
        else:
            return cluster
    raise AssertionError("the last try returns or raises")


def _cluster(directory: Path, spec: ServerSpec, credentials: Credentials, count: int) -> RunningCluster:
    named = os.environ.get("FLOTILLA_NATS_SERVER")
    ports = free_ports(2 * count)
    routes = tuple(f"nats-route://127.0.0.1:{port}" for port in ports[count:])
    nodes: list[ClusterNode] = []
    for index in range(count):
        name = f"nats-{index}"
        its_spec = msgspec.structs.replace(
            spec,
            server_name=name,
            port=ports[index],
            cluster=ClusterSpec(
                name="flotilla", routes=routes, listen_host="127.0.0.1", listen_port=ports[count + index]
            ),
        )
        server = EmbeddedServer(directory / name, its_spec, binary=Path(named) if named else None)
        nodes.append(ClusterNode(name, server, credentials))
    return RunningCluster(nodes)


def _has_leader(info: dict[str, Any]) -> bool:
    return bool(info["cluster"].get("leader"))
