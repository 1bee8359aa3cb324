"""The arms of a split on a real fleet: counted over orchestrators, scored by callers, reported with what may be concluded."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any, Final

import pytest
import pytest_asyncio

from flotilla.client import ErrorKind, Fleet, TaskError
from flotilla.contracts.experiments import ExperimentReport, decode_arms
from flotilla.testkit.commands import start_command
from flotilla.testkit.fleet import RunningFleet, running_fleet
from flotilla.testkit.fleet_process import clean_environ
from flotilla.testkit.plain_client import BODIES, eventually, new_task
from flotilla.testkit.scripted_worker import Line, failed, finished, scripted_worker

pytestmark = pytest.mark.asyncio(loop_scope="module")

TASKS: Final = 160
IN_FLIGHT: Final = 16
POLICY: Final = """
[capabilities.classify]
strategy = "split"
routes = [{ pool = "one" }, { pool = "two" }]
"""
CLASSIFY: Final = BODIES["classify"]


def said(_request: dict[str, Any], pool: str) -> list[Line]:
    """Two refuses everything; one answers."""
    if pool == "two":
        return [failed("refused")]
    return [finished(usage={"cost_usd": 0.25})]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fleet(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningFleet]:
    """
    Two orchestrators, two scopes, and a split over two pools.
    """
    directory = tmp_path_factory.mktemp("experiments")
    (directory / "policy.toml").write_text(POLICY)
    async with AsyncExitStack() as stack:
        running = await stack.enter_async_context(
            running_fleet(
                directory / "fleet",
                orchestrators=2,
                local=0,
                scopes=("default", "acme"),
                pools=(("local", "one"), ("local", "two")),
                env={"FLOTILLA_POLICY_FILE": str(directory / "policy.toml")},
            )
        )
        for pool in ("one", "two"):
            client = await running.connect(running.server.worker("local", pool))
            worker = scripted_worker(
                client, lambda request, pool=pool: said(request, pool), pool=pool, replica=f"{pool}-w", slots=64
            )
            await stack.enter_async_context(worker)
        await running.until_replicas({"one-w", "two-w"})
        yield running


async def asked(client: Fleet, count: int) -> dict[str, str]:
    """So many tasks, and which arm each was drawn for."""
    arms: dict[str, str] = {}
    at_once = asyncio.Semaphore(IN_FLIGHT)

    async def one() -> None:
        async with at_once:
            answer = await client.ask("classify", CLASSIFY)
            arms[answer.result.task] = answer.attempts[0].pool

    await asyncio.gather(*(one() for _ in range(count)))
    return arms


def tasks_of(report: ExperimentReport) -> dict[str, int]:
    return {arm.pool: arm.ok + arm.failed for arm in report.arms}


async def test_arms_are_counted_scored_and_compared_over_orchestrators(fleet: RunningFleet):
    """
    Every task for the arm it was drawn for, whichever orchestrator had it; the difference that is there is named, in the
    Python API and by the command. What a killed orchestrator counted stays.
    """
    async with Fleet.connect(fleet.url) as client:
        arms = await asked(client, TASKS)
        drawn = {pool: list(arms.values()).count(pool) for pool in ("one", "two")}
        await eventually(lambda: _counted(client, drawn))
        for task, pool in list(arms.items())[: TASKS // 2]:
            await client.feedback(task, 0.9 if pool == "one" else 0.2, scorer="judge")
        report = await client.experiment("classify")
        printed = await _command(fleet, "report", "classify", "--json")

        one, two = report.arms
        scored = list(arms.values())[: TASKS // 2]
        assert (drawn["one"], 0, 0, drawn["two"]) == (one.ok, one.failed, two.ok, two.failed)
        assert 0.25 == one.cost_usd.mean == two.cost_usd.mean
        assert [scored.count("one"), scored.count("two")] == [one.score.count, two.score.count]
        assert (0.9, 0.2) == (pytest.approx(one.score.mean), pytest.approx(two.score.mean))
        assert "two/m1 fails more" in printed["conclusion"]
        assert TASKS == sum(tasks_of(report).values())

        await eventually(lambda: _written(fleet, TASKS))
        fleet.orchestrators[0].kill()
        await fleet.orchestrators[0].wait()
        assert tasks_of(report) == tasks_of(await client.experiment("classify"))


async def _counted(client: Fleet, drawn: dict[str, int]) -> bool:
    """By every orchestrator: any of them answers, so a row of answers has to be right."""
    for _ in range(12):
        if tasks_of(await client.experiment("classify")) != drawn:
            return False
    return True


async def _written(fleet: RunningFleet, count: int) -> bool:
    """Whether the bucket has the totals of so many tasks: what an orchestrator has not written dies with it."""
    admin = await fleet.admin()
    info = await admin.stream("STREAM.INFO", "KV_experiments", {"subjects_filter": ">"})
    held: dict[str, int] = info["state"].get("subjects") or {}
    bodies = [
        (await admin.stream("STREAM.MSG.GET", "KV_experiments", {"last_by_subj": subject}))["message"]["data"]
        for subject in held
    ]
    records = [decode_arms(base64.b64decode(body)) for body in bodies]
    return count == sum(arm.ok + arm.failed for record in records for arm in record.arms)


async def _command(fleet: RunningFleet, *arguments: str) -> dict[str, Any]:
    process = await start_command("experiment", *arguments, "--url", fleet.url, environ=clean_environ({}))
    out, err = await process.communicate()
    assert 0 == process.returncode, err.decode()
    return json.loads(out)


async def test_a_score_counts_once_for_a_task_of_ones_own(fleet: RunningFleet):
    """
    Of a durable task by its result; a second scorer counts too; nobody scores another scope's task, or one that is not
    there, or beyond 0 to 1.
    """
    scope = fleet.server.tenant("acme")
    async with (
        Fleet.connect(fleet.url) as client,
        Fleet.connect(fleet.url, creds=scope.creds, inbox_prefix=scope.inbox_prefix) as other,
    ):
        submitted = await client.submit("classify", CLASSIFY)
        await client.result(submitted.task, timeout_s=60.0)

        await client.feedback(submitted.task, 1.0, label="billing")
        await client.feedback(submitted.task, 0.0, scorer="second")
        for asker, task, kind in (
            (client, submitted.task, ErrorKind.CONFLICT),
            (other, submitted.task, ErrorKind.NOT_FOUND),
            (client, new_task(), ErrorKind.NOT_FOUND),
        ):
            with pytest.raises(TaskError) as refused:
                await asker.feedback(task, 0.5)
            assert kind is refused.value.kind
        with pytest.raises(TaskError) as refused:
            await client.experiment("summarize")
        assert ErrorKind.NOT_FOUND is refused.value.kind
        seen = await other.experiment("classify")
        assert {0} == {arm.score.count for arm in seen.arms}
    plain = await fleet.client()
    for score in ("2", "-1", '"x"', "null"):
        body = f'{{"task": "{submitted.task}", "score": {score}}}'.encode()
        answer = json.loads((await plain.nc.request("api.feedback", body, timeout=60)).data)
        assert "bad_request" == answer["error"]["kind"]
