"""`flotilla watch` and `status` on narrow terminals, and the key that leaves."""

import asyncio
import re

import pytest

from flotilla.contracts.api import FleetStatus, PoolStatus
from flotilla.contracts.api_routing import RouteReport, StatsReply
from flotilla.contracts.results import Event
from flotilla.testkit.fleet_peer import Asked, FleetPeer
from flotilla.testkit.nats_server import RunningServer
from flotilla.testkit.terminal import on_terminal

POOL = "anthropic-production"
STYLES = re.compile(r"\x1b\[[0-9;]*m")
MODELS = ["llama3.2:latest", "qwen2.5-coder:32b-instruct-q4_K_M", "nomic-embed-text:latest"]


@pytest.fixture
def watched(peer: FleetPeer) -> FleetPeer:
    """
    A fleet with a pool of a long name, and a route of it that was left.
    """
    pool = PoolStatus(
        zone="cloud", pool=POOL, provider="p", replicas=1, slots=8, busy=3, models=MODELS, capabilities=["chat"]
    )
    route = RouteReport(
        pool=POOL,
        model=MODELS[1],
        capability="classify",
        attempts=9,
        outcomes={},
        in_flight=0,
        p50_ms=1.0,
        p95_ms=2.0,
        error_rate=0.5,
        input_tokens=0,
        output_tokens=0,
        cost_usd=0.0,
        standing="left",
        why="half of the attempts failed",
    )

    async def status(asked: Asked) -> None:
        await peer.answer(asked, FleetStatus(scope="default", orchestrator="o", pools=[pool], backlog=[], dead=1))

    async def stats(asked: Asked) -> None:
        await peer.answer(asked, StatsReply(orchestrator="o", routes=[route]))

    peer.on_question.update(status=status, stats=stats)
    return peer


@pytest.mark.parametrize("columns", [60, 80])
async def test_q_leaves_a_watch_that_shows_every_pool(nats_server: RunningServer, watched: FleetPeer, columns: int):
    """
    At once, with 0, and the terminal is as it was; other keys do nothing and are not shown.
    """
    environ = {"FLOTILLA_NATS_URL": nats_server.url}
    async with on_terminal(["-m", "flotilla.cli", "watch"], environ, columns=columns) as terminal:
        await terminal.until(lambda shown: "q leaves" in shown and shown.count(POOL) >= 2)
        assert terminal.is_quiet_about_keys()
        terminal.press("x\n")
        event = asyncio.ensure_future(terminal.until(lambda shown: "mail-4711" in shown))
        while not event.done():
            await watched.tell(Event(task="mail-4711", capability="classify", kind="finished", at_unix_ms=1))
            await asyncio.wait({event}, timeout=0.05)
        assert terminal.process.returncode is None
        terminal.press("q")
        assert await terminal.ended() == 0
        assert not terminal.is_quiet_about_keys()
    assert "cloud" in await event
    assert "1 dead" in terminal.shown


async def test_status_names_every_pool_on_a_narrow_terminal(nats_server: RunningServer, watched: FleetPeer):
    """
    A row is a line, and one is told as one.
    """
    environ = {"FLOTILLA_NATS_URL": nats_server.url, "NO_COLOR": "1"}
    async with on_terminal(["-m", "flotilla.cli", "status"], environ, columns=60) as terminal:
        assert await terminal.ended() == 0
    lines = STYLES.sub("", terminal.shown).splitlines()

    assert any(line.split()[:2] == ["cloud", POOL] for line in lines)
    assert all(len(line) <= 60 for line in lines)
    assert "half of the" in terminal.shown
    assert "1 dead task:" in terminal.shown
