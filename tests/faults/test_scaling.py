"""Workers come and go, and backlogs grow: tasks wait safely, callers get an answer in time, nobody takes too much."""

import asyncio
import json
import time
from pathlib import Path

import pytest

from flotilla.testkit.fleet import RunningFleet, running_fleet
from flotilla.testkit.plain_client import BODIES, Answer, PlainClient, eventually, new_task

CLASSIFY = BODIES["classify"]
SUMMARIZE = BODIES["summarize"]
ABSENT_PATIENCE_S = 20.0
"""Takes some three seconds; the deadline is a minute."""


async def test_a_worker_that_starts_serves_what_waits_for_it(tmp_path: Path):
    """
    Tasks for a capability that nobody serves stay in the stream; the first worker that can takes them at once.
    """
    async with running_fleet(tmp_path, local=0) as fleet:
        client = await fleet.client()
        tasks = [new_task() for _ in range(20)]
        async with client.hearing("results.>") as results:
            await client.submit_many("classify", CLASSIFY, tasks)
            waiting = await client.api("status")
            assert waiting["backlog"] == [{"capability": "classify", "high": 0, "normal": 20, "low": 0}]
            assert (await client.api("status", {"task": tasks[0]}))["state"] == "waiting"
            worker = await fleet.start_worker(wait=False)
            await fleet.until_ready(worker)
            ready_at = time.monotonic()
            await results.until(lambda heard: len(heard.messages) == len(tasks))
            took_s = time.monotonic() - ready_at

    assert results.counts() == dict.fromkeys(tasks, 1)
    assert took_s < 20.0


async def test_without_a_worker_ask_is_answered_in_time_and_tasks_wait(tmp_path: Path):
    """
    The last worker leaves: `ask` gets `no_route` within seconds, a durable task is safe until the next one comes.
    """
    async with running_fleet(tmp_path) as fleet:
        client = await fleet.client()
        fleet.workers[0].terminate()
        assert await fleet.workers[0].wait() == 0
        began = time.monotonic()
        answer = await client.ask("classify", CLASSIFY)
        took_s = time.monotonic() - began
        task = new_task()
        async with client.hearing("results.>") as results:
            await client.submit("classify", CLASSIFY, task=task)
            assert (await client.api("status", {"task": task}))["state"] == "waiting"
            await fleet.start_worker()
            result = await results.result(task)

    assert answer.kind in {"no_route", "no_capacity"}
    assert took_s < ABSENT_PATIENCE_S
    assert result["status"] == "ok"


async def test_a_task_that_no_pool_serves_fails_at_its_deadline(tmp_path: Path):
    """
    Also behind one that may wait longer; what is no valid task fails at once, and a late worker serves the rest.
    """
    async with running_fleet(tmp_path, local=0) as fleet:
        client = await fleet.client()
        patient, hasty, wrong = new_task(), new_task(), new_task()
        async with client.hearing("results.>") as results, client.hearing("events.>") as events:
            await client.submit("classify", CLASSIFY, task=patient)
            await client.submit("classify", CLASSIFY, task=hasty, headers={"Flotilla-Deadline-Ms": "500"})
            await client.submit("classify", b"{}", task=wrong)
            expired, refused = await results.result(hasty), await results.result(wrong)
            # A record is kept after its result is committed.
            await eventually(lambda: _are_dead(client, {hasty, wrong}))
            waiting = await client.api("status", {"task": patient})
            await fleet.start_worker()
            served = await results.result(patient)

    assert "deadline_exceeded" == expired["error"]["kind"]
    assert 500 <= expired["latency_ms"] < 30_000
    assert "bad_request" == refused["error"]["kind"]
    assert "waiting" == waiting["state"]
    assert "ok" == served["status"]
    assert {hasty: 1, wrong: 1, patient: 1} == results.counts()
    assert "failed" in {message.subject.split(".")[-1] for message in events.about(hasty)}


async def _are_dead(client: PlainClient, tasks: set[str]) -> bool:
    dead = await client.api("dead", {"verb": "list"})
    return tasks == {record["task"] for record in dead["dead"]}


async def test_an_overdue_task_that_has_its_result_leaves_no_dead_record(tmp_path: Path):
    """
    Done by somebody whose acknowledgement never came: the message goes, and what stands is what counts.
    """
    async with running_fleet(tmp_path, local=0) as fleet:
        client, admin, task = await fleet.client(), await fleet.admin(), new_task()
        # Before its message, so that nobody can have ended it at its deadline by then.
        body = json.dumps({"task": task, "capability": "classify", "status": "ok", "output": {}}).encode()
        await admin.nc.request(f"commit.default.classify.{task}", body)
        await client.submit("classify", CLASSIFY, task=task, headers={"Flotilla-Deadline-Ms": "1500"})
        await admin.until_empty("TASKS_default")
        dead = await client.api("dead", {"verb": "list"})
        result = await client.api("result", {"task": task})

    assert [] == dead["dead"]
    assert "ok" == result["status"]


