"""`flotilla` as a process: what it prints, and how it ends."""

import asyncio
import json
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import Struct

from flotilla.client import ErrorKind
from flotilla.contracts.api import FleetStatus, PoolStatus, TaskStatus
from flotilla.contracts.failures import ErrorBody
from flotilla.contracts.results import Event
from flotilla.testkit.commands import RunningCommand, start_command
from flotilla.testkit.fleet_peer import Asked, FleetPeer, result_of
from flotilla.testkit.nats_server import RunningServer

NOWHERE = "nats://127.0.0.1:1"
FAILURE = ErrorBody(kind=ErrorKind.PROVIDER_FAILED, message="every route failed")


class Ended(Struct, frozen=True):
    """How a process ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> list[dict[str, Any]]:
        """Its output as JSON, a line each."""
        return [json.loads(line) for line in self.out.splitlines()]


Run = Callable[..., Awaitable[Ended]]


async def _start(url: str, *arguments: str) -> RunningCommand:
    return await start_command(*arguments, environ={"FLOTILLA_NATS_URL": url}, stdin=True)


async def _run(url: str, *arguments: str, stdin: str = "") -> Ended:
    process = await _start(url, *arguments)
    out, err = await process.communicate(stdin.encode())
    ended = Ended(process.returncode or 0, out.decode(), err.decode())
    assert "Traceback" not in ended.err, ended.err
    return ended


@pytest.fixture
def run(nats_server: RunningServer, peer: FleetPeer) -> Run:
    """
    Runs the command against the scripted fleet.
    """

    async def run(*arguments: str, stdin: str = "") -> Ended:
        return await _run(nats_server.url, *arguments, stdin=stdin)

    return run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """
    Two documents, one that fails, and one that is no text.
    """
    folder = tmp_path / "mail"
    folder.mkdir()
    for name in ("a", "b", "fail"):
        (folder / f"{name}.txt").write_text(name)
    (folder / "x.png").write_bytes(b"\x89PNG\x00")
    return folder


def _summarizing(peer: FleetPeer) -> None:
    async def summarize(asked: Asked) -> None:
        document = json.loads(asked.body)["document"]
        error = FAILURE if document.strip() == "fail" else None
        await peer.finish(asked, result_of("t-1", asked.name, output={"summary": f"<{document}>"}, error=error))

    peer.on_ask = summarize


async def test_ask_prints_the_answer_and_says_aside_where_it_ran(run: Run, peer: FleetPeer):
    """
    A pipe gets the answer alone; standard input is the document.
    """
    _summarizing(peer)

    ended = await run("ask", "summarize", "-", "--max-words", "5", stdin="a letter")

    assert (ended.code, ended.out) == (0, "<a letter>\n")
    assert ended.err == "local: local/small · scripted · 6 ms · 30 → 2 tokens · t-1\n"
    assert json.loads(peer.asked[0].body) == {"max_words": 5, "document": "a letter"}


async def test_ask_for_programs_prints_the_result_as_it_came(run: Run, peer: FleetPeer):
    """
    One line of JSON; JSON goes in as an argument too.
    """
    _summarizing(peer)

    ended = await run("ask", "summarize", "--json", '{"document": "x"}')

    assert (ended.code, ended.err) == (0, "")
    assert [(each["status"], each["output"]) for each in ended.json] == [("ok", {"summary": "<x>"})]


async def test_a_failed_task_ends_with_1(run: Run, peer: FleetPeer):
    """
    With its attempts for people, and its result for programs.
    """
    _summarizing(peer)

    people = await run("ask", "summarize", "--text", "fail")
    programs = await run("ask", "summarize", "--text", "fail", "--json")

    assert (people.code, people.out) == (1, "")
    assert "provider_failed: every route failed" in people.err
    assert "local/small: timeout after 4 ms" in people.err
    assert programs.code == 1
    assert programs.json[0]["error"]["kind"] == "provider_failed"
    assert programs.json[0]["attempts"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["ask"], "CAPABILITY"),
        (["ask", "summarize", "--text", "x", "--no-such-option"], "no-such-option"),
        (["ask", "summarize", "--text", "x", "--deadline-s", "soon"], "deadline-s"),
        (["ask", "summarize", "--text", "x", "--deadline-s", "-1"], "deadline_s"),
        (["ask", "classify", "--text", "x"], "--labels"),
        (["no-such-command"], "no-such-command"),
        (["status", "--creds", "missing.nk"], "missing.nk"),
        (["status", "--url", "junk://"], "--url"),
        (["ask", "summarize", "--text", "x", "--url", ""], "--url"),
    ],
)
async def test_usage_ends_with_2(run: Run, arguments: list[str], says: str):
    """
    The words of the mistake are in what it says; standard output stays empty.
    """
    ended = await run(*arguments)

    assert (ended.code, ended.out) == (2, "")
    assert says in ended.err


async def test_no_fleet_ends_with_3(nats_server: RunningServer):
    """
    No server, or a server without orchestrators; it says what to do.
    """
    no_server, no_orchestrator, program = await asyncio.gather(
        _run(NOWHERE, "ask", "summarize", "--text", "x"),
        _run(nats_server.url, "ask", "summarize", "--text", "x"),
        _run(NOWHERE, "status", "--json"),
    )

    assert (no_server.code, no_orchestrator.code, program.code) == (3, 3, 3)
    assert f"no fleet at {NOWHERE}" in no_server.err
    assert "flotilla up" in no_server.err
    assert "nobody answers on ask.summarize" in no_orchestrator.err
    assert f"no orchestrator answers at {nats_server.url}" in no_orchestrator.err
    assert "kubectl -n flotilla get pods" in no_orchestrator.err
    assert "--url" not in no_orchestrator.err
    assert program.json[0]["error"]["kind"] == "no_fleet"


async def test_credentials_of_another_role_are_told_so_with_whose_it_takes(nats_server: RunningServer):
    """
    A tenant decides on no approvals; it is no missing fleet.
    """
    person, program = await asyncio.gather(
        _run(nats_server.url, "approvals", "list"), _run(nats_server.url, "audit", "--json")
    )

    assert (person.code, program.code) == (3, 3)
    assert "these credentials may not ask on api.approvals" in person.err
    assert "approver.<scope>.nk" in person.err
    assert "no fleet" not in person.err
    assert program.json[0]["error"]["kind"] == "not_permitted"


async def test_a_folder_is_a_task_for_each_file(run: Run, peer: FleetPeer, folder: Path):
    """
    One that fails does not stop the others, and shows in the exit code.
    """
    _summarizing(peer)

    table, lines = await asyncio.gather(
        run("ask", "summarize", str(folder)), run("ask", "summarize", str(folder), "--json")
    )

    assert (table.code, lines.code) == (1, 1)
    rows = [line.split("\t") for line in table.out.splitlines()]
    assert [(Path(row[0]).name, *row[1:5]) for row in rows] == [
        ("a.txt", "ok", "<a>", "local", "small"),
        ("b.txt", "ok", "<b>", "local", "small"),
        ("fail.txt", "failed", "provider_failed: every route failed", "local", "small"),
        ("x.png", "refused", f"bad_request: {folder}/x.png: binary, no text", "", ""),
    ]
    assert "2 of 4 ok" in table.err
    assert {Path(each["file"]).name: each.get("output") for each in lines.json} == {
        "a.txt": {"summary": "<a>"},
        "b.txt": {"summary": "<b>"},
        "fail.txt": None,
        "x.png": None,
    }


async def test_a_stream_is_printed_as_it_comes(run: Run, peer: FleetPeer):
    """
    For programs, a line for each piece and then the result.
    """

    async def tell(asked: Asked) -> None:
        await peer.piece(asked, 0, "once ")
        await peer.piece(asked, 1, "upon")
        await peer.finish(asked, result_of("t-1", asked.name, output={"summary": "once upon"}))

    peer.on_ask = tell

    people, programs = await asyncio.gather(
        run("ask", "summarize", "--text", "x", "--stream"), run("ask", "summarize", "--text", "x", "--stream", "--json")
    )

    assert (people.code, people.out) == (0, "once upon\n")
    assert [each.get("text") for each in programs.json] == ["once ", "upon", None]
    assert programs.json[0] == {"type": "piece", "seq": 0, "text": "once "}


async def test_submit_prints_an_id_that_result_takes(run: Run, peer: FleetPeer):
    """
    Not there yet, then there.
    """

    async def status(asked: Asked) -> None:
        await peer.answer(asked, TaskStatus(task="seq-1", state="running", pool="local", model="small"))

    await peer.make_streams()
    peer.on_question["status"] = status

    submitted = await run("submit", "summarize", "--text", "x", "--priority", "high")
    early = await run("result", submitted.out.strip())
    await peer.commit(result_of("seq-1", "summarize", output={"summary": "short"}))
    there = await run("result", "seq-1")

    assert (submitted.code, submitted.out) == (0, "seq-1\n")
    assert (early.code, early.out) == (1, "")
    assert "task seq-1 is running on local/small; --wait waits" in early.err
    assert (there.code, there.out) == (0, "short\n")


async def test_submit_can_wait_for_a_folder(run: Run, peer: FleetPeer, folder: Path):
    """
    Every file has its outcome, under its own name.
    """

    async def work(_subject: str, body: bytes, headers: dict[str, str]) -> None:
        document = json.loads(body)["document"]
        error = FAILURE if document == "fail" else None
        await peer.commit(
            result_of(headers["Nats-Msg-Id"], "summarize", output={"summary": f"<{document}>"}, error=error)
        )

    await peer.make_streams()
    await peer.hold_tasks("summarize", work)

    ended = await run("submit", "summarize", str(folder), "--wait", "--json")

    assert ended.code == 1
    assert {Path(each["file"]).name: each.get("output") for each in ended.json} == {
        "a.txt": {"summary": "<a>"},
        "b.txt": {"summary": "<b>"},
        "fail.txt": None,
        "x.png": None,
    }


async def test_status_shows_the_pools_and_the_backlog(run: Run, peer: FleetPeer):
    """
    Tab-separated into a pipe.
    """
    pool = PoolStatus(
        zone="cloud",
        pool="anthropic",
        provider="anthropic",
        replicas=2,
        slots=8,
        busy=3,
        models=["m"],
        capabilities=["chat"],
    )

    engine = msgspec.structs.replace(pool, zone="local", pool="local", provider="embedded", stand_in=True)

    async def status(asked: Asked) -> None:
        await peer.answer(
            asked,
            FleetStatus(
                scope="default", orchestrator="o", pools=[pool, engine], backlog=[], dead=2, stores_nothing=True
            ),
        )

    peer.on_question["status"] = status

    ended = await run("status")

    rows = ["cloud\tanthropic\tanthropic\t2\t8\t3\tm\tchat", "local\tlocal\tembedded (stands in)\t2\t8\t3\tm\tchat"]
    assert (ended.code, ended.out.splitlines()) == (0, rows)
    assert "2 dead tasks" in ended.err
    assert "NATS stores nothing" in ended.err


async def test_watch_prints_events_until_it_is_interrupted(nats_server: RunningServer, peer: FleetPeer):
    """
    Ctrl-C ends it with 130 and without a word.
    """
    process = await _start(nats_server.url, "watch", "--json")
    first = asyncio.ensure_future(process.stdout.readline())
    while not first.done():
        await peer.tell(Event(task="t-1", capability="classify", kind="finished", at_unix_ms=1))
        await asyncio.wait({first}, timeout=0.05)
    assert json.loads(await first)["task"] == "t-1"

    process.send_signal(signal.SIGINT)

    assert await process.wait() == 130
    assert await process.stderr.read() == b""


async def test_an_interrupted_ask_stops_the_task(nats_server: RunningServer, peer: FleetPeer):
    """
    The model does not go on for nobody.
    """
    peer.on_ask = None
    process = await _start(nats_server.url, "ask", "summarize", "--text", "x")
    await peer.arrived.wait()
    peer.arrived.clear()

    process.send_signal(signal.SIGINT)
    await peer.arrived.wait()

    assert await process.wait() == 130
    assert await process.stderr.read() == b""
    task = peer.asked[0].headers["Nats-Msg-Id"]
    assert [(asked.name, json.loads(asked.body)) for asked in peer.api_requests] == [("cancel", {"task": task})]


async def test_a_reader_that_goes_away_is_no_error(nats_server: RunningServer, peer: FleetPeer):
    """
    As in `flotilla watch | head -1`.
    """
    process = await _start(nats_server.url, "watch")
    first = asyncio.ensure_future(process.stdout.readline())
    event = Event(task="t-1", capability="classify", kind="finished", at_unix_ms=1)
    while not first.done():
        await peer.tell(event)
        await asyncio.wait({first}, timeout=0.05)
    process.stop_reading()
    ending = asyncio.ensure_future(process.wait())
    while not ending.done():
        await peer.tell(event)
        await asyncio.wait({ending}, timeout=0.05)

    assert await ending == 141
    assert await process.stderr.read() == b""


async def test_help_needs_no_nats_client():
    """
    It is shown at once, and names every command.
    """
    code = (
        "import sys; from flotilla.cli.command import main; main(['--help']);"
        "sys.exit(any(name.split('.')[0] == 'nats' for name in sys.modules))"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()

    assert process.returncode == 0
    for name in ("ask", "submit", "result", "status", "watch", "cancel", "dead"):
        assert f" {name} " in out.decode()
