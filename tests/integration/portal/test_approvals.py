"""What waits for a person is told to whoever looks; an approver opens the gate from the portal, and the run goes on."""

from collections.abc import AsyncIterator
from hashlib import sha256
from typing import Any

import pytest
import pytest_asyncio

from flotilla.contracts.results import Event
from flotilla.fabric.connection import connected
from flotilla.fabric.inbox import Requests
from flotilla.testkit.fleet import RunningFleet, running_fleet
from flotilla.testkit.plain_client import BODIES, Json, PlainClient, eventually, new_task
from flotilla.testkit.portal import TOKENS, PortalHere, Stream, start_portal
from portal.live.stalled import STALLED_AFTER_S, Stalled
from portal.live.tasks import SeenTasks

pytestmark = pytest.mark.asyncio(loop_scope="session")

REPLY = """
name = "reply"
[input]
type = "object"
[steps.short]
capability = "summarize"
input = { document = "${input.mail}" }
[steps.answer]
capability = "synthesize"
input = { sources = ["${steps.short.summary}"], instruction = "Answer." }
approval = { group = "desk", expires_s = 600 }
[output]
answer = "${steps.answer.report}"
"""
PERSON = """
[[person]]
name = "Ada"
role = "approver"
token_sha256 = "{digest}"
documents = true
approver_creds = "{creds}"
"""


POLICY = """
format = 1
[default]
routes = [{ pool = "local" }]
[budgets.desk]
usd = 0.0001
per = "month"
mode = "report"
"""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def fleet(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningFleet]:
    """
    One whose pipeline has a gate, and whose worker costs more than its budget.
    """
    folder = tmp_path_factory.mktemp("gated")
    (folder / "capabilities").mkdir()
    (folder / "capabilities" / "reply.toml").write_text(REPLY)
    (folder / "policy.toml").write_text(POLICY)
    env = {
        "FLOTILLA_CAPABILITY_FILES": str(folder / "capabilities"),
        "FLOTILLA_POLICY_FILE": str(folder / "policy.toml"),
    }
    async with running_fleet(
        folder / "fleet", local=1, env=env, worker_env={"FLOTILLA_PRICE_PER_CALL_USD": "0.01"}
    ) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def portal(fleet: RunningFleet) -> PortalHere:
    """
    With an approver.
    """
    people = fleet.directory / "people.toml"
    digest = sha256(TOKENS["approver"].encode()).hexdigest()
    people.write_text(PERSON.format(digest=digest, creds=fleet.server.approver().creds))
    return await start_portal(fleet, people=people)


@pytest_asyncio.fixture(loop_scope="session")
async def caller(fleet: RunningFleet) -> AsyncIterator[PlainClient]:
    """
    A plain client of the default scope.
    """
    yield await fleet.client()
    await fleet.close_clients()


def needs_in(stream: Stream) -> dict[str, dict[str, Any]]:
    """What needs somebody now, by name."""
    return {need["name"]: need for need in (stream.state or {}).get("needs_you", [])}


async def test_a_grant_from_the_portal_lets_the_run_go_on_and_its_name_stands_in_the_audit(
    portal: PortalHere, caller: PlainClient
):
    """
    What is shown is what leaves: the digest goes along with the decision, and without one nothing is decided. That
    something waits is told to who only looks, as is the budget that is spent.
    """
    task = new_task()
    async with (
        caller.hearing("results.>") as results,
        portal.signed_in("approver") as browser,
        portal.browser() as anybody,
        portal.stream(anybody) as stream,
    ):
        await caller.submit("reply", {"mail": "I was charged twice."}, task=task)
        waiting: list[Json] = []

        async def is_listed() -> bool:
            waiting[:] = (await browser.get("/api/approvals")).raise_for_status().json()["approvals"]
            return bool(waiting)

        await eventually(is_listed)
        await stream.until(lambda stream: {"approvals default", "budget desk"} <= needs_in(stream).keys())
        needs = needs_in(stream)
        where = f"/api/approvals/{waiting[0]['id']}"
        shown = (await browser.get(where)).raise_for_status().json()
        blind = await browser.post(where, json={"decision": "grant", "comment": ""})
        stale = await browser.post(where, json={"decision": "grant", "comment": "", "digest": "0" * 64})
        decision = {"decision": "grant", "comment": "no names are left", "digest": shown["digest"]}
        decided = (await browser.post(where, json=decision)).raise_for_status().json()
        result = await results.result(task)
        await stream.until(lambda stream: "approvals default" not in needs_in(stream))

    assert {"instruction": "Answer.", "sources": ["This text was made by the noop engine."]} == shown["payload"]
    assert (400, "bad_request") == (blind.status_code, blind.json()["error"]["kind"])
    assert stale.is_client_error
    assert ("granted", "Ada", "no names are left") == tuple(decided[key] for key in ("status", "decided_by", "comment"))
    assert "ok" == result["status"]
    assert ("1 request waits for an approval for less than a minute", "#/approvals") == (
        needs["approvals default"]["text"],
        needs["approvals default"]["href"],
    )
    assert needs["budget desk"]["text"].startswith("Budget desk is spent: $0.01 of $0.00 in 2")


async def test_a_task_stands_only_while_an_orchestrator_knows_it(fleet: RunningFleet, caller: PlainClient):
    """
    Of one that has ended, and of one that nobody knows, no event may have come: neither is said to stand.
    """
    held, done, lost = new_task("held"), new_task("done"), new_task("lost")
    await caller.submit("reply", {"mail": "I was charged twice."}, task=held)
    await caller.submit("classify", BODIES["classify"], task=done)
    await caller.until_status(done, "ok")
    admin = await fleet.admin()
    # It waits before it is taken as well: here it is to wait at its gate.
    await eventually(lambda: admin.messages_in("SUSPENDED_default", f"suspended.default.wait.{held}"))
    await caller.until_status(held, "waiting")
    tasks = SeenTasks()
    for task in (held, done, lost):
        tasks.take("default", Event(task=task, capability="reply", kind="queued", at_unix_ms=1))
    async with connected(fleet.server.observer(), name="observer") as observer:
        requests = Requests(observer)
        await requests.start()
        stalled = Stalled(requests, tasks)
        await stalled.look()
        await requests.stop()

    assert STALLED_AFTER_S > 0
    assert [held] == [one.task for one in stalled.tasks]
    assert ["waiting", "ok", "unknown"] == [
        getattr(tasks.get("default", one), "state", "") for one in (held, done, lost)
    ]
