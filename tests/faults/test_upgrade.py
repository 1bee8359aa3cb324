"""A fleet that starts on what the version before has left: its callers find everything where they expect it."""

import asyncio
from pathlib import Path

from flotilla.client import Fleet
from flotilla.contracts.subjects import SHARED_BEFORE
from flotilla.fabric.connection import connected
from flotilla.fabric.inbox import Requests
from flotilla.testkit.fleet import running_fleet
from flotilla.testkit.plain_client import BODIES, Json, PlainClient, new_task
from flotilla.testkit.stores_before import leave_stores, note_before

SCOPES = ("default", "acme")
TOML = '[scopes.acme]\ndata_class = "restricted"\n'


async def test_everything_is_there_after_an_upgrade(tmp_path: Path):
    """
    Three orchestrators start at once: the dead, the blackboard, results, and tasks that waited, each for its scope.
    """
    waiting = new_task()
    async with running_fleet(tmp_path, orchestrators=0, local=0, scopes=SCOPES) as fleet:
        last_revision = await leave_stores(fleet.server.admin(), SCOPES, waiting=waiting)
        client, acme, admin = await fleet.client(), await fleet.client("acme"), await fleet.admin()
        async with client.hearing("results.>") as results:
            await asyncio.gather(*(fleet.start_orchestrator() for _ in range(3)))
            await fleet.start_worker()
            served = await results.result(waiting)
        streams = {stream.config.name for stream in await admin.nc.jetstream().streams_info()}  # pyright: ignore[reportUnknownMemberType]
        found = [await _found(each) for each in (client, acme)]
        policy = await client.api("policy", {"verb": "get"})
        explained = await acme.api("explain", {"capability": "classify"})
        retried = await client.api("dead", {"verb": "retry", "task": "bad-0"})
        async with Fleet.connect(fleet.url) as api:
            updated = await api.blackboard.merge("plan.state", lambda state: {**state, "step": state["step"] + 1})
        stale = await client.api(
            "blackboard", {"verb": "update", "key": "plan.state", "value": 1, "revision": last_revision}
        )
        answer = await client.ask("classify", BODIES["classify"])

    assert served["status"] == "ok"
    assert not streams & set(SHARED_BEFORE)
    for scope, (dead, entry, history, gone, result) in zip(SCOPES, found, strict=True):
        assert [record["task"] for record in dead["dead"]] == ["bad-2", "bad-1", "bad-0"]
        assert (entry["value"], entry["author"]) == ({"step": 11, "of": scope}, "before")
        assert [each["value"]["step"] for each in history["entries"]] == list(range(2, 12))
        assert gone["error"]["kind"] == "not_found"
        assert result["output"] == {"label": "a"}
    assert (policy["toml"], policy["revision"]) == (TOML, 1)
    assert explained["data_class"] == "restricted"
    assert retried["retried_as"].startswith("bad-0")
    assert updated.value == {"step": 12, "of": "default"}
    assert updated.revision > last_revision
    assert stale["error"]["kind"] == "conflict"
    assert answer.kind == ""


async def _found(client: PlainClient) -> tuple[Json, ...]:
    return (
        await client.api("dead", {"verb": "list"}),
        await client.api("blackboard", {"verb": "get", "key": "plan.state"}),
        await client.api("blackboard", {"verb": "history", "key": "plan.state"}),
        await client.api("blackboard", {"verb": "get", "key": "gone"}),
        await client.api("result", {"task": "done-1"}),
    )


async def test_orchestrators_that_are_killed_while_they_upgrade_leave_the_rest_to_the_next(tmp_path: Path):
    """
    With SIGKILL, later and later; nothing is lost and nothing doubled.
    """
    notes = 400
    async with running_fleet(tmp_path, orchestrators=0, local=0, scopes=SCOPES) as fleet:
        await leave_stores(fleet.server.admin(), SCOPES, waiting=new_task())
        async with connected(fleet.server.admin(), name="before") as connection:
            admin = Requests(connection)
            await admin.start()
            for number in range(notes):
                await note_before(admin, "acme", f"note.{number}", number)
            await admin.stop()
        operator = await fleet.admin()
        for part in range(1, 5):
            process = await fleet.start_orchestrator(wait=False)
            while await _copied(operator) < notes * part // 6 and process.is_running:
                await asyncio.sleep(0.005)
            process.kill()
            await process.wait()
        await fleet.start_orchestrator()
        async with Fleet.connect(fleet.url, creds=fleet.server.tenant("acme").creds) as acme:
            found = await acme.blackboard.list("note.*")
        kept = await operator.messages_in("KV_blackboard_acme")

    assert {entry.key: entry.value for entry in found} == {f"note.{number}": number for number in range(notes)}
    assert kept == notes + 12


async def _copied(operator: PlainClient) -> int:
    answer = await operator.stream("STREAM.INFO", "KV_blackboard_acme")
    return answer.get("state", {}).get("messages", 0)


async def test_a_blackboard_that_does_not_fit_is_said_in_one_line(tmp_path: Path):
    """
    With what to set; and the fleet that left it can go on.
    """
    async with running_fleet(tmp_path, orchestrators=0, local=0, scopes=SCOPES) as fleet:
        await leave_stores(fleet.server.admin(), SCOPES, waiting=new_task())
        process = await fleet.start_orchestrator(env={"FLOTILLA_BLACKBOARD_VALUES_MAX": "5"}, wait=False)
        code = await asyncio.wait_for(process.wait(), 60)
        last = process.log_text().strip().splitlines()[-1]

    assert code != 0
    assert "FLOTILLA_BLACKBOARD_VALUES_MAX" in last
