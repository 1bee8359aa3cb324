"""
Many people look at a busy fleet: it does not become slower, nobody gets more than five frames a second, and nothing grows.

`PORTAL_LOAD_SECONDS` says for how long (15 s for each part unless told; `make portal-load` has ten minutes), and
`PORTAL_LOAD_RATE` at how many tasks a second. Of a machine that has not the cores for it the test says what was reached.
"""

import asyncio
import os
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import psutil
import pytest
from msgspec import Struct

from flotilla.contracts import subjects
from flotilla.contracts.clock import unix_ms
from flotilla.contracts.results import Event, encode
from flotilla.contracts.subjects import EventKind
from flotilla.testkit.counting_socket import CountingSocket
from flotilla.testkit.fleet import RunningFleet, running_fleet
from flotilla.testkit.patient_client import WAIT_S
from flotilla.testkit.plain_client import eventually
from flotilla.testkit.portal import PortalHere, Stream, start_portal
from flotilla.testkit.raw_client import RawClient, raw_client

MIB: Final = 1024 * 1024
SECONDS_DEFAULT: Final = 15.0
RATE_DEFAULT: Final = 1_000.0
VIEWERS: Final = 200
EVENT_VIEWERS: Final = 20
WARM_S: Final = 5.0
ALONE_S_MAX: Final = 60.0
SETTLED_S: Final = 2.0
BEAT_S: Final = 0.02
IN_FLIGHT_MAX: Final = 256
FRAMES_PER_S_MAX: Final = 5.0
FRAMES_MORE: Final = 3
"""A frame that was about to be sent, and one or two that a busy machine sent late."""
WARM_FRAMES: Final = 50
"""Of each the portal reads 2,000 events: then it holds as many tasks as it may."""
GROWTH_MAX_BYTES: Final = 24 * MIB
SERVER_GROWTH_MAX_BYTES: Final = 96 * MIB
"""It holds up to 64 MiB for a member that a busy machine keeps from reading, and gives them back after minutes."""
CPU_RATIO_MAX: Final = 1.5
ASK: Final = b'{"document":"a","labels":["b"]}'
OK: Final = b'"status":"ok"'
ANSWERS: Final = (OK, b'"status":"failed"', b'\r\n{"error":')
"""Of a task each has one; the last is of one that never was a task."""
TEST: Final = "the test"
PING: Final = b"PING\r\n"
FRAME: Final = b"\nevent: events\n"
STATE: Final = b"\nevent: state\n"
SMALL_STORES: Final = {
    # Full within the warm-up: what a store may hold is no leak.
    "FLOTILLA_RESULTS_MAX": "2000",
    "FLOTILLA_EVENTS_BYTES_MAX": str(4 * MIB),
}
SIMULATED_TASKS_PER_S: Final = 10_000
BEHIND_MAX: Final = 60_000
"""Events: two seconds of them, twelve megabytes."""
KINDS: Final[tuple[EventKind, ...]] = ("queued", "dispatched", "finished")


class Phase(Struct, frozen=True, kw_only=True):
    """
    What the fleet did in a while.

    Attributes:
        tasks: Answered.
        cpu_us: For each task, by process: of orchestrators, workers and nats-server, and of the test with its viewers.
        failed: How many tasks.
    """

    tasks: int
    tasks_per_s: float
    cpu_us: dict[str, float]
    failed: int

    @property
    def cpu_us_each(self) -> float:
        """Of orchestrators, workers and nats-server together."""
        return sum(us for name, us in self.cpu_us.items() if name != TEST)

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {us:,.0f}" for name, us in self.cpu_us.items())
        return f"{self.tasks_per_s:,.0f}/s at {self.cpu_us_each:,.0f} us each ({parts}), {self.failed} failed"


@asynccontextmanager
async def viewers(portal: PortalHere, count: int) -> AsyncGenerator[list[CountingSocket]]:
    """So many open pages; each has had its first snapshot."""
    loop = asyncio.get_running_loop()
    opened: list[tuple[asyncio.Transport, CountingSocket]] = []
    try:
        for _ in range(count):
            transport, viewer = await loop.create_connection(
                lambda: CountingSocket(FRAME, STATE), "127.0.0.1", portal.port
            )
            transport.write(f"GET /stream HTTP/1.1\r\nHost: 127.0.0.1:{portal.port}\r\n\r\n".encode())
            opened.append((transport, viewer))

        async def all_see() -> bool:
            return all(viewer.counts[STATE] for _, viewer in opened)

        await eventually(all_see)
        yield [viewer for _, viewer in opened]
    finally:
        for transport, _ in opened:
            transport.abort()


