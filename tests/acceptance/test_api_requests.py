"""API requests to the fleet: results, status, replicas, the dead, and NATS micro discovery."""

import asyncio
import base64
import json
from pathlib import Path

import pytest

from flotilla.testkit.fleet import RunningFleet, running_fleet
from flotilla.testkit.plain_client import BODIES, PlainClient, new_task

pytestmark = pytest.mark.asyncio(loop_scope="session")

CLASSIFY = BODIES["classify"]


async def test_a_result_can_be_asked_for_later(caller: PlainClient):
    """
    Whoever has the id finds the result, as often as it likes, and the same that was published.
    """
    task = new_task()
    async with caller.hearing("results.>") as results:
        await caller.submit("classify", CLASSIFY, task=task)
        published = await results.result(task)

    assert await caller.api("result", {"task": task}) == published
    status = await caller.api("status", {"task": task})
    assert (status["state"], status["pool"], status["replica"]) == ("ok", "local", "local-w1")


@pytest.mark.parametrize("verb", ["result", "status"])
async def test_a_task_that_nobody_knows_is_not_found(caller: PlainClient, verb: str):
    """
    An unknown id is no timeout.
    """
    answer = await caller.api(verb, {"task": new_task()})

    assert answer["error"]["kind"] == "not_found"


@pytest.mark.parametrize("sequence", ["0", "01", "18446744073709551615", "18446744073709551616", "9" * 60, ""])
async def test_a_sequence_that_no_waiting_task_has_is_not_found(caller: PlainClient, sequence: str):
    """
    One that no message can have least of all: that is no failure of the stores.
    """
    for verb in ("status", "cancel"):
        answer = await caller.api(verb, {"task": f"seq-{sequence}"})
        assert answer["error"]["kind"] == "not_found"


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b'{"task":"a.b"}', b'{"task":7}', b"\xff", b'{"task":"' + b"x" * 65 + b'"}']
)
async def test_a_question_that_does_not_decode_is_a_bad_request(caller: PlainClient, body: bytes):
    """
    The answer is typed, and comes at once.
    """
    for verb in ("result", "status", "cancel", "dead"):
        message = await caller.nc.request(f"api.{verb}", body, timeout=60)
        assert json.loads(message.data)["error"]["kind"] == "bad_request"
        assert message.headers is not None
        assert message.headers["Nats-Service-Error-Code"] == "400"


@pytest.mark.parametrize(
    ("verb", "body", "path", "expected"),
    [
        ("cancel", b"{", "$", "expected JSON"),
        ("cancel", b'{"task":"\xff"}', "$", "not UTF-8"),
        ("cancel", b"{}", "$", "`task`"),
        ("result", b'{"task":7}', "$.task", "expected text"),
        ("status", b'{"task":"a.b"}', "$.task", "1 to 64 of A-Z, a-z, 0-9, _ and -"),
        ("blackboard", b'{"verb":"get","key":"a b"}', "$.key", "with dots between"),
        ("dead", b'{"limit":0}', "$.limit", "expected a whole number of at least 1"),
        ("dead", b'{"verb":"secret"}', "$.verb", "not allowed"),
    ],
)
async def test_a_bad_question_is_told_where_it_is_wrong_and_what_was_expected(
    caller: PlainClient, verb: str, body: bytes, path: str, expected: str
):
    """
    For programs, as with the input of a task; what stood there is not repeated.
    """
    message = await caller.nc.request(f"api.{verb}", body, timeout=60)

    error = json.loads(message.data)["error"]
    assert error["details"]["path"] == path
    assert expected in error["details"]["expected"]
    place = path.removeprefix("$").removeprefix(".")
    assert error["message"].startswith(
        f"the question is not valid: {place}: " if place else "the question is not valid: "
    )
    assert b"secret" not in message.data


async def test_an_unknown_question_is_answered_with_those_that_are_known(caller: PlainClient):
    """
    A typing error is found by reading the answer.
    """
    answer = await caller.api("staus")

    assert answer["error"]["kind"] == "bad_request"
    assert "status" in answer["error"]["message"]


async def test_the_status_of_the_fleet_counts_its_pools(caller: PlainClient):
    """
    Pools with their replicas, slots and capabilities; the backlog; the dead.
    """
    status = await caller.api("status")

    pools = {pool["pool"]: pool for pool in status["pools"]}
    assert {"local", "slow"} <= set(pools)
    assert (pools["local"]["replicas"], pools["local"]["slots"], pools["local"]["zone"]) == (1, 8, "local")
    assert "classify" in pools["local"]["capabilities"]
    assert pools["slow"]["capabilities"] == ["reason"]
    assert status["scope"] == "default"
    assert isinstance(status["dead"], int)


