"""A gate of the policy that becomes stricter while requests wait: what was decided on the terms of before opens nothing."""

import json
from typing import Any, Final

from flotilla.testkit.nats_server import RunningServer
from flotilla.testkit.orchestrator_here import RunningOrchestrator, running_orchestrator, until
from flotilla.testkit.plain_client import Json, PlainClient, connect_plainly, eventually, new_task
from flotilla.testkit.scripted_worker import finished, scripted_worker

BEFORE: Final = "[capabilities.summarize]\napproval = { four_eyes = false }\n"
STRICTER: Final = BEFORE.replace("false", "true")


def _says(request: Json) -> list[Any]:
    return [{"type": "accepted"}, finished({"summary": f"<{request['input']['document']}>"})]


async def _in_force(fleet: RunningOrchestrator, policy: str) -> None:
    """Set a policy, and return when it is followed."""
    query = json.dumps({"verb": "set", "toml": policy}).encode()
    await fleet.admin.nc.request("scope.default.api.policy", query, timeout=60)

    async def followed() -> bool:
        explained = await fleet.client.api("explain", {"capability": "summarize"})
        return ("true" in policy) in [gate.get("four_eyes", True) for gate in explained.get("approval", ())]

    await eventually(followed)


async def _waiting(fleet: RunningOrchestrator, approver: PlainClient, task: str) -> Json:
    """The request of a task, once it waits and the task is suspended."""
    found: list[Json] = []

    async def suspended() -> bool:
        answer = await approver.api("approvals", {"limit": 1000})
        found[:] = [each for each in answer["approvals"] if each["task"] == task]
        return bool(found and await fleet.admin.messages_in("SUSPENDED_default", f"suspended.default.wait.{task}"))

    await eventually(suspended)
    return found[0]


async def test_a_grant_on_the_terms_of_before_opens_no_gate_that_is_stricter(nats_server: RunningServer):
    """
    One that is asked for on the new terms does, and so does one that was asked for on stricter ones.
    """
    role, approves = nats_server.worker("local", "local"), nats_server.approver()
    member = await connect_plainly(nats_server.url, nkeys_seed=str(role.creds), inbox_prefix=role.inbox_prefix)
    approver = await connect_plainly(
        nats_server.url, nkeys_seed=str(approves.creds), inbox_prefix=approves.inbox_prefix
    )
    async with (
        running_orchestrator(nats_server) as fleet,
        scripted_worker(member, _says, zone="local", pool="local", replica="w1") as worker,
    ):
        await until(lambda: "summarize" in fleet.fleet.capabilities())
        early, late = new_task("early"), new_task("late")
        ends: list[Json] = []
        async with fleet.client.hearing("results.>") as results:
            for task, asked, decided in ((early, BEFORE, STRICTER), (late, STRICTER, BEFORE)):
                await _in_force(fleet, asked)
                await fleet.client.submit("summarize", {"document": task}, task=task)
                request = await _waiting(fleet, approver, task)
                await _in_force(fleet, decided)
                answer = {"id": request["id"], "digest": request["digest"], "decision": "grant", "by": "bob"}
                await approver.api("decide", answer)
                ends.append(await results.result(task))

    assert "its gate has become stricter" in ends[0]["error"]["message"], ends
    assert {"summary": f"<{late}>"} == ends[1]["output"]
    assert [late] == [request["input"]["document"] for request in worker.requests]
