"""Streams and buckets that are deleted, or that a server comes back without, are made again while the fleet runs."""

import json
import re
import shutil
from pathlib import Path

import nats.errors
import pytest

from flotilla.testkit.fleet import RunningFleet, running_fleet
from flotilla.testkit.plain_client import BODIES, Json, PlainClient, eventually
from flotilla.testkit.probe_client import probe_of

CLASSIFY = BODIES["classify"]
PROBED = {"FLOTILLA_HTTP_PORT": "0", "FLOTILLA_HTTP_HOST": "127.0.0.1"}
POLICY = '# One.\n[default]\nroutes = [{ pool = "local" }]\n'
LATER_POLICY = '# Two.\n[default]\nroutes = [{ pool = "local" }]\n'


async def test_what_is_deleted_by_hand_is_made_again(tmp_path: Path):
    """
    All of it at once, with two orchestrators: tasks are taken again, the policy set by hand is in force, also for one
    that starts, whatever a policy file says; and it is told loudly.
    """
    file = tmp_path / "policy.toml"
    file.write_text(POLICY)
    env = {**PROBED, "FLOTILLA_POLICY_FILE": str(file)}
    async with running_fleet(tmp_path / "fleet", orchestrators=2, env=env) as fleet:
        client, admin = await fleet.client(), await fleet.admin()
        await _set_policy(fleet, client, LATER_POLICY)
        await client.submit("classify", CLASSIFY, task="before")
        await client.until_status("before", "ok")

        for stream in await _streams(admin):
            await admin.stream("STREAM.DELETE", stream)

        await _serves(client, "after")
        await eventually(lambda: _in_force(client, LATER_POLICY))
        for orchestrator in fleet.orchestrators:
            await probe_of(orchestrator).until_status("/readyz", 200)
        started = await fleet.start_orchestrator()
        assert await _in_force(client, LATER_POLICY)

    said = "".join(each.log_text() for each in fleet.orchestrators)
    assert '"stores_missing"' in said
    assert '"policy_bucket_rewritten"' in said
    assert '"policy_file_unchanged"' in started.log_text()


async def test_a_server_that_comes_back_empty_is_given_its_stores(tmp_path: Path):
    """
    As after a lost volume: the orchestrators that run make everything again, and the policy is what it was.
    """
    async with running_fleet(tmp_path, orchestrators=2, env=PROBED) as fleet:
        await _set_policy(fleet, await fleet.client(), POLICY)
        await fleet.server.kill()
        shutil.rmtree(fleet.directory / "nats" / "jetstream")
        await fleet.server.start()
        client = await fleet.client()

        await _serves(client, "after")
        await eventually(lambda: _in_force(client, POLICY))
        await fleet.until_replicas({worker.name for worker in fleet.workers})


async def test_while_a_store_cannot_be_made_again_nobody_is_ready(tmp_path: Path):
    """
    A stream of somebody else's holds the subjects: readiness is false until it is gone, and then the store is made.
    """
    async with running_fleet(tmp_path, env=PROBED) as fleet:
        client, admin = await fleet.client(), await fleet.admin()
        probe = probe_of(fleet.orchestrators[0])
        config = (await admin.stream("STREAM.INFO", "TASKS_default"))["config"]
        await admin.stream("STREAM.DELETE", "TASKS_default")
        squatter: Json = {"name": "squatter", "subjects": config["subjects"], "storage": "memory", "max_bytes": 100_000}
        await admin.stream("STREAM.CREATE", "squatter", squatter)
        await probe.until_status("/readyz", 503)
        assert await probe.status("/livez") == 200

        await admin.stream("STREAM.DELETE", "squatter")

        await probe.until_status("/readyz", 200)
        await _serves(client, "after")
        assert (await probe.scrape()).value("flotilla_stores_recreated_total") == 1


@pytest.mark.parametrize("running", [True, False])
async def test_a_task_without_an_id_never_gets_the_result_of_an_earlier_one(tmp_path: Path, running: bool):  # noqa: FBT001
    """
    Its id is its place in the stream, which begins anew when the stream was lost and the results were not.
    """
    async with running_fleet(tmp_path) as fleet:
        client, admin = await fleet.client(), await fleet.admin()
        async with client.hearing("results.>") as results:
            first = await client.submit("classify", {"text": "early", "labels": ["a", "b"]})
            await results.until(lambda heard: len(heard.messages) == 1)
        if not running:
            fleet.orchestrators[0].terminate()
            await fleet.orchestrators[0].wait()
        await admin.stream("STREAM.DELETE", "TASKS_default")
        if not running:
            await fleet.start_orchestrator()

        async with client.hearing("results.>") as results:
            later: list[Json] = []

            async def taken() -> bool:
                try:
                    later.append(await client.submit("summarize", BODIES["summarize"], timeout_s=5))
                except nats.errors.Error:
                    return False
                return "error" not in later[-1]

            await eventually(taken)
            await results.until(lambda heard: len(heard.messages) == 1)

    assert later[-1]["seq"] > first["seq"] + 1000
    assert "summary" in results.bodies()[0]["output"]


async def _streams(admin: PlainClient) -> list[str]:
    return json.loads((await admin.nc.request("$JS.API.STREAM.NAMES")).data)["streams"]


async def _serves(client: PlainClient, task: str) -> None:
    """Return when a durable task is accepted and done."""

    async def accepted() -> bool:
        try:
            return "error" not in await client.submit("classify", CLASSIFY, task=task, timeout_s=5)
        except nats.errors.Error:
            return False

    await eventually(accepted)
    await client.until_status(task, "ok")


async def _set_policy(fleet: RunningFleet, client: PlainClient, toml: str) -> None:
    """Return when every orchestrator knows it: any of them may be the one that writes it back."""
    answer = await client.api("policy", {"verb": "set", "toml": toml})
    known = re.compile(rf'"revision": {answer["revision"]}\b.*"policy_in_force"')

    async def known_to_all() -> bool:
        return all(known.search(each.log_text()) for each in fleet.orchestrators)

    await eventually(known_to_all)


async def _in_force(client: PlainClient, toml: str) -> bool:
    try:
        answer = await client.api("policy", {}, timeout_s=5)
    except (TimeoutError, nats.errors.Error):
        return False
    return answer.get("toml") == toml
