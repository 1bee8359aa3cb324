"""Three real servers with the rendered configuration, three orchestrators that start at once, and the loss of a node."""

import asyncio
import contextlib
import re
import signal
import ssl
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, cast

import nats
import nats.errors
import pytest
from nats.aio.client import Client

from flotilla.provisioning import kubernetes
from flotilla.provisioning.embedded_server import find_nats_server
from flotilla.provisioning.kubernetes import KubernetesSpec
from flotilla.testkit.fleet_process import clean_environ
from flotilla.testkit.manifests import K8S, documents
from flotilla.testkit.plain_client import PlainClient, settled
from flotilla.testkit.ports import free_ports

NODES = 3
READY_TIMEOUT_S = 60.0
DOCUMENT = {"document": "The printer on the third floor prints blank pages.", "labels": ["printer", "network"]}


class Cluster:
    """
    The nodes, started as the pods would be.

    Attributes:
        secrets: The folder that `make k8s-secrets` writes.
    """

    def __init__(self, place: Path, certificates: Path) -> None:
        self.secrets = place / "secrets"
        self.processes: dict[int, Process] = {}
        self._place = place
        self._certificates = certificates
        ports = free_ports(3 * NODES)
        self._ports, self._routes, self._monitors = ports[:NODES], ports[NODES : 2 * NODES], ports[2 * NODES :]
        self.render("default")

    @property
    def url(self) -> str:
        """Every node's."""
        return ",".join(f"tls://127.0.0.1:{port}" for port in self._ports)

    def render(self, *scopes: str) -> None:
        """As the command does for these scopes."""
        kubernetes.write(self.secrets, KubernetesSpec(scopes=scopes, pools=(("local", "embedded"),)), {})

    def mount(self, node: int) -> Path:
        """The file that the pod would mount: other paths and ports, and nothing else changed."""
        [config] = documents((self.secrets / "config-cluster-tls.yaml").read_text())
        text: str = config["data"]["cluster-tls.conf"]
        for before, after in (
            ('"/data"', f'"{self._place}/data-{node}"'),
            ("/etc/nats-tls", str(self._certificates)),
            ('"port": 4222', f'"port": {self._ports[node]}'),
            ("0.0.0.0:8222", f"127.0.0.1:{self._monitors[node]}"),
            ("0.0.0.0:6222", f"127.0.0.1:{self._routes[node]}"),
            ('"0.0.0.0"', '"127.0.0.1"'),
            *((f"nats-{other}.nats-nodes:6222", f"127.0.0.1:{self._routes[other]}") for other in range(NODES)),
        ):
            assert before in text
            text = text.replace(before, after)
        file = self._place / f"node-{node}.conf"
        file.write_text(text)
        return file

    async def start(self, node: int) -> None:
        """As the pod would."""
        file = self.mount(node)
        log = self._place / f"node-{node}.log"
        with log.open("ab") as output:
            self.processes[node] = await asyncio.create_subprocess_exec(
                find_nats_server(),
                "--config",
                file,
                stdin=DEVNULL,
                stdout=output,
                stderr=output,
                env={"POD_NAME": f"nats-{node}"},
            )

    async def healthy(self, node: int) -> None:
        """As the readiness probe of the pod asks."""
        await until_ok(self._monitors[node], "/healthz")

    async def connect(
        self, user: str, prefix: str, on_reconnect: Callable[[], Awaitable[None]] | None = None
    ) -> Client:
        """As one of its users."""
        return await cast("Any", nats).connect(
            self.url.split(","),
            nkeys_seed=str(self.secrets / "seeds" / f"{user}.nk"),
            inbox_prefix=prefix,
            tls=ssl.create_default_context(cafile=str(self._certificates / "ca.crt")),
            max_reconnect_attempts=-1,
            reconnect_time_wait=0.1,
            error_cb=ignore,
            reconnected_cb=on_reconnect,
        )

    def environ(self, user: str, more: Mapping[str, str]) -> dict[str, str]:
        """What the manifests tell a service."""
        return clean_environ(
            {
                "FLOTILLA_NATS_URL": self.url,
                "FLOTILLA_NATS_CREDS": str(self.secrets / "seeds" / f"{user}.nk"),
                "FLOTILLA_NATS_TLS_CA": str(self._certificates / "ca.crt"),
                **more,
            }
        )


async def ignore(error: Exception) -> None:
    """Cut connections are what this is about."""
    del error


async def until_ok(port: int, path: str) -> None:
    """Ask a probe until it says 200."""
    async with asyncio.timeout(READY_TIMEOUT_S):
        while True:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
                status = await reader.readline()
                writer.close()
                if b" 200 " in status:
                    return
            await asyncio.sleep(0.05)


@pytest.fixture
async def cluster(tmp_path: Path, certificates: Path) -> AsyncIterator[Cluster]:
    """
    Three nodes that have found one another.
    """
    made = Cluster(tmp_path, certificates)
    try:
        await asyncio.gather(*(made.start(node) for node in range(NODES)))
        await asyncio.gather(*(made.healthy(node) for node in range(NODES)))
        yield made
    finally:
        for process in made.processes.values():
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


