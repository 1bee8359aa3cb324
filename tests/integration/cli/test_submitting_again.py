"""`flotilla submit` a second time, and what it left behind: ids, `tasks`, `result --batch`, Ctrl-C."""

import asyncio
import json
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct
from msgspec.structs import replace

from flotilla.client import Fleet, TaskIdTakenError, WithId
from flotilla.contracts.api import TaskStatus
from flotilla.contracts.results import input_digest
from flotilla.testkit.commands import RunningCommand, start_command
from flotilla.testkit.fleet_peer import Asked, FleetPeer, result_of
from flotilla.testkit.nats_server import RunningServer


class Ended(Struct, frozen=True):
    """How a process ended."""

    code: int
    out: str
    err: str

    @property
    def rows(self) -> list[list[str]]:
        """The table, as a pipe gets it."""
        return [line.split("\t") for line in self.out.splitlines()]

    @property
    def json(self) -> list[dict[str, Any]]:
        """Its output as JSON, a line each."""
        return [json.loads(line) for line in self.out.splitlines()]


Start = Callable[..., Awaitable[RunningCommand]]
Run = Callable[..., Awaitable[Ended]]


@pytest.fixture
def start(nats_server: RunningServer, tmp_path: Path) -> Start:
    """
    Starts the command as a user with a home.
    """

    async def start(*arguments: str) -> RunningCommand:
        environ = {"FLOTILLA_NATS_URL": nats_server.url, "HOME": str(tmp_path / "home")}
        return await start_command(*arguments, environ=environ)

    return start


@pytest.fixture
def run(start: Start) -> Run:
    """
    Runs the command to its end.
    """

    async def run(*arguments: str) -> Ended:
        process = await start(*arguments)
        out, err = await process.communicate()
        assert b"Traceback" not in err, err.decode()
        return Ended(process.returncode or 0, out.decode(), err.decode())

    return run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """
    Two letters.
    """
    folder = tmp_path / "mail"
    folder.mkdir()
    for name in ("b", "c"):
        (folder / f"{name}.txt").write_text(f"letter {name}")
    return folder


@pytest.fixture
async def done(peer: FleetPeer) -> list[str]:
    """
    The documents of all tasks in the order in which they were accepted; the peer does each at once, and once.
    """
    documents: list[str] = []
    ids: set[str] = set()

    async def work(_subject: str, body: bytes, headers: dict[str, str]) -> None:
        if headers["Nats-Msg-Id"] in ids:
            return
        ids.add(headers["Nats-Msg-Id"])
        document = json.loads(body)["document"]
        documents.append(document)
        result = result_of(headers["Nats-Msg-Id"], "summarize", output={"summary": f"<{document}>"})
        await peer.commit(replace(result, input_sha256=input_digest(body)))

    await peer.make_streams()
    await peer.hold_tasks("summarize", work)
    return documents


async def test_a_file_that_is_added_gets_no_other_files_answer(run: Run, done: list[str], folder: Path):
    """
    Under the same --id only what is new or was changed is done; every file has its own answer.
    """
    submit = ("submit", "summarize", str(folder), "--id", "night", "--wait", "--json")
    first = await run(*submit)
    (folder / "a.txt").write_text("letter a")
    (folder / "c.txt").write_text("letter c, again")
    done.clear()
    again = await run(*submit)

    assert (first.code, again.code) == (0, 0)
    answers = {Path(each["file"]).name: each["output"]["summary"] for each in again.json}
    assert answers == {"a.txt": "<letter a>", "b.txt": "<letter b>", "c.txt": "<letter c, again>"}
    assert sorted(done) == ["letter a", "letter c, again"]
    assert all(each["task"].startswith("night-") for each in again.json)


async def test_a_folder_is_known_again_without_waiting_too(run: Run, peer: FleetPeer, done: list[str], folder: Path):
    """
    Also when the stream has forgotten the ids: the results have not.
    """
    submit = ("submit", "summarize", str(folder), "--id", "night")
    first = await run(*submit)
    await peer.requests.request("$JS.API.STREAM.DELETE.TASKS_default", b"")
    await peer.make_streams()
    again = await run(*submit)
    other = await run("submit", "summarize", str(folder), "--id", "night", "--route", "cloud")

    assert [row[1] for row in first.rows] == ["ok", "ok"]
    assert [row[1] for row in again.rows] == ["known", "known"]
    assert [row[1] for row in other.rows] == ["ok", "ok"]
    assert len(done) == 4


async def test_an_id_with_another_input_is_an_error_that_says_so(run: Run, peer: FleetPeer, done: list[str]):
    """
    While its task waits, and when its result is there; the same input again is no error.
    """

    async def status(asked: Asked) -> None:
        digest = input_digest(b'{"document":"one"}')
        await peer.answer(asked, TaskStatus(task="mail-1", state="waiting", input_sha256=digest))

    first = await run("submit", "summarize", "--text", "one", "--id", "mail-1")
    peer.on_question["status"] = status
    held = peer.committed.pop("mail-1")
    waiting = await run("submit", "summarize", "--text", "two", "--id", "mail-1")
    same = await run("submit", "summarize", "--text", "one", "--id", "mail-1")
    peer.committed["mail-1"] = held
    over = await run("submit", "summarize", "--text", "two", "--id", "mail-1", "--wait")
    again = await run("submit", "summarize", "--text", "one", "--id", "mail-1", "--wait")

    assert (first.code, same.code, again.code) == (0, 0, 0)
    assert again.out == "<one>\n"
    assert "it was there already" in same.err
    for refused in (waiting, over):
        assert (refused.code, refused.out) == (1, "")
        assert "the id mail-1 was given to another input before" in refused.err