async def test_a_killed_last_worker_leaves_no_caller_hanging(tmp_path: Path):
    """
    Its card lives on for seconds; every `ask` in that time still gets a typed answer before its deadline.
    """
    async with running_fleet(tmp_path) as fleet:
        client = await fleet.client()
        fleet.workers[0].kill()
        await fleet.workers[0].wait()
        headers = {"Flotilla-Deadline-Ms": "8000"}
        answers = await asyncio.gather(*(client.ask("classify", CLASSIFY, headers=headers) for _ in range(5)))

    assert {answer.kind for answer in answers} <= {"no_route", "no_capacity"}


async def test_when_every_slot_is_busy_the_deadline_still_holds(tmp_path: Path):
    """
    An `ask` that finds no slot is told so when its own time is over.
    """
    async with running_fleet(tmp_path, slots=1, latency_ms=20_000) as fleet:
        client = await fleet.client()
        holder = asyncio.ensure_future(client.ask("classify", CLASSIFY, headers={"Nats-Msg-Id": "holder"}))
        await client.until_status("holder", "running")
        began = time.monotonic()
        answer = await client.ask("classify", CLASSIFY, headers={"Flotilla-Deadline-Ms": "1200"})
        took_s = time.monotonic() - began
        await client.api("cancel", {"task": "holder"})
        await holder

    assert answer.kind in {"no_capacity", "deadline_exceeded"}
    assert 1.0 < took_s < 15.0


async def test_orchestrators_hold_no_more_than_the_fleet_has_slots_for(tmp_path: Path):
    """
    Of a long backlog about as many are taken as can run; the rest stays where any orchestrator can take it.
    """
    slots = 6
    async with running_fleet(tmp_path, orchestrators=2, local=1, slots=slots, latency_ms=150) as fleet:
        client, admin = await fleet.client(), await fleet.admin()
        tasks = [new_task() for _ in range(120)]
        most = 0
        async with client.hearing("results.>") as results:
            await client.submit_many("classify", CLASSIFY, tasks, at_once=120)
            while len(results.messages) < len(tasks) * 0.8:
                most = max(most, await admin.unacknowledged_in("TASKS_default"))
                await asyncio.sleep(0.03)
            await results.until(lambda heard: len(heard.messages) == len(tasks))

    assert most >= slots
    # Each of two orchestrators may hold as many as there are slots, and what is being acknowledged.
    assert most <= 2 * slots + 8
    assert results.counts() == dict.fromkeys(tasks, 1)


async def test_a_full_backlog_refuses_the_next_task_in_the_puback(tmp_path: Path):
    """
    Refused, not lost, and not stored; other capabilities are not concerned, and room that comes free is used.
    """
    async with running_fleet(tmp_path, local=0, env={"FLOTILLA_BACKLOG_MAX": "5"}) as fleet:
        client = await fleet.client()
        accepted = [await client.submit("classify", CLASSIFY) for _ in range(5)]
        refused = await client.submit("classify", CLASSIFY, task="too-many")
        other = await client.submit("summarize", SUMMARIZE)
        urgent = await client.submit("classify.high", CLASSIFY)
        async with client.hearing("results.>") as results:
            await fleet.start_worker()
            await results.until(lambda heard: len(heard.messages) == 7)
            # A result is heard before its task is acknowledged, which is what makes room.
            async with asyncio.timeout(60):
                while "error" in (again := await client.submit("classify", CLASSIFY, task="too-many")):
                    await asyncio.sleep(0.02)
            await results.result("too-many")

    assert all("error" not in ack for ack in [*accepted, other, urgent])
    assert refused["error"]["err_code"] == 10077
    assert "duplicate" not in again


