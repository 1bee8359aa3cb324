"""Second attempts and shadows on a real fleet: whose answer counts, what is cancelled, and what stays at home."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any, Final

import pytest
import pytest_asyncio

from flotilla.contracts.subjects import Zone
from flotilla.testkit.fleet import RunningFleet, running_fleet
from flotilla.testkit.patient_client import WAIT_S
from flotilla.testkit.plain_client import BODIES, Heard, eventually
from flotilla.testkit.probe_client import PROBED, probe_of
from flotilla.testkit.provider_openai import OpenAIServer
from flotilla.testkit.provider_steps import Stalls
from flotilla.testkit.scripted_worker import Line, ScriptedWorker, finished, scripted_worker

pytestmark = pytest.mark.asyncio(loop_scope="module")

HEDGE: Final = "{ after_ms = 50, share_max = 1.0 }"
SHARE_MAX: Final = 0.1
SLOW_S: Final = 0.4
HEDGED_STREAM_S: Final = 1.0
"""In which the first piece of a stream is heard, however busy the machine is. The second one comes after twice as long."""
POLICY: Final = f"""
format = 1

[capabilities.summarize]
routes = [{{ pool = "provider" }}, {{ pool = "fast" }}]
hedge = {HEDGE}

[capabilities.translate]
routes = [{{ pool = "home" }}, {{ pool = "fast" }}]
hedge = {{ after_ms = {HEDGED_STREAM_S * 1000}, share_max = 1.0 }}

[capabilities.reason]
routes = [{{ pool = "home" }}, {{ pool = "away" }}]
hedge = {HEDGE}

[capabilities.classify]
routes = [{{ pool = "home" }}, {{ pool = "fast" }}]
hedge = {{ after_ms = 50, share_max = {SHARE_MAX} }}