async def test_the_library_tells_a_reused_id_apart_as_well(fleet: Fleet, peer: FleetPeer, done: list[str]):
    """
    In a batch the one task fails, and the others have their answers; inputs may have ids of their own.
    """
    inputs = [WithId(task=f"mail-{name}", input={"document": name}) for name in ("x", "y")]
    first = {each.index: each.answer async for each in fleet.run_many("summarize", inputs)}
    changed = [WithId(task="mail-x", input={"document": "other"}), inputs[1]]
    repeated = {each.index: each.answer async for each in fleet.run_many("summarize", changed)}
    noted: list[tuple[int, bool]] = []
    again = {
        each.index: each.answer
        async for each in fleet.run_many(
            "summarize", changed, resume=True, on_submitted=lambda index, sent: noted.append((index, sent.duplicate))
        )
    }

    assert {0: "<x>", 1: "<y>"} == {index: answer.output["summary"] for index, answer in first.items()}
    for answers in (repeated, again):
        error = answers[0].error
        assert error is not None
        assert error.kind.value == "conflict"
        assert answers[1].output == {"summary": "<y>"}
    assert noted == [(1, True)]
    with pytest.raises(TaskIdTakenError):
        await fleet.result("mail-x", input={"document": "other"}, timeout_s=5)
    assert (await fleet.result("mail-x", input={"document": "x"}, timeout_s=5)).ok


async def test_tasks_lists_what_was_submitted_and_batch_gives_the_results(
    run: Run, peer: FleetPeer, done: list[str], folder: Path
):
    """
    Newest first, with the file and the state; what another user, or nobody, submitted is not there.
    """

    async def status(asked: Asked) -> None:
        task = json.loads(asked.body)["task"]
        await peer.answer(
            asked, TaskStatus(task=task, state="ok" if task in peer.committed else "waiting", pool="local")
        )

    peer.on_question["status"] = status
    empty = await run("tasks")
    submitted = await run("submit", "summarize", str(folder), "--json")
    single = await run("submit", "summarize", "--text", "secret words", "--id", "mail-1")
    missing = next(each["task"] for each in submitted.json if each["file"].endswith("c.txt"))
    batch = missing.rpartition("-")[0]
    del peer.committed[missing]
    listed = await run("tasks")
    newest = await run("tasks", "--limit", "1", "--json")
    present = await run("result", "--batch", batch)
    waited = await run("result", "--batch", batch, "--wait", "--timeout-s", "0.5", "--json")
    unknown = await run("result", "--batch", "no-such")

    assert (empty.code, empty.out) == (0, "")
    assert "nothing was submitted" in empty.err
    assert single.code == 0
    assert listed.rows[0][1] == "mail-1"
    assert {(Path(row[6]).name, row[2], row[5]) for row in listed.rows[1:]} == {
        ("b.txt", "ok", batch),
        ("c.txt", "waiting", batch),
    }
    assert [each["task"] for each in newest.json] == ["mail-1"]
    assert "secret" not in listed.out + newest.out
    assert present.code == 1
    assert [row[1:3] for row in present.rows] == [["ok", "<letter b>"], ["waiting", ""]]
    assert {each["task"]: each.get("state", each.get("status")) for each in waited.json}[missing] == "waiting"
    assert unknown.code == 2
    assert "no-such" in unknown.err


async def test_an_interrupted_submission_says_what_it_did_and_how_to_go_on(
    start: Start, run: Run, peer: FleetPeer, folder: Path
):
    """
    What it says works: the same command with the batch's id, and the batch's results.
    """
    begun = asyncio.Event()

    async def note(_subject: str, _body: bytes, _headers: dict[str, str]) -> None:
        begun.set()

    await peer.make_streams()
    await peer.hold_tasks("summarize", note)
    process = await start("submit", "summarize", str(folder), "--wait")
    await begun.wait()
    while len((await run("tasks")).rows) < 2:
        pass
    process.send_signal(signal.SIGINT)
    out, err = await process.communicate()

    assert (process.returncode, out) == (130, b"")
    assert "2 of 2 tasks submitted" in err.decode()
    hint = next(line for line in err.decode().splitlines() if "--id" in line)
    batch = hint.partition("--id ")[2].split()[0]
    tasks = [row[1] for row in (await run("tasks", "--batch", batch)).rows]
    again = await run("submit", "summarize", str(folder), "--id", batch)
    assert [row[1] for row in again.rows] == ["known", "known"]
    assert sorted(tasks) == sorted(row[2] for row in again.rows)


async def test_an_interrupted_wait_names_the_task(start: Start, peer: FleetPeer):
    """
    It goes on.
    """
    await peer.make_streams()
    process = await start("submit", "summarize", "--text", "x", "--id", "mail-1", "--wait")
    while not any(asked.name == "result" and b"mail-1" in asked.body for asked in peer.api_requests[1:]):
        peer.arrived.clear()
        await peer.arrived.wait()
    process.send_signal(signal.SIGINT)

    assert await process.wait() == 130
    assert "task mail-1 goes on; its result: flotilla result mail-1 --wait" in (await process.stderr.read()).decode()
