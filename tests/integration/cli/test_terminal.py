"""The command on a terminal: whatever the fleet, a document or a provider says, the terminal shows and does not obey."""

import asyncio
import json
import os
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from flotilla.contracts.api import (
    Backlog,
    DeadEntry,
    DeadList,
    FleetStatus,
    PoolStatus,
    ReplicasReply,
    TaskStatus,
)
from flotilla.contracts.api_routing import (
    ExplainedRoute,
    Explanation,
    PolicyHistory,
    PolicyReply,
    PolicyVersion,
    RouteReport,
    StatsReply,
)
from flotilla.contracts.failures import ErrorBody, ErrorKind
from flotilla.contracts.presence import ModelCard, ReplicaCard
from flotilla.contracts.results import DeadRecord, Event, Result
from flotilla.testkit.commands import start_command
from flotilla.testkit.fleet_peer import Asked, FleetPeer, result_of
from flotilla.testkit.nats_server import RunningServer
from flotilla.testkit.terminal import on_terminal

EVIL = "a\x1b]0;owned\x07b\x9b2Jc\x9d52;c;AAAA\x9cd\u202etxt.exe\u2066e\u200bf\rg\x08h\x7fi"
WORD = "noop"
"""Where a field is a name: with anything else in it the message does not decode."""
OBEYED = re.compile("\x1b\\][0-9]|owned\x07|[\x80-\x9f\u200b\u202a-\u202e\u2066-\u2069\x08\x7f]")
FAILURE = ErrorBody(kind=ErrorKind.PROVIDER_FAILED, message=EVIL, details={EVIL: EVIL})
POOL = PoolStatus(
    zone="cloud", pool=EVIL, provider=EVIL, replicas=2, slots=8, busy=3, models=[EVIL], capabilities=[EVIL]
)
REPORT = RouteReport(
    pool=EVIL,
    model=EVIL,
    capability=EVIL,
    attempts=1,
    outcomes={EVIL: 1},
    in_flight=0,
    p50_ms=1.0,
    p95_ms=2.0,
    error_rate=0.5,
    input_tokens=0,
    output_tokens=0,
    cost_usd=0.0,
    standing="left",
    why=EVIL,
)
CARD = ReplicaCard(
    zone="local",
    pool=WORD,
    replica=WORD,
    provider=WORD,
    models=[ModelCard(name=WORD, capabilities=[WORD])],
    slots=1,
)
ROUTE = ExplainedRoute(pool=EVIL, model=EVIL, reason=EVIL, in_order=1, zone="local", figures={"standing": EVIL})
DEAD = DeadRecord(
    task="t-1",
    scope="default",
    capability=WORD,
    error=FAILURE,
    at_unix_ms=1,
    subject=EVIL,
    headers={EVIL: EVIL},
    body=EVIL.encode(),
)


def _evil_result(capability: str, output: Any, *, error: ErrorBody | None = None) -> Result:
    result = result_of("t-1", capability, output=output, error=error)
    return msgspec.structs.replace(result, labels={EVIL: EVIL})


@pytest.fixture
def evil(peer: FleetPeer) -> FleetPeer:
    """
    Every answer holds what a terminal would obey, wherever there is text.
    """

    def answer(body: msgspec.Struct) -> Callable[[Asked], Awaitable[None]]:
        async def script(asked: Asked) -> None:
            await peer.answer(asked, body)

        return script

    async def on_ask(asked: Asked) -> None:
        document = json.loads(asked.body).get("document")
        outputs: dict[str, Any] = {
            "classify": {"label": EVIL, "confidence": 0.5, "rationale": EVIL},
            "extract-entities": {"entities": [{"type": EVIL, "text": EVIL, "start": 0, "end": 1}]},
            "own": {EVIL: [EVIL]},
        }
        if asked.headers.get("Flotilla-Stream"):
            await peer.piece(asked, 0, EVIL)
        error = FAILURE if document == "fail" else None
        await peer.finish(asked, _evil_result(asked.name, outputs.get(asked.name, {"summary": EVIL}), error=error))

    async def status(asked: Asked) -> None:
        if b"t-1" in asked.body:
            await peer.answer(
                asked, TaskStatus(task="t-1", state="failed", capability=EVIL, pool=EVIL, model=EVIL, error=FAILURE)
            )
        else:
            backlog = [Backlog(capability=EVIL, high=1)]
            await peer.answer(asked, FleetStatus(scope=EVIL, orchestrator=EVIL, pools=[POOL], backlog=backlog, dead=1))

    async def dead(asked: Asked) -> None:
        entry = DeadEntry(task="t-1", capability=EVIL, error=FAILURE, at_unix_ms=1, size_bytes=1)
        await peer.answer(asked, DEAD if b"show" in asked.body else DeadList(dead=[entry]))

    async def policy(asked: Asked) -> None:
        version = PolicyVersion(revision=1, author=EVIL, at_unix_ms=1)
        reply = PolicyReply(revision=1, toml=EVIL, author=EVIL, at_unix_ms=1, warnings=[EVIL])
        await peer.answer(asked, PolicyHistory(versions=[version]) if b"history" in asked.body else reply)

    peer.on_ask = on_ask
    peer.committed["t-1"] = _evil_result("summarize", {"summary": EVIL})
    explanation = Explanation(
        capability=EVIL,
        data_class="internal",
        strategy=EVIL,
        policy_revision=1,
        routes=[ROUTE],
        excluded=[ROUTE],
        reason=EVIL,
    )
    peer.on_question.update(
        {
            "status": status,
            "dead": dead,
            "policy": policy,
            "stats": answer(StatsReply(orchestrator=EVIL, routes=[REPORT])),
            "replicas": answer(ReplicasReply(replicas=[CARD])),
            "explain": answer(explanation),
        }
    )
    return peer


