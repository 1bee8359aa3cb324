"""
Stolen credentials at work beside honest callers: a tenant, workers of either zone, the observer and an approver, each sending
what breaks things.

`CHAOS_SECONDS` says for how long, `FUZZ_MESSAGES` how many broken messages the second test sends; `CHAOS_SEED` repeats one.
"""

import asyncio
import os
import random
import statistics
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import psutil
import pytest

from flotilla.fabric.connection import NatsSettings
from flotilla.provisioning.accounts import SEVERAL_REPLIES_THRESHOLD_S
from flotilla.testkit.fleet import RunningFleet, running_fleet
from flotilla.testkit.hostile import APPROVER, CLOUD_WORKER, LOCAL_WORKER, OBSERVER, TENANT, Form, Hostile
from flotilla.testkit.plain_client import BODIES, PlainClient, new_task
from flotilla.testkit.raw_client import raw_client
from flotilla.testkit.server_heap import held_bytes, profiled_binary
from flotilla.testkit.steady_load import steady_load

MIB = 1024 * 1024
RATE_HZ = 20
ABUSE_PER_TURN = 30
TURN_S = 0.2
QUIET_S = 4.0
FUZZ_MESSAGES_DEFAULT = 1_000_000
EXPIRED_S = 3.0
GROWTH_MAX_BYTES = 40 * MIB
SERVER_GROWTH_MAX_BYTES = 8 * MIB
"""Of what nats-server holds without the buffers of its streams' blocks."""
SMALL_STORES = {
    # Full within the first quarter: what a store may hold is no leak, and is in the sizing table.
    "FLOTILLA_TASKS_MAX": "2000",
    "FLOTILLA_RESULTS_MAX": "2000",
    "FLOTILLA_DEAD_MAX": "200",
    "FLOTILLA_EVENTS_BYTES_MAX": str(4 * MIB),
    "FLOTILLA_BLACKBOARD_VALUES_MAX": "500",
}
GATED = """
name = "gated"
[input]
type = "object"
[steps.sort]
capability = "classify"
input = { document = "${input.document}", labels = ["a", "b"] }
[steps.report]
capability = "summarize"
approval = { expires_s = 5 }
input = { document = "${input.document}, ${steps.sort.label}" }
[output]
text = "${steps.report.summary}"
"""
OPEN = GATED.replace('"gated"', '"open"').replace("approval = { expires_s = 5 }\n", "")
POLICY = 'format = 1\n[default]\nstrategy = "failover"\n'


def _luck() -> random.Random:
    seed = int(os.environ.get("CHAOS_SEED", random.SystemRandom().randrange(10**6)))
    print(f"seed={seed}")  # noqa: T201  (a failing test shows it)
    return random.Random(seed)


def _fleet(
    directory: Path, *, orchestrators: int = 1, local: int = 1, env: Mapping[str, str] | None = None
) -> AbstractAsyncContextManager[RunningFleet]:
    """With everything that a thief may be after: a sealed lane, vaults, pipelines with and without a gate."""
    pipelines = directory / "pipelines"
    pipelines.mkdir()
    (pipelines / "gated.toml").write_text(GATED)
    (pipelines / "open.toml").write_text(OPEN)
    return running_fleet(
        directory,
        orchestrators=orchestrators,
        local=local,
        cloud=1,
        scopes=("default", "evil"),
        pools=(("local", "local"), ("local", "vaulted"), ("cloud", "cloud")),
        vault_pools=("vaulted",),
        sealed=True,
        env={"FLOTILLA_CAPABILITY_FILES": str(pipelines), **(env or {})},
    )


def _thieves(fleet: RunningFleet) -> list[tuple[NatsSettings, Sequence[Form]]]:
    return [
        (fleet.server.tenant("evil"), TENANT),
        (fleet.server.worker("cloud", "cloud"), CLOUD_WORKER),
        (fleet.server.observer(), OBSERVER),
        (fleet.server.approver("evil"), APPROVER),
        (fleet.server.worker("local", "vaulted"), LOCAL_WORKER),
    ]


async def _abuse(settings: NatsSettings, forms: Sequence[Form], luck: random.Random, stop: asyncio.Event) -> None:
    """At a steady rate, on a new connection whenever the server has had enough of the last."""
    hostile = Hostile(forms, luck)
    while not stop.is_set():
        try:
            async with raw_client(settings) as raw:
                while not stop.is_set():
                    await hostile.send(raw, ABUSE_PER_TURN)
                    await asyncio.sleep(TURN_S)
        except (OSError, TimeoutError, asyncio.LimitOverrunError, ValueError):
            await asyncio.sleep(TURN_S)


async def _submitted(client: PlainClient, count: int) -> list[str]:
    """The outcomes of so many durable tasks, every fifth a run of a pipeline."""
    async with client.hearing("results.>") as results:
        tasks = [new_task("honest") for _ in range(count)]
        await client.submit_many("open", {"document": "x"}, tasks[::5], at_once=8)
        await client.submit_many("classify", BODIES["classify"], sorted({*tasks} - {*tasks[::5]}), at_once=8)
        await results.until(lambda heard: len(heard.messages) >= count, 60)
    answers = [await client.api("result", {"task": task}) for task in tasks]
    return [answer.get("status") or str(answer) for answer in answers]