[capabilities.chat]
routes = [{{ pool = "home" }}]
shadow = {{ pool = "away", share = 1.0 }}
"""
SCRIPTED: Final[tuple[tuple[Zone, str], ...]] = (("local", "home"), ("local", "fast"), ("cloud", "away"))
LABELS: Final = BODIES["classify"]["labels"]


class Hedged:
    """A fleet with a provider that never answers, and three pools that say what they are told to."""

    def __init__(self, fleet: RunningFleet, provider: OpenAIServer, workers: dict[str, ScriptedWorker]) -> None:
        self.fleet = fleet
        self.provider = provider
        self.workers = workers

    def asked(self, pool: str, capability: str) -> int:
        """How many attempts of a capability a pool was sent."""
        return sum(request["capability"] == capability for request in self.workers[pool].requests)


def said(request: dict[str, Any], pool: str) -> list[Line]:
    """What a pool answers: home takes its time over all but chats."""
    capability, given = request["capability"], request["input"]
    usage = {"cost_usd": 0.25}
    match capability:
        case "chat":
            content = given["messages"][0]["content"]
            if pool == "away" and content == "wait":
                return [{"type": "accepted"}, *[line for _ in range(600) for line in (0.5, {"type": "progress"})]]
            text = f"{content} {pool}" if content == "differ" else content
            return [finished({"message": {"role": "assistant", "content": text}}, usage=usage)]
        case "translate":
            last = finished({"text": "ab", "source": "en"})
            pieces: list[Line] = [
                {"type": "piece", "seq": 0, "text": "a"},
                2 * HEDGED_STREAM_S,
                {"type": "piece", "seq": 1, "text": "b"},
                last,
            ]
            return pieces if pool == "home" else [last]
        case "summarize":
            return [finished({"summary": pool}, usage=usage)]
        case _:
            output = {"label": LABELS[0], "confidence": 1.0} if capability == "classify" else {"answer": pool}
            return [{"type": "accepted"}, SLOW_S, finished(output)] if pool == "home" else [finished(output)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hedged(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Hedged]:
    """
    One orchestrator, with the policy from its start on.
    """
    directory = tmp_path_factory.mktemp("hedged")
    policy = directory / "policy.toml"
    policy.write_text(POLICY)
    pools: tuple[tuple[Zone, str], ...] = (*SCRIPTED, ("local", "provider"))
    async with AsyncExitStack() as stack:
        provider = await stack.enter_async_context(OpenAIServer())
        provider.otherwise = Stalls()
        env = PROBED | {"FLOTILLA_POLICY_FILE": str(policy)}
        fleet = await stack.enter_async_context(running_fleet(directory / "fleet", local=0, pools=pools, env=env))
        workers: dict[str, ScriptedWorker] = {}
        for zone, pool in SCRIPTED:
            client = await fleet.connect(fleet.server.worker(zone, pool))
            worker = scripted_worker(
                client,
                lambda request, pool=pool: said(request, pool),
                zone=zone,
                pool=pool,
                replica=f"{pool}-w",
                capabilities=tuple(BODIES),
                slots=64,
            )
            workers[pool] = await stack.enter_async_context(worker)
        environ = {"OPENAI_BASE_URL": f"{provider.url}/v1", "FLOTILLA_MODELS": "m"}
        await fleet.start_worker(pool="provider", engine="vllm", env=environ)
        await fleet.until_replicas({f"{pool}-w" for _, pool in SCRIPTED})
        yield Hedged(fleet, provider, workers)


async def test_the_first_answer_wins_and_the_other_call_is_cancelled_at_its_provider(hedged: Hedged):
    """
    Both attempts are on record.
    """
    client = await hedged.fleet.client()
    result = (await client.ask("summarize", BODIES["summarize"], timeout_s=WAIT_S)).result
    await asyncio.wait_for(hedged.provider.requests[-1].disconnected.wait(), WAIT_S)

    assert ("ok", "fast", "fast") == (result["status"], result["pool"], result["output"]["summary"])
    assert [("provider", "cancelled"), ("fast", "ok")] == [
        (attempt["pool"], attempt["outcome"]) for attempt in result["attempts"]
    ]
    assert "hedge: no answer of provider within 50 ms" == result["attempts"][1]["reason"]
    probe = probe_of(hedged.fleet.orchestrators[0])
    await probe.until(lambda scrape: scrape.value("flotilla_hedges_total", capability="summarize", outcome="won") == 1)


async def test_no_more_than_the_share_is_hedged(hedged: Hedged):
    """
    Of many tasks that all take long.
    """
    tasks = 30
    client = await hedged.fleet.client()
    answers = await asyncio.gather(
        *(client.ask("classify", BODIES["classify"], timeout_s=WAIT_S) for _ in range(tasks))
    )

    assert {"ok"} == {answer.result["status"] for answer in answers}
    assert 0 < hedged.asked("fast", "classify") <= tasks * SHARE_MAX


async def test_a_stream_that_has_begun_is_not_asked_for_twice(hedged: Hedged):
    """
    Its pieces are one route's.
    """
    client = await hedged.fleet.client()
    headers = {"Flotilla-Stream": "true"}
    answer = await client.ask("translate", BODIES["translate"], headers=headers, timeout_s=WAIT_S)

    assert ("home", ["a", "b"]) == (answer.result["pool"], [piece["text"] for piece in answer.pieces])
    assert 1 == len(answer.result["attempts"])


async def test_restricted_data_is_not_hedged_into_the_cloud(hedged: Hedged):
    """
    Where the only other route is there, no second attempt is made; other data has one.
    """
    client = await hedged.fleet.client()
    headers = {"Flotilla-Data-Class": "restricted"}
    restricted = (await client.ask("reason", BODIES["reason"], headers=headers, timeout_s=WAIT_S)).result
    leaked = hedged.asked("away", "reason")
    internal = (await client.ask("reason", BODIES["reason"], timeout_s=WAIT_S)).result

    assert ("home", 1, 0) == (restricted["pool"], len(restricted["attempts"]), leaked)
    assert "ok" == internal["status"]
    assert 1 == hedged.asked("away", "reason")


async def test_a_shadow_is_compared_and_never_returned(hedged: Hedged):
    """
    The event and the metrics say whether it agreed and what it cost; no text of either answer is told.
    """
    client = await hedged.fleet.client()
    probe = probe_of(hedged.fleet.orchestrators[0])
    before = await probe.scrape()
    async with client.hearing("events.chat.>") as heard:
        results = [await chat(hedged, text) for text in ("same", "differ")]
        compared = await told(heard, 2)

    assert [("home", 0.25, 1), ("home", 0.25, 1)] == [
        (result["pool"], result["usage"]["cost_usd"], len(result["attempts"])) for result in results
    ]
    assert ["agreed", "differed"] == [event["outcome"] for event in compared]
    assert {("away", 0.25)} == {(event["pool"], event["cost_usd"]) for event in compared}
    assert [result["task"] for result in results] == [event["task"] for event in compared]
    kinds = [json.loads(message.data)["kind"] for message in heard.messages]
    assert (2, 2) == (kinds.count("dispatched"), kinds.count("finished"))
    assert not any(b"differ " in message.data for message in heard.messages)
    labels = {"capability": "chat", "pool": "away"}
    after = await probe.until(
        lambda scrape: scrape.value("flotilla_shadow_comparisons_total", outcome="differed", **labels) == 1
    )
    cost = "flotilla_shadow_cost_usd_total"
    assert 0.5 == after.value(cost, **labels) - before.value(cost, **labels)

    async def in_the_ledger() -> bool:
        spend = await client.api("spend", {"by": ["label.shadow", "pool", "capability"]})
        return {"key": ["true", "away", "chat"], "usd_micros": 500_000, "entries": 2, "unpriced": 0} in spend["lines"]

    await eventually(in_the_ledger)


async def test_a_shadow_that_hangs_delays_nobody_and_restricted_data_has_none_in_the_cloud(hedged: Hedged):
    """
    The caller has the answer while the shadow still works.
    """
    result = await chat(hedged, "wait")
    asked = hedged.asked("away", "chat")
    restricted = await chat(hedged, "secret", **{"Flotilla-Data-Class": "restricted"})
    probe = probe_of(hedged.fleet.orchestrators[0])
    await probe.until(
        lambda scrape: scrape.value("flotilla_shadow_comparisons_total", capability="chat", outcome="skipped") == 1
    )

    assert ("ok", "ok") == (result["status"], restricted["status"])
    contents = [
        request["input"]["messages"][0]["content"]
        for request in hedged.workers["away"].requests
        if request["capability"] == "chat"
    ]
    assert "secret" not in contents
    assert asked <= len(contents)


async def chat(hedged: Hedged, content: str, **headers: str) -> dict[str, Any]:
    client = await hedged.fleet.client()
    body = {"messages": [{"role": "user", "content": content}]}
    return (await client.ask("chat", body, headers=headers, timeout_s=WAIT_S)).result


async def told(heard: Heard, count: int) -> list[dict[str, Any]]:
    """The comparisons that were told of."""

    def compared() -> list[dict[str, Any]]:
        events = [json.loads(message.data) for message in heard.messages]
        return [event for event in events if event["kind"] == "shadow_compared"]

    await heard.until(lambda _: len(compared()) >= count)
    return compared()
