"""The blackboard as its users have it: many writers, lifetimes, watchers, tenants, workers of one's own."""

import asyncio
import json
import re
import signal
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from flotilla.client import ErrorKind, Fleet, TaskError
from flotilla.client.blackboard import Entry
from flotilla.contracts.blackboard import VALUE_BYTES_MAX
from flotilla.testkit.commands import RunningCommand, start_command
from flotilla.testkit.fleet import RunningFleet, running_fleet

pytestmark = pytest.mark.asyncio(loop_scope="module")

PAGE = Path(__file__).parents[2] / "docs" / "blackboard.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
LABELS = ["billing", "technical"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fleet(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningFleet]:
    """
    Two orchestrators, two tenants, a local worker, and credentials for a worker of one's own.
    """
    async with running_fleet(
        tmp_path_factory.mktemp("board"),
        orchestrators=2,
        scopes=("default", "acme"),
        pools=(("local", "local"), ("local", "counter"), ("cloud", "cloud")),
    ) as fleet:
        yield fleet


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api(fleet: RunningFleet) -> AsyncIterator[Fleet]:
    """
    A caller of the default scope.
    """
    async with Fleet.connect(fleet.url) as api:
        yield api


async def seen_until(api: Fleet, pattern: str, last: str, seen: list[Entry], started: asyncio.Event) -> None:
    """Watch until a key arrives."""
    async with aclosing(api.blackboard.watch(pattern)) as entries:
        async for entry in entries:
            seen.append(entry)
            started.set()
            if entry.key == last:
                return


async def test_a_value_can_be_written_read_listed_and_deleted(api: Fleet):
    """
    Any JSON comes back as it was; a deleted key has no value, but a history.
    """
    board = api.blackboard
    values: list[Any] = [None, True, 3, 2.5, "text ä", [1, [2]], {"a": {"b": None}}]
    for value in values:
        written = await board.set("basic.value", value, author="tests")
        read = await board.get("basic.value")
        assert (value, "tests", written.revision) == (read and read.value, read and read.author, read and read.revision)
    await board.set("basic.other", 1)
    assert ["basic.other", "basic.value"] == [entry.key for entry in await board.list("basic.*")]

    await board.delete("basic.value")
    assert await board.get("basic.value") is None
    assert ["basic.other"] == [entry.key for entry in await board.list("basic.>")]
    history = await board.history("basic.value")
    assert [*values, None] == [entry.value for entry in history]
    assert [False] * len(values) + [True] == [entry.deleted for entry in history]


async def test_compare_and_set_loses_nothing(api: Fleet):
    """
    A stale revision is a conflict that changes nothing; 0 creates what is not there, deleted or never written.
    """
    board = api.blackboard
    first = await board.update("cas.key", 1, revision=0)
    second = await board.update("cas.key", 2, revision=first.revision)
    for stale in (0, first.revision):
        with pytest.raises(TaskError) as conflict:
            await board.update("cas.key", 3, revision=stale)
        assert conflict.value.kind is ErrorKind.CONFLICT
    with pytest.raises(TaskError):
        await board.delete("cas.key", revision=first.revision)
    read = await board.get("cas.key")
    assert (2, second.revision) == (read and read.value, read and read.revision)

    await board.delete("cas.key", revision=second.revision)
    assert 4 == (await board.update("cas.key", 4, revision=0)).value


async def test_eight_writers_merge_without_losing_a_write(fleet: RunningFleet, api: Fleet):
    """
    Every increment of every writer is in the sum; who may not try again is told of the conflict.
    """

    async def write() -> None:
        async with Fleet.connect(fleet.url) as own:
            for _ in range(6):
                await own.blackboard.merge("merge.sum", lambda value: (value or 0) + 1)

    await asyncio.gather(*(write() for _ in range(8)))
    entry = await api.blackboard.get("merge.sum")
    assert entry is not None
    assert 48 == entry.value


async def test_a_merge_that_always_loses_says_so(fleet: RunningFleet, api: Fleet):
    """
    After so many tries the caller hears of the conflict, and decides; what the others wrote stays.
    """
    tries: list[Any] = []

    async def write_elsewhere() -> None:
        async with Fleet.connect(fleet.url) as other:
            await other.blackboard.set("merge.lost", len(tries))

    def lose(value: Any) -> Any:
        # Between the read and the update of every try somebody else writes.
        tries.append(value)
        with ThreadPoolExecutor(1) as elsewhere:
            elsewhere.submit(asyncio.run, write_elsewhere()).result()
        return "lost"

    with pytest.raises(TaskError) as conflict:
        await api.blackboard.merge("merge.lost", lose, tries_max=3)
    entry = await api.blackboard.get("merge.lost")

    assert conflict.value.kind is ErrorKind.CONFLICT
    assert [None, 1, 2] == tries
    assert 3 == (entry and entry.value)


async def test_an_entry_with_a_lifetime_goes_by_itself(fleet: RunningFleet, api: Fleet):
    """
    Get, list and bucket forget it, no older value comes back, watchers hear of it, and the key can be created again.
    """
    board = api.blackboard
    seen: list[Entry] = []
    await board.set("ttl.key", "old")
    await board.set("ttl.key", "short", ttl_s=1)
    await board.set("ttl.other", "kept")

    async def watch() -> None:
        async with aclosing(board.watch("ttl.>")) as entries:
            async for entry in entries:
                seen.append(entry)
                if entry.deleted:
                    return

    watching = asyncio.create_task(watch())
    read = await board.get("ttl.key")
    assert read is not None
    assert 1000 == read.expires_unix_ms - read.at_unix_ms
    await asyncio.sleep(1.1)
    assert await board.get("ttl.key") is None
    assert ["ttl.other"] == [entry.key for entry in await board.list("ttl.*")]
    created = await board.update("ttl.again", 1, revision=0, ttl_s=1)
    await asyncio.wait_for(watching, 60)
    assert [("ttl.key", True)] == [(entry.key, entry.deleted) for entry in seen if entry.deleted]

    # Other clients of the bucket see no more of it: the server has removed it.
    admin = await fleet.admin()
    async with asyncio.timeout(60):
        while "$KV.blackboard_default.ttl.key" in (held := await _held(admin.nc.request)):
            await asyncio.sleep(0.1)
    assert "$KV.blackboard_default.ttl.other" in held
    assert created.revision < (await board.update("ttl.key", "new", revision=0)).revision


async def test_a_watch_gives_what_is_there_and_then_each_change_that_matches(api: Fleet):
    """
    Wildcards as in subjects; a deletion is a change; nothing that does not match.
    """
    board = api.blackboard
    await board.set("watch.a.state", 1)
    await board.set("watch.a.other", 1)
    seen: list[Entry] = []
    started = asyncio.Event()
    watching = asyncio.create_task(seen_until(api, "watch.*.state", "watch.end.state", seen, started))
    await asyncio.wait_for(started.wait(), 60)
    await board.set("watch.b.state", {"x": 2}, author="b")
    await board.set("watch.b.deep.state", 3)
    await board.delete("watch.a.state")
    await asyncio.sleep(0.2)
    await board.set("watch.end.state", None)
    await asyncio.wait_for(watching, 60)

    assert [("watch.a.state", 1), ("watch.b.state", {"x": 2}), ("watch.a.state", None), ("watch.end.state", None)] == [
        (entry.key, entry.value) for entry in seen
    ]
    assert [False, False, True, False] == [entry.deleted for entry in seen]
    assert sorted(entry.revision for entry in seen) == [entry.revision for entry in seen]


async def test_a_watch_survives_the_orchestrator_that_serves_it(fleet: RunningFleet, api: Fleet):
    """
    Whichever of the orchestrators holds the poll is stopped; the next write arrives all the same.
    """
    seen: list[Entry] = []
    started = asyncio.Event()
    await api.blackboard.set("survive.begin", 1)
    watching = asyncio.create_task(seen_until(api, "survive.*", "survive.end", seen, started))
    await asyncio.wait_for(started.wait(), 60)
    fresh = await fleet.start_orchestrator("fresh", env={"FLOTILLA_SCOPES": "default,acme"})
    for process in fleet.orchestrators[:2]:
        process.terminate()
        assert 0 == await process.wait()
    await api.blackboard.set("survive.end", 2)
    await asyncio.wait_for(watching, 60)

    assert fresh.is_running
    assert ["survive.begin", "survive.end"] == [entry.key for entry in seen]


async def test_scopes_do_not_see_each_other(fleet: RunningFleet, api: Fleet):
    """
    The same key in two scopes is two keys; no pattern reaches across.
    """
    tenant = fleet.server.tenant("acme")
    async with Fleet.connect(fleet.url, creds=tenant.creds) as acme:
        await api.blackboard.set("shared.key", "default's")
        await acme.blackboard.set("shared.key", "acme's")
        await acme.blackboard.set("secret", "acme's")
        mine, theirs = await api.blackboard.get("shared.key"), await acme.blackboard.get("shared.key")
        listed = await api.blackboard.list(">")
        async with aclosing(api.blackboard.watch("shared.*")) as entries:
            watched = await anext(entries)

    assert ("default's", "acme's") == (mine and mine.value, theirs and theirs.value)
    assert "acme's" not in [entry.value for entry in listed]
    assert "default's" == watched.value


@pytest.mark.parametrize("key", ["", ".a", "a.", "a..b", "a b", "a.*", "a.>", "ä", "a\n", "a\r\nPUB x 1", "x" * 257])
async def test_a_key_that_is_none_is_refused(fleet: RunningFleet, api: Fleet, key: str):
    """
    A typed error, for reading and writing; the orchestrators' connections live on.
    """
    for question in ({"verb": "get"}, {"verb": "set", "value": 1}, {"verb": "delete"}, {"verb": "history"}):
        answer = await (await fleet.client()).api("blackboard", {**question, "key": key})
        assert "bad_request" == answer["error"]["kind"]
    assert await api.blackboard.get("never.written") is None
    assert not [each for each in fleet.orchestrators if "nats_disconnected" in each.log_text()]


async def test_a_value_has_a_bound(fleet: RunningFleet, api: Fleet):
    """
    The largest goes through, several of them are listed in pages, and one byte more is refused on either side.
    """
    largest = "x" * (VALUE_BYTES_MAX - 2)
    for index in range(6):
        await api.blackboard.set(f"size.{index}", largest)
    entries = await api.blackboard.list("size.*")
    with pytest.raises(TaskError) as refused:
        await api.blackboard.set("size.more", largest + "x")
    raw = {"verb": "set", "key": "size.more", "value": largest + "x"}
    answer = await (await fleet.client()).api("blackboard", raw)

    assert [len(largest)] * 6 == [len(entry.value) for entry in entries]
    assert refused.value.kind is ErrorKind.TOO_LARGE
    assert "too_large" == answer["error"]["kind"]
    assert await api.blackboard.get("size.more") is None
    for _ in range(10):
        await api.blackboard.set("size.0", largest)
    assert 3 <= len(await api.blackboard.history("size.0")) <= 10


async def test_more_keys_than_an_answer_holds_are_all_listed(api: Fleet):
    """
    With several values of each, and in order; the values are the newest.
    """
    count = 1100
    for round_ in range(2):
        for start in range(0, count, 100):
            await asyncio.gather(
                *(api.blackboard.set(f"many.{index:05}", round_) for index in range(start, start + 100))
            )
    entries = await api.blackboard.list("many.*")

    assert [f"many.{index:05}" for index in range(count)] == [entry.key for entry in entries]
    assert {1} == {entry.value for entry in entries}


async def test_a_document_is_classified_once_however_many_ask(fleet: RunningFleet, api: Fleet):
    """
    The worked example of the documentation, with eight callers at once and one later.
    """
    example: dict[str, Any] = {}
    exec(compile(EXAMPLES[1], str(PAGE), "exec"), example)  # noqa: S102  (our own page)
    admin = await fleet.admin()
    async with admin.hearing("infer.local.local.classify") as heard:
        labels = await asyncio.gather(*(example["classified"](api, "Charged twice", LABELS) for _ in range(8)))
        labels.append(await example["classified"](api, "Charged twice", LABELS))
        await example["classified"](api, "Another one", LABELS)
        asked = len((await heard.caught_up()).messages)

    assert ["billing"] * 9 == labels
    assert 2 == asked


async def test_a_claim_that_died_with_its_owner_is_taken_over(api: Fleet):
    """
    The other half of the example: a claim without an answer ends with its lifetime.
    """
    example: dict[str, Any] = {}
    exec(compile(EXAMPLES[1], str(PAGE), "exec"), example)  # noqa: S102  (our own page)
    key = "classified." + example["hashlib"].sha256(b"Orphan").hexdigest()
    await api.blackboard.update(key, {"state": "under way"}, revision=0, ttl_s=1)

    assert "billing" == await asyncio.wait_for(example["classified"](api, "Orphan", LABELS), 60)


async def test_a_worker_of_ones_own_uses_it(fleet: RunningFleet, api: Fleet, tmp_path: Path):
    """
    The documentation's worker, as it stands there; its work is on the board for everybody.
    """
    program = tmp_path / "counter.py"
    program.write_text(EXAMPLES[2])
    own = {"FLOTILLA_PROVIDER": "", "FLOTILLA_ENGINE_LATENCY_MS": ""}
    await fleet.start_worker("local", "counter", command=(str(program),), env=own)
    answers = await asyncio.gather(*(api.ask("count-visits", {"key": "visits.home"}) for _ in range(5)))
    entry = await api.blackboard.get("visits.home")

    assert [1, 2, 3, 4, 5] == sorted(answer.output["seen"] for answer in answers)
    assert (5, "counter") == (entry and entry.value, entry and entry.author)


async def test_the_command_does_it_all(fleet: RunningFleet, api: Fleet):
    """
    Values as people type them; what is not there, or was changed meanwhile, ends with 1.
    """

    async def run(*arguments: str) -> tuple[int, str, str]:
        process = await _command(fleet, *arguments)
        out, err = await process.communicate(b'{"from": "stdin"}')
        assert b"Traceback" not in err, err.decode()
        return process.returncode or 0, out.decode(), err.decode()

    written = await run("set", "cmd.a", '{"n": 1}', "--author", "me", "--ttl-s", "60")
    text, piped, read, program, stale, missing = await asyncio.gather(
        run("set", "cmd.b", "plain words"),
        run("set", "cmd.c", "-"),
        run("get", "cmd.a"),
        run("get", "cmd.a", "--json"),
        run("update", "cmd.a", "2", "--revision", str(int(written[1]) + 1000)),
        run("get", "cmd.none"),
    )
    listed, history, usage = await asyncio.gather(
        run("list", "cmd.*"), run("history", "cmd.a", "--json"), run("update", "cmd.a", "2")
    )
    watching = await _command(fleet, "watch", "cmd.*", "--json")
    first = json.loads(await asyncio.wait_for(watching.stdout.readline(), 60))
    watching.send_signal(signal.SIGINT)
    await watching.communicate()
    deleted = await run("delete", "cmd.a")

    assert (0, '{"n": 1}\n') == read[:2]
    assert f"revision {written[1].strip()} · " in read[2]
    assert ({"n": 1}, "me") == (json.loads(program[1])["value"], json.loads(program[1])["author"])
    assert (0, 0, 0) == (text[0], piped[0], deleted[0])
    assert (1, "") == stale[:2]
    assert "conflict" in stale[2]
    assert (1, "") == missing[:2]
    assert [("cmd.a", '{"n": 1}'), ("cmd.b", "plain words"), ("cmd.c", '{"from": "stdin"}')] == [
        (row[0], row[-1]) for row in (line.split("\t") for line in listed[1].splitlines())
    ]
    assert 1 == len(history[1].splitlines())
    assert 2 == usage[0]
    assert "cmd.a" == first["key"]
    assert 130 == watching.returncode
    assert await api.blackboard.get("cmd.a") is None


async def _command(fleet: RunningFleet, *arguments: str) -> RunningCommand:
    return await start_command("blackboard", *arguments, environ={"FLOTILLA_NATS_URL": fleet.url}, stdin=True)


async def _held(request: Any) -> dict[str, int]:
    """The subjects that the bucket's stream holds."""
    ask = json.dumps({"subjects_filter": "$KV.blackboard_default.ttl.>"}).encode()
    message = await request("$JS.API.STREAM.INFO.KV_blackboard_default", ask)
    return json.loads(message.data)["state"].get("subjects") or {}