async def _untouched(fleet: RunningFleet, client: PlainClient) -> None:
    """What the thieves were after is as it was, and nobody was brought down."""
    policy = await client.api("policy", {"verb": "get"})
    assert (policy["revision"], policy["toml"]) == (1, POLICY)
    assert (await client.api("blackboard", {"verb": "get", "key": "mine"}))["value"] == "kept"
    for process in fleet.processes:
        log = process.log_text()
        assert process.is_running, process.log_tail()
        assert "nats_disconnected" not in log, process.log_tail()
        assert '"exception"' not in log, process.log_tail()


async def _prepared(fleet: RunningFleet) -> PlainClient:
    client = await fleet.client()
    assert (await client.api("policy", {"verb": "set", "toml": POLICY}))["revision"] == 1
    await client.api("blackboard", {"verb": "set", "key": "mine", "value": "kept"})
    return client


async def test_honest_callers_notice_nothing_of_stolen_credentials(tmp_path: Path, chaos_s: float):
    """
    Every ask and every durable task of theirs goes well; the fleet's policy and their data stay as they were.
    """
    luck = _luck()
    async with _fleet(tmp_path, orchestrators=2, local=2) as fleet:
        client = await _prepared(fleet)
        stop = asyncio.Event()
        async with steady_load(client, RATE_HZ) as load:
            await asyncio.sleep(QUIET_S)
            quiet = list(load.samples)
            abusing = [asyncio.ensure_future(_abuse(*thief, luck, stop)) for thief in _thieves(fleet)]
            outcomes = await _submitted(client, 50)
            await asyncio.sleep(min(chaos_s, 120.0))
            outcomes += await _submitted(client, 50)
            stop.set()
            await asyncio.gather(*abusing)
        await _untouched(fleet, client)
        took_ms = [
            statistics.median(1000 * (each.ended_at - each.sent_at) for each in samples)
            for samples in (quiet, load.samples[len(quiet) :])
        ]
        print(f"median of an honest ask: {took_ms[0]:.2f} ms before, {took_ms[1]:.2f} ms beside the abuse")  # noqa: T201

    assert [] == load.failed
    assert ["ok"] * 100 == outcomes


@pytest.mark.parametrize("thief", range(5), ids=["tenant", "cloud worker", "observer", "approver", "local worker"])
async def test_no_message_brings_a_member_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, thief: int):
    """
    Broken messages on every subject of a role, as fast as the server takes them: everything serves, and nothing has grown.
    """
    luck = _luck()
    binary = profiled_binary(tmp_path)
    monkeypatch.setenv("FLOTILLA_NATS_SERVER", str(binary))
    messages = int(os.environ.get("FUZZ_MESSAGES", FUZZ_MESSAGES_DEFAULT)) // 5
    async with _fleet(tmp_path, env=SMALL_STORES) as fleet:
        client = await _prepared(fleet)
        settings, forms = _thieves(fleet)[thief]
        hostile = Hostile(forms, luck)

        async def send(count: int) -> None:
            while count > 0:
                async with raw_client(settings) as raw:
                    while count > 0:
                        part = min(count, 2_000)
                        count -= part
                        try:
                            await hostile.send(raw, part)
                        except (OSError, asyncio.LimitOverrunError, ValueError):
                            break

        await send(messages // 4)
        before = await _sizes(fleet, binary)
        await send(messages - messages // 4)
        assert ["ok"] * 10 == await _submitted(client, 10)
        assert not (await client.ask("classify", BODIES["classify"])).kind
        grown = {name: size - before[name] for name, size in (await _sizes(fleet, binary)).items()}
        await _untouched(fleet, client)

    print({name: f"{before[name] / MIB:.1f} + {size / MIB:.1f} MiB" for name, size in grown.items()})  # noqa: T201
    most = {name: SERVER_GROWTH_MAX_BYTES if name == "nats-server" else GROWTH_MAX_BYTES for name in grown}
    assert {} == {name: f"{size / MIB:.1f} MiB" for name, size in grown.items() if size >= most[name]}


async def _sizes(fleet: RunningFleet, binary: Path) -> dict[str, int]:
    """
    Resident memory, and of nats-server what it holds: its buffers and its garbage come and go with the load.

    Requests that may have several answers have ways back that the server keeps for some seconds after the last one.
    """
    await asyncio.sleep(SEVERAL_REPLIES_THRESHOLD_S + EXPIRED_S)
    sizes = {process.name: process.resident_bytes() for process in fleet.processes}
    resident = psutil.Process(fleet.server.pid).memory_info().rss
    print(f"nats-server has {resident / MIB:.1f} MiB resident")  # noqa: T201
    return sizes | {"nats-server": await held_bytes(binary)}