async def test_replicas_shows_every_card(caller: PlainClient):
    """
    Each replica with what it is and what it can do.
    """
    cards = {card["replica"]: card for card in (await caller.api("replicas"))["replicas"]}

    assert {"local-w1", "slow-w1"} <= set(cards)
    assert cards["local-w1"]["provider"] == "noop"
    assert cards["local-w1"]["slots"] == 8
    assert cards["local-w1"]["draining"] is False


async def test_a_dead_task_can_be_listed_shown_and_retried(caller: PlainClient):
    """
    Retried, the original goes through again under a new id, with its headers.
    """
    task = new_task("dead")
    headers = {"Flotilla-Label-Batch": "x", "Flotilla-Route": "local/no-such-model"}
    async with caller.hearing("results.>") as results:
        await caller.submit("classify", CLASSIFY, task=task, headers=headers)
        failed = await results.result(task)
        shown = await caller.dead_record(task)
        listed = await caller.api("dead", {"verb": "list", "limit": 1000})
        retried = await caller.api("dead", {"verb": "retry", "task": task})
        again = await results.result(retried["retried_as"])

    assert failed["error"]["kind"] == "no_route"
    entry = next(each for each in listed["dead"] if each["task"] == task)
    assert entry["error"]["kind"] == "no_route"
    assert json.loads(base64.b64decode(shown["body"])) == CLASSIFY
    assert shown["data_class"] == "internal"
    assert retried["task"] == task
    assert retried["retried_as"] != task
    assert again["error"]["kind"] == "no_route"
    assert again["labels"] == {"Batch": "x"}


@pytest.mark.parametrize("verb", ["show", "retry"])
async def test_a_task_that_is_not_dead_is_not_found(caller: PlainClient, verb: str):
    """
    There is nothing to show or to try again.
    """
    answer = await caller.api("dead", {"verb": verb, "task": new_task()})
    unnamed = await caller.api("dead", {"verb": verb})

    assert answer["error"]["kind"] == "not_found"
    assert unnamed["error"]["kind"] == "bad_request"


async def test_discovery_finds_orchestrators_and_workers(calm_fleet: RunningFleet):
    """
    `nats micro ls` in the FLEET account shows every member under its service.
    """
    admin = await calm_fleet.admin()
    inbox = admin.nc.new_inbox()
    members = {
        ("orchestrator", "o1"),
        ("orchestrator", "o2"),
        ("local-local", "local-w1"),
        ("local-slow", "slow-w1"),
    }
    async with admin.hearing(inbox) as answers:
        await admin.nc.publish("$SRV.PING", b"", reply=inbox)
        await answers.until(
            lambda heard: (
                members
                <= {
                    (body["name"], body["metadata"].get("instance") or body["metadata"].get("replica"))
                    for body in heard.bodies()
                }
            )
        )


async def test_a_tenant_cannot_look_inside_the_fleet(calm_fleet: RunningFleet, caller: PlainClient):
    """
    Lanes, presence and other scopes are not in its account.
    """
    acme = await calm_fleet.client("acme")
    async with caller.hearing("results.>") as ours, acme.hearing("results.>") as theirs:
        task = new_task()
        await acme.submit("classify", CLASSIFY, task=task)
        await theirs.result(task)
        own = new_task()
        await caller.submit("classify", CLASSIFY, task=own)
        await ours.result(own)

    assert ours.of(task) is None
    assert theirs.of(own) is None
    assert (await caller.api("result", {"task": task}))["error"]["kind"] == "not_found"


async def test_an_accepted_task_is_known_at_every_moment(tmp_path: Path):
    """
    Also while it passes from the stream to an orchestrator, to a worker and to the results.
    """
    async with running_fleet(tmp_path, slots=4, latency_ms=30) as fleet:
        client = await fleet.client()
        states: set[str] = set()
        for _ in range(4):
            tasks = [new_task() for _ in range(20)]
            await client.submit_many("classify", CLASSIFY, tasks)
            answers = await asyncio.gather(*(client.api("status", {"task": task}) for task in tasks * 3))
            states |= {answer.get("state") or answer["error"]["kind"] for answer in answers}

    assert "not_found" not in states
    assert "ok" in states
