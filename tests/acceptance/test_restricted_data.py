"""Restricted data stays at home: routing refuses, the transport carries nothing, and the cloud worker refuses too."""

import json
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from flotilla.testkit.fleet import RunningFleet, running_fleet
from flotilla.testkit.plain_client import BODIES, new_task

pytestmark = pytest.mark.asyncio(loop_scope="module")

CLASSIFY = BODIES["classify"]
RESTRICTED = {"Flotilla-Data-Class": "restricted"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cloud_only(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningFleet]:
    """
    A fleet whose only worker is in the cloud.
    """
    async with running_fleet(tmp_path_factory.mktemp("cloud"), local=0, cloud=1) as fleet:
        yield fleet


async def test_restricted_data_gets_no_route_when_only_the_cloud_is_there(cloud_only: RunningFleet):
    """
    A typed refusal that names the reason, durable or not; nothing goes out on any cloud lane.
    """
    client, admin = await cloud_only.client(), await cloud_only.admin()
    task = new_task()
    async with admin.hearing("infer.cloud.>") as leaked, client.hearing("results.>") as results:
        asked = [
            await client.ask("classify", CLASSIFY, headers={**RESTRICTED, **more})
            for more in (
                {},
                {"Flotilla-Route": "cloud"},
                {"Flotilla-Route": "cloud/noop-1"},
                {"Flotilla-Stream": "true"},
            )
        ]
        await client.submit("classify", CLASSIFY, task=task, headers=RESTRICTED)
        committed = await results.result(task)
        before = len((await leaked.caught_up()).messages)
        allowed = await client.ask("classify", CLASSIFY)
        await leaked.until(lambda heard: len(heard.messages) == before + 1)

    assert before == 0
    assert {answer.kind for answer in asked} == {"no_route"}
    assert "restricted data never enters the cloud zone" in asked[0].result["error"]["message"]
    assert committed["error"]["kind"] == "no_route"
    assert allowed.result["zone"] == "cloud"


async def test_a_dead_restricted_task_is_kept_as_restricted(cloud_only: RunningFleet):
    """
    The record says what the original was, so that nobody shows it to the wrong eyes; a retry is still refused.
    """
    client = await cloud_only.client()
    task = new_task()
    async with client.hearing("results.>") as results:
        await client.submit("classify", CLASSIFY, task=task, headers=RESTRICTED)
        await results.result(task)
        record = await client.dead_record(task)
        retried = await client.api("dead", {"verb": "retry", "task": task})
        again = await results.result(retried["retried_as"])

    assert record["data_class"] == "restricted"
    assert again["error"]["kind"] == "no_route"


async def test_what_could_not_be_read_counts_as_restricted(cloud_only: RunningFleet):
    """
    A misspelt privacy option fails the task, and its record is treated with the most care.
    """
    client = await cloud_only.client()
    task = new_task()
    async with client.hearing("results.>") as results:
        await client.submit("classify", CLASSIFY, task=task, headers={"Flotilla-Data-Klass": "restricted"})
        result = await results.result(task)
        record = await client.dead_record(task)

    assert result["error"]["kind"] == "bad_request"
    assert record["data_class"] == "restricted"


@pytest.mark.parametrize("data_class", ["restricted", "internal", "public"])
async def test_a_cloud_worker_refuses_what_is_not_releasable(cloud_only: RunningFleet, data_class: str):
    """
    Whatever routing did: asked directly, it takes only what is marked as allowed to leave.
    """
    admin = await cloud_only.admin()
    request = {
        "type": "infer",
        "task": "t",
        "attempt": f"nobody.{data_class}",
        "capability": "classify",
        "model": "noop-1",
        "input": CLASSIFY,
        "deadline_unix_ms": int(time.time() * 1000) + 10_000,
        "data_class": data_class,
    }
    # A worker's credentials allow replies to attempts alone, so this is where an orchestrator would listen.
    inbox = f"_INBOX.attempts.cloud.cloud.nobody.{data_class}"
    async with admin.hearing(inbox) as replies:
        await admin.nc.publish("infer.cloud.cloud.classify", json.dumps(request).encode(), reply=inbox)
        await replies.until(lambda heard: heard.messages)

    reply = replies.bodies()[0]
    if data_class == "restricted":
        assert (reply["type"], reply["kind"]) == ("failed", "not_releasable")
    else:
        assert reply["type"] == "finished"


async def test_with_a_local_worker_restricted_data_is_served_there(cloud_only: RunningFleet):
    """
    The refusal is about the cloud, not about the data.
    """
    client, admin = await cloud_only.client(), await cloud_only.admin()
    worker = await cloud_only.start_worker("local")
    async with admin.hearing("infer.cloud.>") as leaked:
        answers = [await client.ask("classify", CLASSIFY, headers=RESTRICTED) for _ in range(10)]
        await client.ask("classify", CLASSIFY, headers={"Flotilla-Route": "cloud"})
        await leaked.until(lambda heard: len(heard.messages) == 1)
    worker.terminate()
    await worker.wait()

    assert {answer.result["zone"] for answer in answers} == {"local"}
