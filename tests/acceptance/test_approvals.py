"""A cloud worker with an approver sends nothing on that was not granted, whichever way it came in."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from flotilla.client.fleet import Fleet
from flotilla.contracts.approvals import Grant, payload_digest
from flotilla.contracts.clock import unix_ms
from flotilla.contracts.errors import TaskError
from flotilla.contracts.failures import ErrorKind
from flotilla.fabric.approver_keys import ApproverKey, new_approver_seed
from flotilla.testkit.fleet import RunningFleet, running_fleet
from flotilla.testkit.plain_client import BODIES, PlainClient, new_task

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEY = ApproverKey(new_approver_seed())
CLASSIFY = BODIES["classify"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def guarded(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningFleet]:
    """
    A worker in the cloud that asks for grants to classify, and one at home that asks for none.
    """
    env = {"FLOTILLA_APPROVERS": KEY.public_key, "FLOTILLA_APPROVAL_CAPABILITIES": "classify"}
    async with running_fleet(tmp_path_factory.mktemp("guarded"), local=1) as fleet:
        await fleet.start_worker("cloud", env=env)
        yield fleet


def granted(body: Mapping[str, Any] = CLASSIFY, **claims: Any) -> dict[str, str]:
    """The headers of a task that is to go to the cloud with a grant."""
    grant = Grant(
        scope="default",
        capability="classify",
        data_class="internal",
        zones=["cloud"],
        input_sha256=payload_digest(msgspec.json.encode(body)),
        expires_unix_ms=unix_ms() + 3_600_000,
        nonce="0" * 32,
        approver=KEY.public_key,
    )
    return {"Flotilla-Route": "cloud", "Flotilla-Approval": KEY.sign(msgspec.structs.replace(grant, **claims))}


async def test_what_was_granted_is_served_asked_or_durable(guarded: RunningFleet):
    """
    And a task of another capability needs no grant there.
    """
    client = await guarded.client()
    task = new_task()
    async with client.hearing("results.>") as results:
        asked = await client.ask("classify", CLASSIFY, headers=granted())
        await client.submit("classify", CLASSIFY, task=task, headers=granted())
        committed = await results.result(task)
    free = await client.ask("summarize", BODIES["summarize"], headers={"Flotilla-Route": "cloud"})

    assert (asked.kind, asked.result["zone"]) == ("", "cloud")
    assert (committed["status"], committed["zone"]) == ("ok", "cloud")
    assert (free.kind, free.result["zone"]) == ("", "cloud")


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        pytest.param({"Flotilla-Route": "cloud"}, "there is none", id="none"),
        pytest.param(granted({**CLASSIFY, "document": "shown"}), "for another input", id="edited"),
        pytest.param(granted(scope="acme"), "for the scope acme", id="another scope"),
        pytest.param(granted(zones=["local"]), "does not allow the cloud zone", id="another zone"),
        pytest.param(granted(capability="summarize"), "for the capability summarize", id="another capability"),
        pytest.param(granted(expires_unix_ms=1), "it has expired", id="expired"),
        pytest.param({**granted(), "Flotilla-Data-Class": "public"}, "for the data class internal", id="class"),
        pytest.param({**granted(), "Flotilla-Approval": "nonsense"}, "cannot be read", id="forged"),
    ],
)
async def test_what_was_not_granted_is_refused_and_not_tried_elsewhere(
    guarded: RunningFleet, headers: dict[str, str], why: str
):
    """
    With one attempt, which says why.
    """
    client = await guarded.client()

    answer = await client.ask("classify", CLASSIFY, headers=headers)

    assert answer.kind == "approval_required"
    assert why in answer.result["error"]["message"]
    assert [attempt["outcome"] for attempt in answer.result["attempts"]] == ["not_approved"]


async def test_a_durable_task_without_a_grant_dies_and_lives_with_one(guarded: RunningFleet):
    """
    Nothing waits for a grant: it is submitted again with one.
    """
    client: PlainClient = await guarded.client()
    refused, served = new_task(), new_task()
    async with client.hearing("results.>") as results:
        await client.submit("classify", CLASSIFY, task=refused, headers={"Flotilla-Route": "cloud"})
        first = await results.result(refused)
        await client.submit("classify", CLASSIFY, task=served, headers=granted())
        second = await results.result(served)

    assert first["error"]["kind"] == "approval_required"
    assert first["error"]["retryable"] is False
    assert second["status"] == "ok"


async def test_the_library_sends_a_grant_along(guarded: RunningFleet):
    """
    The keys of its input stand in another order than those that were signed.
    """
    body = dict(reversed(CLASSIFY.items()))
    async with Fleet.connect(guarded.server.url) as fleet:
        answer = await fleet.ask("classify", body, route="cloud", approval=granted()["Flotilla-Approval"])
        with pytest.raises(TaskError) as refused:
            await fleet.ask("classify", body, route="cloud")

    assert answer.zone == "cloud"
    assert refused.value.kind is ErrorKind.APPROVAL_REQUIRED