async def test_high_goes_first_and_low_never_starves(tmp_path: Path):
    """
    Three backlogs of one capability: most of the first results are of high ones, and some of low ones are among them.
    """
    each = 60
    async with running_fleet(tmp_path, local=0) as fleet:
        client = await fleet.client()
        async with client.hearing("results.>") as results:
            for priority in ("low", "", "high"):
                tasks = [new_task(priority or "normal") for _ in range(each)]
                await client.submit_many(f"classify.{priority}".rstrip("."), CLASSIFY, tasks, at_once=each)
            await fleet.start_worker(slots=4, latency_ms=30, wait=False)
            await results.until(lambda heard: len(heard.messages) == 3 * each)

    order = [subject.split(".")[2].split("-")[0] for subject in results.subjects]
    mean = {name: sum(at for at, each in enumerate(order) if each == name) / each for name in ("high", "normal", "low")}
    first_half = order[: len(order) // 2]
    assert mean["high"] < mean["normal"] < mean["low"]
    # With four slots the shares of 8, 3 and 1 are rounded to 2, 1 and 1: no less than half of the slots are high's.
    assert first_half.count("high") >= 0.6 * each
    assert first_half.count("low") >= 1, "low waited for all of the others"


async def test_an_interactive_task_goes_before_a_backlog(tmp_path: Path):
    """
    A person waits for it: it does not stand behind a hundred durable ones.
    """
    async with running_fleet(tmp_path, slots=2, latency_ms=300) as fleet:
        client = await fleet.client()
        async with client.hearing("results.>") as results:
            tasks = [new_task() for _ in range(100)]
            await client.submit_many("classify", CLASSIFY, tasks, at_once=100)
            await results.until(lambda heard: len(heard.messages) >= 4)
            answers = [await client.ask("classify", CLASSIFY) for _ in range(5)]
            left = len(tasks) - len(results.messages)

    assert [answer.kind for answer in answers] == [""] * 5
    assert left > 30


async def test_more_replicas_are_more_members_and_nothing_else_knows(tmp_path: Path):
    """
    Load spreads over the free slots of all, and a busy replica gets nothing while another is free: none is free again
    before the last task has come.
    """
    async with running_fleet(tmp_path, local=1, slots=2, latency_ms=3000) as fleet:
        client = await fleet.client()
        await asyncio.gather(*(fleet.start_worker(slots=2, latency_ms=3000) for _ in range(2)))
        answers = await asyncio.gather(*(client.ask("classify", CLASSIFY) for _ in range(6)))
        replicas = [answer.result["replica"] for answer in answers]

    assert {name: replicas.count(name) for name in replicas} == {worker.name: 2 for worker in fleet.workers}


async def test_a_route_asked_for_that_is_absent_ends_in_its_own_kind(tmp_path: Path):
    """
    A durable task that insists on a pool which does not come fails as `no_route`, not as an internal error.
    """
    async with running_fleet(tmp_path) as fleet:
        client = await fleet.client()
        headers = {"Flotilla-Route": "absent", "Flotilla-Deadline-Ms": "3000"}
        async with client.hearing("results.>") as results:
            task = new_task()
            await client.submit("classify", CLASSIFY, task=task, headers=headers)
            result = await results.result(task)
        asked: Answer = await client.ask("classify", CLASSIFY, headers=headers)

    assert asked.kind == "no_route"
    assert "absent" in asked.result["error"]["message"]
    assert result["error"]["kind"] in {"no_route", "deadline_exceeded"}


async def test_tasks_that_wait_for_a_route_do_not_block_the_others(tmp_path: Path):
    """
    One caller insists on a pool that does not come; everybody else's tasks of the capability go on.
    """
    async with running_fleet(tmp_path, slots=4) as fleet:
        client = await fleet.client()
        async with client.hearing("results.>") as results:
            await asyncio.gather(
                *(client.submit("classify", CLASSIFY, headers={"Flotilla-Route": "absent"}) for _ in range(60))
            )
            task = new_task()
            await client.submit("classify", CLASSIFY, task=task)
            assert (await results.result(task))["status"] == "ok"


@pytest.mark.parametrize("stopped", ["orchestrator", "worker"])
async def test_cards_of_the_gone_disappear(tmp_path: Path, stopped: str):
    """
    A worker that leaves takes its card along; one that is killed is forgotten when its card expires.
    """
    async with running_fleet(tmp_path, orchestrators=2, local=2) as fleet:
        leaver = fleet.workers[0]
        if stopped == "worker":
            leaver.terminate()
            await leaver.wait()
        else:
            fleet.orchestrators[0].kill()
            leaver.kill()
        await fleet.until_replicas({fleet.workers[1].name}, absent=frozenset({leaver.name}))
        await _serves(fleet, await fleet.client())


async def _serves(fleet: RunningFleet, client: PlainClient) -> None:
    answer = await client.ask("classify", CLASSIFY)
    assert answer.result["replica"] == fleet.workers[1].name, json.dumps(answer.result)
