"""Kept answers and single flight, on a real fleet of two orchestrators: what the provider was asked is counted."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio

from flotilla.testkit.fleet import RunningFleet, running_fleet
from flotilla.testkit.plain_client import Headers, PlainClient, eventually, new_task
from flotilla.testkit.probe_client import PROBED, probe_of
from flotilla.testkit.provider_openai import OpenAIServer
from flotilla.testkit.provider_steps import Says

pytestmark = pytest.mark.asyncio(loop_scope="module")

POLICY: Final = """
format = 1

[capabilities.summarize]
routes = [{ pool = "cloud" }, { pool = "local" }]

[capabilities.translate]
routes = [{ pool = "local" }]
cache = { ttl_s = 600, restricted = true }

[capabilities.reason]
routes = [{ pool = "local" }]
cache = { ttl_s = 1 }
"""
PIPELINE: Final = """
name = "pages"
[input]
type = "object"
properties.pages.type = "array"
[steps.page]
capability = "summarize"
for_each = "${input.pages}"
input = { document = "${item}" }
[output]
pages = "${steps.page.*.summary}"
"""
USE: Final = {"Flotilla-Cache": "use"}
RESTRICTED: Final = {"Flotilla-Data-Class": "restricted"}
ASKS: Final = 40
BUCKET: Final = "KV_cache_default"


class Cached:
    """
    A fleet whose models are one stand-in.

    Attributes:
        server: The stand-in; an answer says how many it was asked for before.
    """

    def __init__(self, fleet: RunningFleet, server: OpenAIServer) -> None:
        self.fleet = fleet
        self.server = server

    def asked_about(self, text: str) -> int:
        """How often a model was asked about a text."""
        return sum(text in json.dumps(request.body) for request in self.server.requests)

    async def until_asked(self, text: str, times: int = 1) -> None:
        """Return when a model was asked about a text so often."""

        async def asked() -> bool:
            return self.asked_about(text) >= times

        await eventually(asked)

    async def grown(self, name: str, **labels: str) -> float:
        """What a counter of both orchestrators has come to."""
        scrapes = [await probe_of(each).scrape() for each in self.fleet.orchestrators]
        return sum(scrape.value(name, **labels) for scrape in scrapes)


async def start_workers(fleet: RunningFleet, server: OpenAIServer) -> None:
    """One at home, and one in the cloud whose answers have a price."""
    environ = {"OPENAI_BASE_URL": f"{server.url}/v1", "OPENAI_API_KEY": "k", "FLOTILLA_MODELS": "gpt-4o"}
    await asyncio.gather(
        fleet.start_worker("local", engine="vllm", slots=16, env=environ),
        fleet.start_worker("cloud", engine="openai", slots=16, env=environ),
    )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cached(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cached]:
    """
    Two orchestrators and two tenants, with the policy from the start on.
    """
    directory = tmp_path_factory.mktemp("cached")
    policy = directory / "policy.toml"
    policy.write_text(POLICY)
    capabilities = directory / "capabilities"
    capabilities.mkdir()
    (capabilities / "pages.toml").write_text(PIPELINE)
    env = PROBED | {"FLOTILLA_POLICY_FILE": str(policy), "FLOTILLA_CAPABILITY_FILES": str(capabilities)}
    scopes = ("default", "acme")
    async with (
        OpenAIServer() as server,
        running_fleet(directory / "fleet", orchestrators=2, local=0, scopes=scopes, env=env) as fleet,
    ):
        await start_workers(fleet, server)
        yield Cached(fleet, server)


@pytest_asyncio.fixture(loop_scope="module")
async def client(cached: Cached) -> AsyncIterator[PlainClient]:
    """
    A tenant's plain client.
    """
    cached.server.otherwise = Says(text="A summary.")
    yield await cached.fleet.client()
    await cached.fleet.close_clients()


def document(stem: str) -> dict[str, Any]:
    """One that nobody has asked about before."""
    return {"document": new_task(stem)}


async def ask(client: PlainClient, body: dict[str, Any], headers: Headers, capability: str = "summarize") -> Any:
    """The result of one ask, which must go well."""
    answer = await client.ask(capability, body, headers=headers)
    assert "" == answer.kind, answer.result
    return answer.result


async def test_identical_asks_in_flight_make_one_call_in_the_whole_fleet(cached: Cached, client: PlainClient):
    """
    All but one have the answer of the one, at no cost, and say whose it was and what it saved.
    """
    body, release = document("flight"), asyncio.Event()
    cached.server.otherwise = Says(text="A summary.", hold=release)
    before = await cached.grown("flotilla_cache_hits_total")
    asking = [asyncio.ensure_future(ask(client, body, USE)) for _ in range(ASKS)]
    await cached.until_asked(body["document"])

    async def all_in_flight() -> bool:
        return ASKS == await cached.grown("flotilla_asks_in_flight", scope="default")

    await eventually(all_in_flight)
    release.set()
    results = await asyncio.gather(*asking)
    after = await cached.grown("flotilla_cache_hits_total")

    [leader] = [result for result in results if "cached" not in result]
    others = [result for result in results if "cached" in result]
    assert 1 == cached.asked_about(body["document"])
    assert ASKS - 1 == len(others) == after - before
    assert {leader["task"]} == {result["original_task"] for result in others}
    assert leader["usage"]["cost_usd"] > 0
    assert {(leader["usage"]["cost_usd"], 0.0, 0, "A summary.", "gpt-4o")} == {
        (
            result["saved_usd"],
            result["usage"]["cost_usd"],
            result["usage"]["input_tokens"],
            result["output"]["summary"],
            result["model"],
        )
        for result in others
    }


async def test_a_kept_answer_serves_a_later_task_of_the_same_input(cached: Cached, client: PlainClient):
    """
    However its JSON is written, asked or durable; without the header the work is done anew.
    """
    body = document("kept")
    first = await ask(client, body, USE)
    spaced = json.dumps({"style": None, **body}, indent=4).encode()
    async with client.hearing("events.summarize.finished") as events:
        again = (await client.ask("summarize", spaced, headers=USE)).result
        await events.until(lambda heard: heard.about(again["task"]))
        task = new_task()
        async with client.hearing("results.>") as results:
            await client.submit("summarize", body, task=task, headers=USE)
            durable = await results.result(task)
        [event] = [json.loads(message.data) for message in events.about(again["task"])]
    without = await ask(client, body, {})

    assert (True, first["task"]) == (again["cached"], again["original_task"])
    assert (True, first["task"]) == (durable["cached"], durable["original_task"])
    assert (True, 0.0) == (event["cached"], event.get("cost_usd", 0.0))
    assert "cached" not in without
    assert 2 == cached.asked_about(body["document"])


@pytest.mark.parametrize(
    "other",
    [
        {"Flotilla-Data-Class": "public"},
        {"Flotilla-Route": "local"},
        {"Flotilla-Sticky": "b"},
        {"Flotilla-Label-Team": "x"},
    ],
    ids=str,
)
async def test_what_may_be_answered_otherwise_is_asked_anew(cached: Cached, client: PlainClient, other: Headers):
    """
    Another data class, route, sticky key or label name is another question.
    """
    body = document("other")
    await ask(client, body, USE)
    answer = await ask(client, body, USE | other)

    assert "cached" not in answer
    assert 2 == cached.asked_about(body["document"])


async def test_another_tenant_is_never_given_the_answer(cached: Cached, client: PlainClient):
    """
    Each has a bucket of its own.
    """
    body = document("tenant")
    other = await cached.fleet.client("acme")
    await ask(client, body, USE)
    answer = await ask(other, body, USE)

    assert "cached" not in answer
    assert 2 == cached.asked_about(body["document"])


async def test_restricted_tasks_have_no_part_in_it_unless_the_policy_says_so(cached: Cached, client: PlainClient):
    """
    Nothing of them is written, not even that somebody asks; where the policy says so they are kept, for restricted ones.
    """
    admin = await cached.fleet.admin()
    before = await admin.messages_in(BUCKET)
    body = document("restricted")
    results = [await ask(client, body, USE | RESTRICTED) for _ in range(2)]
    written = await admin.messages_in(BUCKET) - before
    text = {"text": new_task("restricted"), "target": "de"}
    cached.server.otherwise = Says(text='{"text": "Guten Tag", "source": "en"}')
    allowed = [await ask(client, text, RESTRICTED, "translate") for _ in range(2)]
    internal = await ask(client, text, {}, "translate")

    assert [None, None] == [result.get("cached") for result in results]
    assert 2 == cached.asked_about(body["document"])
    assert written <= 0
    assert [None, True, None] == [result.get("cached") for result in (*allowed, internal)]


async def test_a_policy_keeps_answers_of_all_tasks_for_its_time(cached: Cached, client: PlainClient):
    """
    `off` is for a task that wants its own answer; `refresh` puts a new one in the place of the old one.
    """
    text = {"text": new_task("policy"), "target": "de"}
    cached.server.otherwise = Says(text='{"text": "Guten Tag", "source": "en"}')
    first = await ask(client, text, {}, "translate")
    again = await ask(client, text, {}, "translate")
    off = await ask(client, text, {"Flotilla-Cache": "off"}, "translate")
    fresh = await ask(client, text, {"Flotilla-Cache": "refresh"}, "translate")

    async def is_replaced() -> bool:
        return fresh["task"] == (await ask(client, text, {}, "translate")).get("original_task")

    await eventually(is_replaced)
    assert [None, True, None, None] == [each.get("cached") for each in (first, again, off, fresh)]
    assert 3 == cached.asked_about(text["text"])


async def test_an_answer_expires(cached: Cached, client: PlainClient):
    """
    After the policy's time it is made anew, and nothing of it is left in the bucket.
    """
    body = {"question": new_task("expires")}
    cached.server.otherwise = Says(text='{"answer": "42"}')
    await ask(client, body, {}, "reason")

    async def is_made_anew() -> bool:
        return (await ask(client, body, {}, "reason")).get("cached") is None

    await eventually(is_made_anew)
    assert 2 == cached.asked_about(body["question"])


async def test_streamed_asks_get_a_kept_answer_as_one_piece(cached: Cached, client: PlainClient):
    """
    The piece is what the pieces of the answer would have made up.
    """
    body, stream = document("streamed"), USE | {"Flotilla-Stream": "true"}
    first = await client.ask("summarize", body, headers=stream)
    again = await client.ask("summarize", body, headers=stream)

    assert "A summary." == "".join(piece["text"] for piece in first.pieces)
    assert ["A summary."] == [piece["text"] for piece in again.pieces]
    assert again.result["cached"] is True
    assert 1 == cached.asked_about(body["document"])


async def test_identical_durable_tasks_make_one_call(cached: Cached, client: PlainClient):
    """
    Each has a result of its own, committed once, with the digest of its own input.
    """
    body, release, tasks = document("durable"), asyncio.Event(), [new_task() for _ in range(12)]
    cached.server.otherwise = Says(text="A summary.", hold=release)
    async with client.hearing("results.>") as results:
        await asyncio.gather(*(client.submit("summarize", body, task=task, headers=USE) for task in tasks))
        await cached.until_asked(body["document"])
        release.set()
        await results.until(lambda heard: set(heard.counts()) >= set(tasks))

    assert 1 == cached.asked_about(body["document"])
    assert dict.fromkeys(tasks, 1) == results.counts()
    assert 11 == sum(result.get("cached", False) for result in results.bodies())
    assert 1 == len({result["input_sha256"] for result in results.bodies()})


async def test_steps_of_a_pipeline_have_the_runs_wish(cached: Cached, client: PlainClient):
    """
    Three pages that are the same are summarised once, and a later run asks for none; a run without the wish for all.
    """
    pages = {"pages": [new_task("page")] * 3}
    with_it = [await ask(client, pages, USE, "pages") for _ in range(2)]
    asked_with_it = cached.asked_about(pages["pages"][0])
    without = await ask(client, pages, {}, "pages")

    assert 1 == asked_with_it
    assert [2, 3, 0] == [run["steps"][0].get("cached", 0) for run in (*with_it, without)]
    assert [0.0, 0] == [with_it[1]["usage"]["cost_usd"], with_it[1]["usage"]["input_tokens"]]
    assert 4 == cached.asked_about(pages["pages"][0])


async def test_while_the_bucket_is_away_tasks_run_without_it(tmp_path: Path):
    """
    Nobody waits for it twice, and once it is there again answers are kept again.
    """
    async with running_fleet(tmp_path) as fleet:
        admin, client = await fleet.admin(), await fleet.client()
        body = document("away")
        deleted = await admin.stream("STREAM.DELETE", BUCKET)
        away = [await ask(client, body, USE) for _ in range(3)]

        async def is_kept() -> bool:
            return (await ask(client, body, USE)).get("cached") is True

        await eventually(is_kept)

    assert deleted["success"]
    assert "ok" == away[0]["status"]


POISON: Final = {
    "garbage": b"\xff\x00{",
    "another shape": b'{"type":"answer"}',
    "too long": b'{"type":"answer","output":"' + b"x" * 300_000 + b'"}',
    "no output of the capability": {"output": {"label": "billing"}},
    "another key's": {"key": "0" * 64},
    "another capability's": {"capability": "translate"},
    "too old": {"made_unix_ms": 1},
    "of the future": {"made_unix_ms": 10**14},
}


@pytest.mark.parametrize("poison", POISON.values(), ids=POISON.keys())
async def test_what_is_no_answer_is_none(cached: Cached, client: PlainClient, poison: Any):
    """
    Whoever wrote it: the work is done, and the answer takes its place.
    """
    body = document("poison")
    first = await ask(client, body, USE)
    admin = await cached.fleet.admin()
    subject, record = await kept(admin, first["task"])
    given = poison if isinstance(poison, bytes) else json.dumps({**record, **poison}).encode()
    stored = json.loads((await admin.nc.request(subject, given, timeout=60)).data)
    assert "error" not in stored, stored
    anew = await ask(client, body, USE)
    again = await ask(client, body, USE)

    assert "cached" not in anew
    assert (True, anew["task"]) == (again["cached"], again["original_task"])
    assert 2 == cached.asked_about(body["document"])


async def kept(admin: PlainClient, task: str) -> tuple[str, dict[str, Any]]:
    """Where the answer that was made for a task is kept, and what stands there."""
    found: list[tuple[str, dict[str, Any]]] = []

    async def is_kept() -> bool:
        answer = await admin.stream("STREAM.INFO", BUCKET, {"subjects_filter": ">"})
        subjects: dict[str, int] = answer["state"].get("subjects") or {}
        for subject in subjects:
            message = await admin.nc.request(f"$JS.API.DIRECT.GET.{BUCKET}.{subject}", b"")
            try:
                record = json.loads(message.data)
            except ValueError:
                continue
            if record.get("task") == task:
                found.append((subject, record))
        return bool(found)

    await eventually(is_kept)
    return found[0]


async def test_cancelling_the_task_that_asks_hands_on(cached: Cached, client: PlainClient):
    """
    The one that waits is run in its place; and cancelling one that waits takes nothing from the one that asks.
    """
    body, release = document("cancelled"), asyncio.Event()
    cached.server.otherwise = Says(text="A summary.", hold=release)
    tasks = [new_task("c") for _ in range(3)]
    async with client.hearing("results.>") as results:
        await client.submit("summarize", body, task=tasks[0], headers=USE)
        await cached.until_asked(body["document"])
        for task in tasks[1:]:
            await client.submit("summarize", body, task=task, headers=USE)
            await client.until_status(task, "running")
        await client.api("cancel", {"task": tasks[2]})
        waiting = await results.result(tasks[2])
        asked_before = cached.asked_about(body["document"])
        await client.api("cancel", {"task": tasks[0]})
        leading = await results.result(tasks[0])
        await cached.until_asked(body["document"], 2)
        release.set()
        last = await results.result(tasks[1])

    assert ["cancelled", "cancelled"] == [each["error"]["kind"] for each in (waiting, leading)]
    assert 1 == asked_before
    assert ("ok", None) == (last["status"], last.get("cached"))
    assert 2 == cached.asked_about(body["document"])


async def test_nobody_waits_for_another_beyond_his_own_time(cached: Cached, client: PlainClient):
    """
    A quarter of it is left for a call of his own.
    """
    body, release = document("patience"), asyncio.Event()
    cached.server.script(Says(text="A summary.", hold=release))
    slow = asyncio.ensure_future(ask(client, body, USE))
    await cached.until_asked(body["document"])
    hasty = await ask(client, body, USE | {"Flotilla-Deadline-Ms": "6000"})
    release.set()
    patient = await slow

    assert [None, None] == [hasty.get("cached"), patient.get("cached")]
    assert hasty["latency_ms"] > 4_000
    assert 2 == cached.asked_about(body["document"])


async def test_a_task_that_fails_leaves_nothing_and_another_asks(cached: Cached, client: PlainClient):
    """
    Failures are never kept.
    """
    body = document("failed")
    cached.server.otherwise = Says(end="refused")
    failed = await client.ask("summarize", body, headers=USE)
    cached.server.otherwise = Says(text="A summary.")
    well = await ask(client, body, USE)

    assert "provider_failed" == failed.kind
    assert "cached" not in well


async def test_another_orchestrator_asks_when_the_one_that_asked_is_killed(tmp_path: Path):
    """
    Its claim lapses; of those who waited elsewhere one asks, and the others have its answer.
    """
    async with (
        OpenAIServer() as server,
        running_fleet(tmp_path, orchestrators=2, local=0, env=PROBED) as fleet,
    ):
        held = asyncio.Event()
        server.script(Says(text="Never.", hold=held))
        server.otherwise = Says(text="A summary.")
        environ = {"OPENAI_BASE_URL": f"{server.url}/v1", "FLOTILLA_MODELS": "m"}
        await fleet.start_worker(engine="vllm", env=environ)
        cached, client = Cached(fleet, server), await fleet.client()
        body = document("killed")
        asking = [asyncio.ensure_future(ask(client, body, USE)) for _ in range(ASKS)]
        await cached.until_asked(body["document"])

        async def all_in_flight() -> bool:
            return ASKS == await cached.grown("flotilla_asks_in_flight")

        await eventually(all_in_flight)
        claim = await (await fleet.admin()).stream("STREAM.MSG.GET", BUCKET, {"last_by_subj": "$KV.cache_default.>"})
        holder = json.loads(base64.b64decode(claim["message"]["data"]))["orchestrator"]
        leader, other = sorted(fleet.orchestrators, key=lambda each: each.name != holder)
        waiting = (await probe_of(other).scrape()).value("flotilla_asks_in_flight")
        leader.kill()

        async def those_are_done() -> bool:
            return waiting == sum(each.done() for each in asking)

        await eventually(those_are_done)
        results = [each.result() for each in asking if each.done()]
        # Those that were with the one that was killed are never answered.
        for each in asking:
            each.cancel()
        held.set()

    assert waiting > 1
    assert 2 == cached.asked_about(body["document"])
    assert {"A summary."} == {result["output"]["summary"] for result in results}
    assert 1 == sum("cached" not in result for result in results)
