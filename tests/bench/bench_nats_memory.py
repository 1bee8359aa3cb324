"""
What each thing that a fleet stores costs nats-server in memory: the figures of the sizing table in docs/deploy.md.

Run it by itself: `python tests/bench/bench_nats_memory.py [count]`. Each line is a server of its own with the streams of
one scope, or of many: its resident memory before and after so many things are stored, and the difference for each. The
server collects garbage early (GOGC=25), so that what is resident is little more than what is alive.
"""

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Final

import msgspec

from flotilla.contracts import subjects
from flotilla.fabric.connection import connected
from flotilla.fabric.inbox import Requests
from flotilla.provisioning.streams import ensure
from flotilla.provisioning.topology import TopologyLimits, topology
from flotilla.testkit.nats_server import RunningServer, running_server

COUNT: Final = 100_000
AT_ONCE: Final = 256
SETTLE_S: Final = 3.0
SCOPES: Final = 40
BODY: Final = b"x" * 500
ROOM: Final = TopologyLimits(
    backlog_max=10_000_000,
    tasks_max=10_000_000,
    results_max=10_000_000,
    dead_max=10_000_000,
    blackboard_values_max=10_000_000,
)

Message = tuple[str, dict[str, str] | None]
Messages = Callable[[int], Message]


def _results(number: int) -> Message:
    return subjects.commit("default", "classify", f"01j{number:023x}"), None


def _dead(number: int) -> Message:
    return subjects.dead("default", "classify", f"01j{number:023x}"), None


def _keys(number: int) -> Message:
    return subjects.key(subjects.blackboard_bucket("default"), f"agents.a{number:07x}.state"), None


def _histories(number: int) -> Message:
    return subjects.key(subjects.blackboard_bucket("default"), f"agents.a{number // 10:07x}.state"), None


def _waiting(_number: int) -> Message:
    return subjects.tasks("default", "classify"), None


def _waiting_with_ids(number: int) -> Message:
    return subjects.tasks("default", "classify"), {"Nats-Msg-Id": f"01j{number:023x}"}


def _waiting_apart(number: int) -> Message:
    return subjects.tasks("default", f"c{number:x}"), None


def _events(number: int) -> Message:
    return subjects.events("default", "classify", "finished"), {"Flotilla-Task": f"01j{number:023x}"}


STORED: Final[dict[str, Messages]] = {
    "result": _results,
    "dead letter": _dead,
    "key of the blackboard": _keys,
    "value of the blackboard, ten of a key": _histories,
    "waiting task": _waiting,
    "waiting task with an id (10 minutes)": _waiting_with_ids,
    "waiting task on a subject of its own": _waiting_apart,
    "event": _events,
}


async def store(requests: Requests, messages: Messages, count: int) -> None:
    """Store so many, AT_ONCE at a time."""
    for start in range(0, count, AT_ONCE):
        batch = (messages(number) for number in range(start, min(count, start + AT_ONCE)))
        replies = await asyncio.gather(
            *(requests.request(subject, BODY, headers=headers) for subject, headers in batch)
        )
        for reply in replies:
            answer = msgspec.json.decode(reply.data)
            if "error" in answer:
                raise RuntimeError(answer["error"]["description"])


async def resident_bytes(server: RunningServer) -> int:
    """Once it is calm."""
    await asyncio.sleep(SETTLE_S)
    for line in Path(f"/proc/{server.pid}/status").read_text().splitlines():  # noqa: ASYNC240  (no disk)
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("the server is gone")


async def _servers(scopes: tuple[str, ...]) -> AsyncIterator[tuple[RunningServer, Requests]]:
    with tempfile.TemporaryDirectory(prefix="bench-nats-memory-") as directory:
        async with (
            running_server(Path(directory), scopes=scopes) as server,
            connected(server.admin(), name="bench") as connection,
        ):
            requests = Requests(connection)
            await requests.start()
            yield server, requests
            await requests.stop()


async def measure(what: str, scopes: tuple[str, ...], count: int, do: Callable[[Requests], Awaitable[None]]) -> None:
    """Print what each of `count` things costs."""
    async for server, requests in _servers(scopes):
        if "scope" not in what:
            await ensure(requests, topology(scopes, ROOM))
        before = await resident_bytes(server)
        await do(requests)
        after = await resident_bytes(server)
        each = (after - before) / count
        grown = f"{before / 2**20:7.1f} {after / 2**20:7.1f} MiB"
        print(f"{what:<40} {count:>8,} {grown} {each:9,.0f} bytes each", flush=True)  # noqa: T201  (its purpose)


async def main(count: int) -> None:
    """Measure each."""
    os.environ["GOGC"] = "25"
    scopes = ("default", *(f"scope-{number}" for number in range(1, SCOPES)))
    await measure(
        "scope with its five stores", scopes, SCOPES, lambda requests: ensure(requests, topology(scopes, ROOM))
    )
    for what, messages in STORED.items():
        await measure(what, ("default",), count, lambda requests, messages=messages: store(requests, messages, count))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else COUNT))
