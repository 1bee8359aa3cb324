"""
What somebody can do who has a cloud worker's seed: take part in that pool, and nothing else.

The thief speaks plain NATS with the stolen credentials, beside honest workers.
"""

import asyncio
import json

import pytest

from flotilla.testkit.fleet import RunningFleet
from flotilla.testkit.plain_client import BODIES, PlainClient, eventually
from flotilla.testkit.scripted_worker import failed, finished, scripted_worker

pytestmark = pytest.mark.asyncio(loop_scope="session")

CLASSIFY = BODIES["classify"]
RESTRICTED = {"Flotilla-Data-Class": "restricted", "Flotilla-Route": "scripted"}
FORGED = finished({"label": "forged by the cloud", "confidence": 1.0}, replica="scripted-victim")
HONEST_AFTER_S = 0.5
TOKENS_SEEN = 40
OWN_INBOX_DOTS = "_INBOX.orchestrator.id.token".count(".")


async def test_a_cloud_worker_cannot_answer_a_local_attempt_even_when_it_knows_its_token(
    calm_fleet: RunningFleet, caller: PlainClient
):
    """
    The reply to an attempt is known by its whole subject, whose zone and pool the sender's credentials bind.
    """
    thief = await calm_fleet.connect(calm_fleet.server.worker("cloud", "cloud"))
    honest = await calm_fleet.connect(calm_fleet.server.worker("local", "scripted"))
    async with scripted_worker(
        honest,
        lambda _: [{"type": "accepted"}, HONEST_AFTER_S, finished()],
        replica="scripted-victim",
        models=("victim",),
    ) as worker:
        await calm_fleet.until_replicas({"scripted-victim"})
        asked = asyncio.ensure_future(caller.ask("classify", CLASSIFY, headers=RESTRICTED))
        await eventually(lambda: _true(worker.replies))
        _, _, _, _, orchestrator, token = worker.replies[-1].split(".")
        for subject in (
            f"_INBOX.attempts.cloud.cloud.{orchestrator}.{token}",
            f"_INBOX.attempts.local.scripted.{orchestrator}.{token}",
            f"_INBOX.attempts.cloud.scripted.{orchestrator}.{token}",
        ):
            await thief.publish_raw(subject, json.dumps(FORGED).encode())
        answer = await asked
    await calm_fleet.until_replicas(set(), absent=frozenset({"scripted-victim"}))

    assert answer.kind == ""
    assert answer.result["output"] == finished()["output"]
    assert len(answer.result["attempts"]) == 1


async def test_one_attempts_token_says_nothing_of_anothers(calm_fleet: RunningFleet, caller: PlainClient):
    """
    Each is 128 random bits of its own, the in-flight checks' and the orchestrators' own requests' included.
    """
    thief = await calm_fleet.connect(calm_fleet.server.worker("cloud", "cloud"))
    admin = await calm_fleet.admin()
    async with (
        admin.hearing("_INBOX.orchestrator.>") as requests,
        scripted_worker(thief, lambda _: [failed("refused")], zone="cloud", pool="cloud", replica="thief") as worker,
    ):
        await calm_fleet.until_replicas({"thief"})
        for _ in range(TOKENS_SEEN):
            await caller.ask("classify", CLASSIFY, headers={"Flotilla-Route": "cloud"})
        await requests.until(lambda heard: heard.messages)
    await calm_fleet.until_replicas(set(), absent=frozenset({"thief"}))

    # Tasks are pulled on inboxes below the orchestrators' own, which have names: only the server is told these. And a
    # request that is answered in several messages hears all of them on one subject.
    own = {subject for subject in requests.subjects if subject.count(".") == OWN_INBOX_DOTS}
    tokens = [reply.rsplit(".", 1)[1] for reply in (*worker.replies, *own)]
    assert len(worker.replies) >= TOKENS_SEEN
    assert len(set(tokens)) == len(tokens)
    assert {len(token) for token in tokens} == {32}
    for at in range(0, 32, 8):
        # Of 40 and more numbers of 32 bits, two are equal once in five million runs.
        assert len({token[at : at + 8] for token in tokens}) == len(tokens)


async def test_an_output_that_does_not_fit_the_schema_is_no_answer(calm_fleet: RunningFleet, caller: PlainClient):
    """
    A stolen worker validates nothing: the task goes to an honest one.
    """
    thief = await calm_fleet.connect(calm_fleet.server.worker("cloud", "cloud"))
    junk = finished({"label": ["<script>"], "confidence": "high"})
    async with scripted_worker(
        thief, lambda _: [junk], zone="cloud", pool="cloud", replica="thief", models=("stolen",)
    ) as worker:
        await calm_fleet.until_replicas({"thief"})
        stolen = await caller.ask("classify", CLASSIFY, headers={"Flotilla-Route": "cloud/stolen"})
    await calm_fleet.until_replicas(set(), absent=frozenset({"thief"}))

    assert 1 == len(worker.requests)
    assert ["invalid_output"] == [attempt["outcome"] for attempt in stolen.result["attempts"]]
    assert "script" not in json.dumps(stolen.result)


async def _true(value: object) -> bool:
    return bool(value)