class Load:
    """
    Tasks at a rate, asked for by one raw connection that counts the answers.

    Attributes:
        answered: So far.
    """

    def __init__(self, fleet: RunningFleet, rate: float) -> None:
        self._fleet = fleet
        self._rate = rate
        self.answered = 0

    async def run(self, seconds: float) -> Phase:
        """Ask for so long; at most IN_FLIGHT_MAX at a time, so a fleet that is slower is asked less."""
        async with raw_client(self._fleet.server.tenant()) as client:
            inbox = f"{self._fleet.server.tenant().inbox_prefix}.load".encode()
            client.subscribe(inbox)
            await client.flush()
            came = client.counted(*ANSWERS, PING)
            sent = pings = 0
            ask = b"PUB ask.classify %b %d\r\n%b\r\n" % (inbox, len(ASK), ASK)
            began_s, cpu_before_s = time.monotonic(), cpu_s(self._fleet)

            def answered() -> int:
                return sum(came.counts[mark] for mark in ANSWERS)

            while (passed_s := time.monotonic() - began_s) < seconds or answered() < sent:
                assert passed_s < seconds + WAIT_S, f"{sent - answered()} of {sent} were not answered"
                assert not came.is_over
                due = min(int(passed_s * self._rate) - sent, IN_FLIGHT_MAX - (sent - answered()))
                due = max(0, due) if passed_s < seconds else 0
                pongs, pings = came.counts[PING] - pings, came.counts[PING]
                client.send(ask * due + b"PONG\r\n" * pongs)
                sent += due
                await asyncio.sleep(BEAT_S)
            took_s = time.monotonic() - began_s
            spent_s = cpu_s(self._fleet)
            self.answered += sent
            return Phase(
                tasks=sent,
                tasks_per_s=sent / took_s,
                cpu_us={name: (spent_s[name] - before_s) / sent * 1e6 for name, before_s in cpu_before_s.items()},
                failed=sent - came.counts[OK],
            )


async def test_a_fleet_that_many_people_look_at_is_as_fast_as_before_and_nothing_grows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """
    CPU for each task with the viewers is what it was before there was a portal; memory of every process is flat.
    """
    monkeypatch.setenv("GOGC", "25")
    seconds = float(os.environ.get("PORTAL_LOAD_SECONDS", SECONDS_DEFAULT))
    rate = float(os.environ.get("PORTAL_LOAD_RATE", RATE_DEFAULT))
    async with running_fleet(tmp_path, orchestrators=1, slots=64, env=SMALL_STORES) as fleet:
        load = Load(fleet, rate)
        await load.run(WARM_S)
        alone = await load.run(min(seconds, ALONE_S_MAX))
        portal = await start_portal(fleet)
        async with viewers(portal, VIEWERS) as open_pages:
            await load.run(WARM_S)
            before = await sizes(fleet, portal)
            began_s, frames, states, came = time.monotonic(), *totals(open_pages)
            portal_before_s = portal_cpu_s(portal)
            watched = await load.run(seconds)
            portal_us = (portal_cpu_s(portal) - portal_before_s) / watched.tasks * 1e6
            took_s = time.monotonic() - began_s
            frames_after, states_after, came_after = totals(open_pages)
            after = await sizes(fleet, portal)
            left = sum(viewer.is_over for viewer in open_pages)

    grown = {name: after[name] - before[name] for name in before}
    worst = max(frames_after[at] - frames[at] for at in range(VIEWERS))
    worst_states = max(states_after[at] - states[at] for at in range(VIEWERS))
    print(  # noqa: T201
        f"\n{load.answered:,} tasks\nalone {alone}\nwith {VIEWERS} viewers {watched}; the portal {portal_us:,.0f} us\n"
        f"frames a second {worst / took_s:.2f}, snapshots {worst_states / took_s:.2f}, "
        f"{(came_after - came) / took_s / MIB:.1f} MiB/s sent",
        {name: f"{before[name] / MIB:.1f} + {grown[name] / MIB:.1f} MiB" for name in before},
        sep="\n",
    )
    assert left == 0
    assert max(worst, worst_states) <= FRAMES_PER_S_MAX * took_s + FRAMES_MORE
    assert min(frames_after[at] - frames[at] for at in range(VIEWERS)) > 0
    assert watched.cpu_us_each < CPU_RATIO_MAX * alone.cpu_us_each
    for name, growth in grown.items():
        assert growth < (SERVER_GROWTH_MAX_BYTES if name == "nats-server" else GROWTH_MAX_BYTES), name


