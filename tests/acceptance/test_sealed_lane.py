"""The sealed lane of a fleet of real processes: what is asked there stays in the local zone, and in the lane."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio

from flotilla.contracts import subjects
from flotilla.testkit.fleet import RunningFleet, running_fleet
from flotilla.testkit.plain_client import PlainClient, eventually, new_task

pytestmark = pytest.mark.asyncio(loop_scope="module")

PATIENCE_S: Final = 60.0
CANARY: Final = "canary-8391"
DOCUMENT: Final = {"document": f"An invoice of {CANARY}.", "labels": ["invoice", "letter"]}
PUBLIC: Final = {"Flotilla-Data-Class": "public"}
TO_THE_CLOUD: Final = """
[default]
strategy = "failover"
routes = [{ pool = "cloud" }, { pool = "local" }]
"""
FIXED: Final = """
name = "fixed"
[input]
type = "object"
[steps.sort]
capability = "classify"
input = { document = "A text of the file, which is public.", labels = ["invoice", "letter"] }
[output]
label = "${steps.sort.label}"
"""
REGULATED: Final = "acme"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fleet(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningFleet]:
    """
    Both lanes under a policy that prefers the cloud, and a regulated tenant beside an ordinary one.
    """
    folder = tmp_path_factory.mktemp("lanes")
    policy = folder / "policy.toml"
    policy.write_text(TO_THE_CLOUD)
    (folder / "capabilities").mkdir()
    (folder / "capabilities" / "fixed.toml").write_text(FIXED)
    async with running_fleet(
        folder,
        local=1,
        cloud=1,
        scopes=("default", REGULATED),
        sealed=True,
        sealed_scopes=(REGULATED,),
        env={
            "FLOTILLA_POLICY_FILE": str(policy),
            "FLOTILLA_LOG_LEVEL": "debug",
            "FLOTILLA_CAPABILITY_FILES": str(folder / "capabilities"),
        },
        worker_env={"FLOTILLA_LOG_LEVEL": "debug"},
    ) as fleet:
        regulated = await fleet.client(REGULATED)

        async def local_is_seen() -> bool:
            answer = await regulated.api("replicas")
            return {card["replica"] for card in answer.get("replicas", ())} == {"local-w1"}

        await eventually(local_is_seen, timeout_s=PATIENCE_S)
        yield fleet


async def at(client: PlainClient, capability: str, headers: dict[str, str]) -> tuple[str, str]:
    """The pools that served an asked and a submitted task."""
    answer = await client.ask(capability, DOCUMENT, headers=headers, timeout_s=PATIENCE_S)
    task = new_task()
    async with client.hearing("results.>") as results:
        ack = await client.submit(capability, DOCUMENT, headers=headers, task=task)
        assert "error" not in ack, ack
        result = await results.result(task, PATIENCE_S)
    assert "ok" == answer.result["status"] == result["status"], (answer.result, result)
    return answer.result["pool"], result["pool"]


async def test_steps_of_pipelines_are_restricted_in_the_lane_whatever_they_are_made_from(fleet: RunningFleet):
    """
    The same step is public in the ordinary lane, and goes to the cloud.
    """
    asked = [await (await fleet.client(scope)).ask("fixed", {}, headers=PUBLIC) for scope in ("default", REGULATED)]

    assert [("public", "cloud"), ("restricted", "local")] == [
        (answer.result["steps"][0]["data_class"], answer.result["steps"][0]["pool"]) for answer in asked
    ]


async def test_a_regulated_tenant_needs_no_other_client(fleet: RunningFleet):
    """
    It asks and submits as everybody does, and whatever class it claims is served at home; the ordinary goes to the cloud.
    """
    assert ("local", "local") == await at(await fleet.client(REGULATED), "classify", PUBLIC)
    assert ("cloud", "cloud") == await at(await fleet.client(), "classify", PUBLIC)


async def test_any_tenant_may_seal_a_task(fleet: RunningFleet):
    """
    By the word before the subject: asked, submitted, and its result and status asked for in the same way.
    """
    client = await fleet.client()
    task = new_task()
    async with client.hearing("sealed.results.>") as sealed, client.hearing("results.>") as ordinary:
        body, headers = json.dumps(DOCUMENT).encode(), {**PUBLIC, "Nats-Msg-Id": task}
        ack = await client.nc.request("sealed.tasks.classify", body, timeout=PATIENCE_S, headers=headers)
        assert "TASKS_default" == json.loads(ack.data)["stream"]
        await sealed.until(lambda heard: heard.messages, PATIENCE_S)
        result = sealed.bodies()[0]
        asked = await client.nc.request("sealed.ask.classify", body, timeout=PATIENCE_S, headers=PUBLIC)
        status = await client.nc.request("sealed.api.status", json.dumps({"task": task}).encode(), timeout=PATIENCE_S)
        unknown = await client.api("status", {"task": task})

    assert (task, "ok", "local") == (result["task"], result["status"], result["pool"])
    assert "local" == json.loads(asked.data)["pool"]
    assert "ok" == json.loads(status.data)["state"]
    assert "ok" != unknown.get("state")
    assert not ordinary.about(task)


async def test_the_lane_knows_no_cloud_replica(fleet: RunningFleet):
    """
    Also where the policy prefers it: the answer to where a task would go names the local pool alone.
    """
    client = await fleet.client(REGULATED)
    explained = await client.api("explain", {"capability": "classify", "data_class": "public"})

    assert ["local"] == [route["pool"] for route in explained["routes"]], explained
    assert "restricted" == explained["data_class"]


async def test_a_dead_task_stays_in_the_lane_with_its_body_and_is_retried_there(fleet: RunningFleet):
    """
    Of a failed `redact` too, whose body no other dead letter keeps.
    """
    client = await fleet.client(REGULATED)
    task = new_task()
    body = {"document": f"To {CANARY}"}
    await client.submit("redact", body, task=task, headers={"Flotilla-Deadline-Ms": "300"})

    record = await client.dead_record(task)
    async with client.hearing("results.redact.>") as results:
        retried = await client.api("dead", {"verb": "retry", "task": task})
        result = await results.result(retried["retried_as"], PATIENCE_S)

    assert body == json.loads(base64.b64decode(record["body"]))
    assert "restricted" == record["data_class"]
    assert "error" in result
    admin = await fleet.admin()
    for stream in (
        subjects.tasks_stream(REGULATED),
        subjects.dead_stream(REGULATED),
        subjects.results_stream(REGULATED),
    ):
        assert 0 == await admin.messages_in(stream)


async def test_the_admin_and_the_logs_of_the_others_hear_nothing_of_it(fleet: RunningFleet):
    """
    Not a subject of the fleet's account carries a sealed document; what is ordinary is heard there.
    """
    admin, regulated, ordinary = await fleet.admin(), await fleet.client(REGULATED), await fleet.client()
    async with admin.hearing(">") as heard:
        await at(regulated, "classify", PUBLIC)
        await at(ordinary, "classify", PUBLIC)

        async def ordinary_is_heard() -> bool:
            return any(subject.startswith("scope.default.tasks.") for subject in heard.subjects)

        await eventually(ordinary_is_heard, timeout_s=PATIENCE_S)
    assert not [subject for subject in heard.subjects if f".{REGULATED}." in subject]
    assert not [subject for subject in heard.subjects if subject.startswith("_INBOX.sealed-attempts.")]
    logs: list[Path] = [process.log for process in fleet.processes]
    for log in logs:
        assert CANARY not in await asyncio.to_thread(log.read_text), log.name


async def test_status_of_the_fleet_names_both_lanes(fleet: RunningFleet):
    """
    Discovery, which is all that leaves the lane's account towards the fleet's.
    """
    admin = await fleet.admin()
    found: set[str] = set()
    inbox = admin.nc.new_inbox()

    async def on_info(message: Any) -> None:
        if message.data:
            found.add(json.loads(message.data).get("metadata", {}).get("lane", ""))

    await admin.nc.subscribe(inbox, cb=on_info)  # pyright: ignore[reportUnknownMemberType]
    await admin.nc.publish("$SRV.PING", b"", inbox)

    async def both() -> bool:
        return {"ordinary", "sealed"} <= found

    await eventually(both, timeout_s=PATIENCE_S)