END = "<end of command>"
ONE_AFTER_ANOTHER = f"""
import json, sys
from flotilla.cli.command import main
for command in json.loads(sys.argv[1]):
    main(command)
    print("{END}", flush=True)
"""
COMMANDS = (
    ("ask", "summarize", "--text", "x"),
    ("ask", "summarize", "--text", "x", "--stream"),
    ("ask", "summarize", "--text", "fail"),
    ("ask", "classify", "--text", "x", "--labels", "a,b"),
    ("ask", "extract-entities", "--text", "x"),
    ("ask", "own", "--text", "x"),
    ("ask", "summarize", "FOLDER"),
    ("result", "t-1"),
    ("status",),
    ("status", "t-1"),
    ("status", "--replicas"),
    ("explain", "summarize"),
    ("dead", "list"),
    ("dead", "show", "t-1"),
    ("policy", "get"),
    ("policy", "history"),
    ("policy", "rollback"),
)


@pytest.mark.parametrize("form", [(), ("--json",)], ids=["people", "programs"])
async def test_a_terminal_obeys_nothing_that_comes_from_outside(
    nats_server: RunningServer, evil: FleetPeer, tmp_path: Path, form: tuple[str, ...]
):
    """
    In every command, for people and as JSON, which stays valid and says what it said.
    """
    folder = tmp_path / "mail"
    folder.mkdir()
    for name in ("a\x1b]0;owned\x07.txt", "b\u202e.txt"):
        (folder / name).write_text("x")

    commands = [[str(folder) if word == "FOLDER" else word for word in command] + [*form] for command in COMMANDS]
    environ = {"FLOTILLA_NATS_URL": nats_server.url, "NO_COLOR": "1"}
    async with on_terminal(["-c", ONE_AFTER_ANOTHER, json.dumps(commands)], environ, columns=100) as terminal:
        assert await terminal.ended() == 0, terminal.shown
    parts = terminal.shown.split(END)[:-1]

    assert len(parts) == len(COMMANDS)
    for command, shown in zip(COMMANDS, parts, strict=True):
        assert OBEYED.search(shown) is None, (command, shown)
        assert shown.strip(), command
        if form and command != ("status", "--replicas"):
            said = [json.loads(line) for line in shown.splitlines() if line.strip()]
            assert EVIL in _strings(said), command


def _strings(value: Any) -> set[str]:
    match value:
        case str():
            return {value}
        case list():
            return set[str]().union(*map(_strings, value))  # pyright: ignore[reportUnknownArgumentType]
        case dict():
            return set[str]().union(*map(_strings, [*value, *value.values()]))  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
        case _:
            return set()


async def test_watch_obeys_nothing_that_comes_from_outside(nats_server: RunningServer, evil: FleetPeer):
    """
    The live screen is drawn with escapes of its own; none of them comes from an event.
    """
    event = Event(task="t-1", capability="c", kind="failed", at_unix_ms=1, pool=WORD, labels={EVIL: EVIL})
    environ = {"FLOTILLA_NATS_URL": nats_server.url}
    async with on_terminal(["-m", "flotilla.cli", "watch"], environ, columns=200, rows=40) as terminal:
        shown = asyncio.ensure_future(terminal.until(lambda shown: shown.count("failed") > 1))
        while not shown.done():
            await evil.tell(event)
            await asyncio.wait({shown}, timeout=0.05)

    assert OBEYED.search(await shown) is None


async def test_a_pipe_gets_every_character(nats_server: RunningServer, evil: FleetPeer):
    """
    A program that reads an answer gets what the model said, and JSON a line each even where a worker wrote several.
    """

    async def on_ask(asked: Asked) -> None:
        result = result_of("t-1", asked.name)
        output = msgspec.Raw(b'{"a":\r\n"\xc2\x9b",\n"n":1.10000000000000000001}')
        await evil.finish(asked, msgspec.structs.replace(result, output=output))

    text = await _piped(nats_server.url, "ask", "summarize", "--text", "x")
    evil.on_ask = on_ask
    lines = await _piped(nats_server.url, "ask", "own", "--text", "x", "--json")

    assert text.rstrip("\n") == EVIL
    assert len(lines.splitlines()) == 1
    assert "\x9b" in lines
    assert "1.10000000000000000001" in lines


async def test_a_name_that_is_no_text_ends_nothing(nats_server: RunningServer, evil: FleetPeer, tmp_path: Path):
    """
    A file's name is bytes; its task is done, and JSON names it as well as JSON can.
    """
    folder = tmp_path / "mail"
    folder.mkdir()
    for name in (b"caf\xe9.txt", b"x.txt"):
        (folder / os.fsdecode(name)).write_text("x")

    lines = await _piped(nats_server.url, "ask", "summarize", str(folder), "--json")
    rows = await _piped(nats_server.url, "ask", "summarize", str(folder))

    assert sorted(Path(json.loads(line)["file"]).name for line in lines.splitlines()) == ["caf\ufffd.txt", "x.txt"]
    assert len(rows.splitlines()) == 2


async def _piped(url: str, *arguments: str) -> str:
    process = await start_command(*arguments, environ={"FLOTILLA_NATS_URL": url})
    out, err = await process.communicate()
    assert b"Traceback" not in err, err
    return out.decode()
