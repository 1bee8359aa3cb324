"""nats-server keeps no megabytes of ids of tasks that were refused: a tenant cannot fill its memory with them."""

import asyncio
import json
from typing import Any

import pytest

from flotilla.contracts.headers import TASK_ID
from flotilla.contracts.results import Result
from flotilla.provisioning.stream_config import NS_PER_S
from flotilla.provisioning.topology import DUPLICATE_WINDOW_S
from flotilla.testkit.nats_server import RunningServer
from flotilla.testkit.orchestrator_here import COUNTERSIGN, DOCUMENT, SteeredExecutor, running_orchestrator, signed
from flotilla.testkit.plain_client import PlainClient, connect_plainly
from orchestrator.state.attempt import OnPiece
from orchestrator.state.tasks import Task
from orchestrator.ways_in import refused_ids

ID_LENGTH = 60_000
"""The server takes 64 KiB of headers."""
REFUSED = 20


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The bound is made small instead of the flood long: half of it is too much.
    """
    monkeypatch.setattr(refused_ids, "REFUSED_BYTES_MAX", REFUSED // 2 * ID_LENGTH)


async def sign(task: Task, _on_piece: OnPiece | None) -> Result:
    """At once."""
    return signed(task)


async def publish(client: PlainClient, capability: str, task_id: str) -> Any:
    """What the stream acknowledges."""
    body = json.dumps(DOCUMENT).encode()
    acknowledged = await client.nc.request(f"tasks.{capability}", body, headers={TASK_ID: task_id}, timeout=60)
    return json.loads(acknowledged.data)


async def flood(server: RunningServer, capability: str) -> list[str]:
    """Have more than the bound refused; the ids, which the server knows as long as no orchestrator has it forget them."""
    ids = [f"{number:05d}{'x' * ID_LENGTH}" for number in range(REFUSED)]
    executor = SteeredExecutor(sign, capacity=4)
    async with running_orchestrator(server, executor.of) as here:
        await asyncio.gather(*(publish(here.client, capability, task_id) for task_id in ids))
        await here.admin.until_empty("TASKS_default")
        # It ends what it has begun before it leaves.
    assert executor.ran == []
    return ids


async def window_s(server: RunningServer) -> float:
    """The task stream's."""
    role = server.admin()
    admin = await connect_plainly(server.url, nkeys_seed=str(role.creds), inbox_prefix=role.inbox_prefix)
    try:
        answer = await admin.stream("STREAM.INFO", "TASKS_default")
        return answer["config"]["duplicate_window"] / NS_PER_S
    finally:
        await admin.nc.close()


async def test_the_server_forgets_long_ids_of_tasks_that_were_refused(nats_server: RunningServer):
    """
    And knows a repeated id for as long as before afterwards.
    """
    ids = await flood(nats_server, COUNTERSIGN)

    assert DUPLICATE_WINDOW_S == await window_s(nats_server)
    client = await connect_plainly(nats_server.url)
    try:
        again = [await publish(client, COUNTERSIGN, task_id) for task_id in (ids[0], "mine", "mine")]
    finally:
        await client.nc.close()
    assert [None, None, True] == [acknowledged.get("duplicate") for acknowledged in again]


async def test_the_server_forgets_long_ids_of_tasks_that_nobody_serves(nats_server: RunningServer):
    """
    The sweep ends these, not a consumer.
    """
    ids = await flood(nats_server, "unheard-of")

    client = await connect_plainly(nats_server.url)
    try:
        assert (await publish(client, "unheard-of", ids[0])).get("duplicate") is None
    finally:
        await client.nc.close()