async def test_ten_thousand_tasks_a_second_are_five_frames_a_second(tmp_path: Path):
    """
    Simulated by their events: every one is counted, none makes the portal larger, and viewers get no more frames.
    """
    seconds = float(os.environ.get("PORTAL_LOAD_SECONDS", SECONDS_DEFAULT))
    async with running_fleet(tmp_path, orchestrators=1, env=SMALL_STORES) as fleet:
        portal = await start_portal(fleet)
        async with (
            raw_client(fleet.server.orchestrator()) as raw,
            portal.browser() as browser,
            portal.stream(browser) as stream,
            viewers(portal, EVENT_VIEWERS) as open_pages,
        ):
            sent = 0
            while stream.frames < WARM_FRAMES:
                sent += await publish_events(raw, 1.0, stream)
            await stream.until(lambda stream: count_of(stream) >= sent)
            before, cpu_before_s = portal.process.resident_bytes(), portal_cpu_s(portal)
            began_s, (frames, _, _) = time.monotonic(), totals(open_pages)
            sent_now = await publish_events(raw, seconds, stream)
            sent += sent_now
            sent_s = time.monotonic() - began_s
            await stream.until(lambda stream: count_of(stream) >= sent)
            took_s = time.monotonic() - began_s
            frames_after, _, _ = totals(open_pages)
            grown = portal.process.resident_bytes() - before
            each_us = (portal_cpu_s(portal) - cpu_before_s) / sent_now * 1e6
            counted = count_of(stream)

    worst = max(frames_after[at] - frames[at] for at in range(EVENT_VIEWERS))
    print(  # noqa: T201
        f"\n{sent_now / len(KINDS) / sent_s:,.0f} tasks a second as {sent_now / sent_s:,.0f} events for {sent_s:.0f} s, "
        f"all of which were shown or counted after {took_s:.0f} s, at {each_us:.1f} us of the portal's CPU each; "
        f"frames a second {worst / took_s:.2f}; the portal {before / MIB:.1f} + {grown / MIB:.1f} MiB"
    )
    assert sent == counted
    assert worst <= FRAMES_PER_S_MAX * took_s + FRAMES_MORE
    assert grown < GROWTH_MAX_BYTES


def events_of_a_beat(number: int) -> tuple[bytes, int]:
    """What a fleet says of the tasks of a beat, as it goes over the wire, and of how many events that is."""
    lines: list[bytes] = []
    for at in range(int(SIMULATED_TASKS_PER_S * BEAT_S)):
        for kind in KINDS:
            event = Event(
                task=f"t{number}-{at}",
                capability="classify",
                kind=kind,
                at_unix_ms=unix_ms(),
                pool="" if kind == "queued" else "local",
                model="" if kind == "queued" else "noop-1",
                replica="" if kind == "queued" else "local-w1",
                latency_ms=1.5 if kind == "finished" else 0.0,
            )
            body, subject = encode(event), subjects.events("default", "classify", kind)
            lines.append(b"PUB %b %d\r\n%b\r\n" % (subject.encode(), len(body), body))
    return b"".join(lines), len(lines)


async def publish_events(raw: RawClient, seconds: float, stream: Stream) -> int:
    """
    At the rate of SIMULATED_TASKS_PER_S for so long, or as fast as this machine can; gives how many events.

    The server drops what a member lags behind by tens of megabytes, so of a portal that does is not asked more.
    """
    beats = [events_of_a_beat(number) for number in range(int(2 / BEAT_S))]
    sent, seen, number, began_s = 0, count_of(stream), 0, time.monotonic()
    while time.monotonic() - began_s < seconds:
        data, count = beats[number % len(beats)]
        raw.send(data)
        sent, number = sent + count, number + 1
        await raw.flush()
        await stream.until(lambda stream, least=seen + sent - BEHIND_MAX: count_of(stream) >= least)
        await asyncio.sleep(max(0.0, began_s + number * BEAT_S - time.monotonic()))
    return sent


def totals(open_pages: list[CountingSocket]) -> tuple[list[int], list[int], int]:
    """Frames and snapshots of each so far, and the bytes of all."""
    return (
        [viewer.counts[FRAME] for viewer in open_pages],
        [viewer.counts[STATE] for viewer in open_pages],
        sum(viewer.size_bytes for viewer in open_pages),
    )


def count_of(stream: Stream) -> int:
    """How many events a page was sent, or told of."""
    return len(stream.events) + stream.dropped


def portal_cpu_s(portal: PortalHere) -> float:
    """What the portal has used of the processors."""
    return sum(psutil.Process(portal.process.pid).cpu_times()[:2])


def cpu_s(fleet: RunningFleet) -> dict[str, float]:
    """What orchestrators, workers and nats-server have used of the processors, and this process."""
    found = {process.name: sum(psutil.Process(process.pid).cpu_times()[:2]) for process in fleet.processes}
    found["nats-server"] = sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in fleet.server.pids)
    return found | {TEST: time.process_time()}


async def sizes(fleet: RunningFleet, portal: PortalHere) -> dict[str, int]:
    """Resident bytes by process, once it is calm."""
    await asyncio.sleep(SETTLED_S)
    found = {process.name: process.resident_bytes() for process in (*fleet.processes, portal.process)}
    found["nats-server"] = sum(psutil.Process(pid).memory_info().rss for pid in fleet.server.pids)
    return found