@contextlib.asynccontextmanager
async def service(module: str, environ: dict[str, str], log: Path) -> AsyncGenerator[Process]:
    """A service's process, ready; killed at the end if it still runs."""
    [port] = free_ports(1)
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", module, env={**environ, "FLOTILLA_HTTP_PORT": str(port)}, stdin=DEVNULL, stderr=output
        )
    try:
        ready = asyncio.ensure_future(until_ok(port, "/readyz"))
        ended = asyncio.ensure_future(process.wait())
        await asyncio.wait([ready, ended], return_when=asyncio.FIRST_COMPLETED)
        assert not ended.done(), re.sub(r"\s+", " ", log.read_text())[-2000:]  # noqa: ASYNC240  (the test ends here)
        await ready
        ended.cancel()
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def test_a_fleet_on_three_nodes_survives_the_loss_of_one(cluster: Cluster, tmp_path: Path):
    """
    Over TLS, with everything in three copies, and no orchestrator first: what was accepted before is served after.
    """
    policy = {"FLOTILLA_POLICY_FILE": str(K8S / "base" / "policy" / "policy.toml")}
    orchestrator = cluster.environ("orchestrator", {"FLOTILLA_STREAM_REPLICAS": "3", **policy})
    worker = cluster.environ(
        "local.embedded",
        {"FLOTILLA_ZONE": "local", "FLOTILLA_POOL": "embedded", "FLOTILLA_PROVIDER": "embedded"},
    )
    async with AsyncExitStack() as stack:
        await asyncio.gather(
            *(
                stack.enter_async_context(
                    service("orchestrator", orchestrator, tmp_path / f"orchestrator-{number}.log")
                )
                for number in range(3)
            )
        )
        admin = await cluster.connect("admin", "_INBOX.admin")
        streams = await cast("Any", admin).jetstream().streams_info()
        assert {3} == {stream.config.num_replicas for stream in streams}
        # One policy and one note of its file, whoever was first.
        assert [2] == [stream.state.messages for stream in streams if stream.config.name == "KV_policy"]
        kept = {"TASKS_default", "RESULTS_default", "EVENTS_default", "DEAD_default", "KV_presence"}
        assert kept <= {stream.config.name for stream in streams}

        client = PlainClient(await cluster.connect("tenant.default", "_INBOX"))
        early = await client.submit("classify", DOCUMENT)
        assert early["stream"] == "TASKS_default"
        lost = cluster.processes[0]
        lost.kill()
        await lost.wait()

        async with client.hearing("results.>") as results:
            await stack.enter_async_context(service("local_inference", worker, tmp_path / "worker.log"))
            assert "ok" == (await results.result(f"seq-{early['seq']}", READY_TIMEOUT_S))["status"]
        answer = await client.ask("classify", DOCUMENT, timeout_s=READY_TIMEOUT_S)
        assert ("ok", "embedded") == (answer.result["status"], answer.result["provider"])
        await admin.close()
        await client.nc.close()


async def test_lame_duck_mode_by_the_hook_ends_the_node_and_moves_its_clients(cluster: Cluster):
    """
    `nats-server --signal ldm=1` in the pod; the SIGTERM that follows does not cut it short.
    """
    moved = asyncio.Event()

    async def on_reconnect() -> None:
        moved.set()

    client = await cluster.connect("tenant.default", "_INBOX", on_reconnect)
    process = cluster.processes[node_of(client)]

    hook = await asyncio.create_subprocess_exec(find_nats_server(), "--signal", f"ldm={process.pid}")
    assert 0 == await hook.wait()
    process.send_signal(signal.SIGTERM)

    async with asyncio.timeout(READY_TIMEOUT_S):
        await moved.wait()
        assert 0 == await process.wait()
    assert client.is_connected
    await client.close()


async def test_a_reload_lets_a_new_tenant_in_without_a_restart(cluster: Cluster):
    """
    `nats-server --signal reload=1` in each pod, once its volume has the new file; who is connected stays connected.
    """
    lost = asyncio.Event()

    async def on_reconnect() -> None:
        lost.set()

    client = await cluster.connect("tenant.default", "_INBOX", on_reconnect)
    cluster.render("default", "acme")
    for node, process in cluster.processes.items():
        cluster.mount(node)
        hook = await asyncio.create_subprocess_exec(find_nats_server(), "--signal", f"reload={process.pid}")
        assert 0 == await hook.wait()

    async with asyncio.timeout(READY_TIMEOUT_S):
        while True:
            try:
                tenant = await cluster.connect("tenant.acme", "_INBOX")
            except (nats.errors.Error, OSError):
                await asyncio.sleep(0.05)
            else:
                break
    await settled(client)
    assert client.is_connected
    assert not lost.is_set()
    await tenant.close()
    await client.close()


def node_of(client: Client) -> int:
    """The node that it is connected to."""
    name: str = client._server_info["server_name"]  # pyright: ignore[reportPrivateUsage]
    return int(name.removeprefix("nats-"))
