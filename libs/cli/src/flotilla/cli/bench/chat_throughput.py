"""
How many chat completions a second a fleet gets from a provider, against the provider asked directly; and how long one takes.

The provider is a stand-in without latency, so everything that is measured is the way: two hops over NATS, a prompt, the
adapter and its HTTP client. A real model's latency would hide it.
"""

import asyncio
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Final

import msgspec

from flotilla.cli.bench.cpu_time import CpuTime, cpu_figures
from flotilla.cli.bench.errors import BenchError, WrongAnswerError
from flotilla.cli.bench.figures import Figure, percentile, ratio_of
from flotilla.cli.bench.fleets import running_fleet, tenant
from flotilla.cli.bench.provider_stand_in import ANSWER, MODEL, Provider, provider_standing_in
from flotilla.cli.bench.replicas import announced_slots
from flotilla.cli.bench.traffic import BODY_BYTES, REQUEST_TIMEOUT_S, Request, check_ok, closed_loop
from flotilla.cli.supervisor.supervisor import FleetFacts
from flotilla.contracts.providers import OWN_SERVER
from flotilla.fabric.connection import Connection

NAME: Final = "chat_throughput"
AT_LEAST: Final = 0.1
IN_FLIGHT: Final = 64
ROUNDS: Final = 5
ROUND_S: Final = 0.6
ONE_ROUND_S: Final = 0.3
WARM_UP_S: Final = 1.0
PERCENT: Final = 50
SUBJECT: Final = "ask.chat"
ZONE: Final = "local"

_ANSWER: Final = ANSWER.encode()


async def measure(directory: Path) -> list[Figure]:
    """Take ROUNDS rounds: the provider itself and the fleet in turn, first with IN_FLIGHT chats and then with one."""
    async with (
        provider_standing_in() as provider,
        running_fleet(directory, local=0, slots=1) as facts,
        _worker(facts, provider, directory) as worker,
        tenant(facts) as caller,
        asking(provider) as directly,
    ):
        await announced_slots(caller, IN_FLIGHT)
        through = _through(caller)
        for request in (directly, through):
            await closed_loop(request, in_flight=IN_FLIGHT, duration_s=WARM_UP_S)
        cpu = CpuTime({**facts.pids, "worker": [worker], "provider": [provider.pid], "client": [os.getpid()]})
        many: list[tuple[float, float]] = []
        single: list[tuple[float, float]] = []
        for _ in range(ROUNDS):
            direct = await closed_loop(directly, in_flight=IN_FLIGHT, duration_s=ROUND_S)
            with cpu.running():
                fleet = await closed_loop(through, in_flight=IN_FLIGHT, duration_s=ROUND_S)
            cpu.tasks += len(fleet.latencies_ms)
            many.append((direct.per_s, fleet.per_s))
            ones = [await closed_loop(request, in_flight=1, duration_s=ONE_ROUND_S) for request in (directly, through)]
            single.append((percentile(ones[0].latencies_ms, PERCENT), percentile(ones[1].latencies_ms, PERCENT)))
    return [*_figures(many, single), *cpu_figures(NAME, cpu)]


def chat_body(size_bytes: int = BODY_BYTES) -> bytes:
    """A conversation of this size, as the task's input and as what a provider is sent; the model's name aside."""
    empty = len(_conversation(""))
    return _conversation("." * max(1, size_bytes - empty))


def _conversation(text: str) -> bytes:
    return msgspec.json.encode({"messages": [{"role": "user", "content": text}], "max_tokens": 256})


def _through(caller: Connection) -> Request:
    """One interactive chat through the fleet."""
    request, body = caller.nc.request, chat_body()

    async def call() -> None:
        result = (await request(SUBJECT, body, timeout=REQUEST_TIMEOUT_S)).data
        check_ok(result)
        if _ANSWER not in result:
            raise WrongAnswerError("the chat was answered with something else than the provider said")

    return call


@asynccontextmanager
async def asking(provider: Provider) -> AsyncGenerator[Request]:
    """One chat completion of the provider a call, by the HTTP client that the workers have, on kept connections."""
    aiohttp = _aiohttp()
    body = b'{"model":"' + MODEL.encode() + b'",' + chat_body()[1:]
    headers = {"content-type": "application/json"}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=IN_FLIGHT)) as session:

        async def call() -> None:
            async with session.post(f"{provider.url}/chat/completions", data=body, headers=headers) as response:
                if _ANSWER not in await response.read():
                    raise WrongAnswerError("the provider's stand-in answered something else")

        yield call


def _aiohttp() -> ModuleType:
    try:
        import aiohttp  # noqa: PLC0415  (an extra of the inference package)
    except ImportError:
        raise BenchError(f"this measurement needs the extra {OWN_SERVER.extra} of the inference package") from None
    return aiohttp


@asynccontextmanager
async def _worker(facts: FleetFacts, provider: Provider, directory: Path) -> AsyncGenerator[int]:
    """A local worker whose model is the stand-in's, while the block runs; gives its process id."""
    environ = {
        name: value for name, value in os.environ.items() if not name.startswith("FLOTILLA_") and name != OWN_SERVER.key
    }
    environ |= {
        "FLOTILLA_NATS_URL": facts.url,
        "FLOTILLA_NATS_CREDS": facts.credentials[ZONE],
        "FLOTILLA_ZONE": ZONE,
        "FLOTILLA_POOL": ZONE,
        "FLOTILLA_PROVIDER": OWN_SERVER.name,
        "FLOTILLA_MODELS": MODEL,
        "FLOTILLA_SLOTS": str(IN_FLIGHT),
        "FLOTILLA_LOG_LEVEL": "warning",
        OWN_SERVER.address: provider.url,
    }
    with (directory / "worker.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "local_inference"), stdout=log, stderr=log, env=environ, start_new_session=True
        )
    try:
        yield process.pid
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def _figures(many: list[tuple[float, float]], single: list[tuple[float, float]]) -> list[Figure]:
    throughput, latency = ratio_of(many), ratio_of(single)
    return [
        Figure(
            measurement=NAME,
            name="chats a second, fleet / provider",
            value=throughput.value,
            unit="x",
            at_least=AT_LEAST,
            note=f"{IN_FLIGHT} in flight, {BODY_BYTES} bytes, {throughput.spread}",
        ),
        Figure(measurement=NAME, name="fleet", value=throughput.fleet, unit="/s", note="one worker"),
        Figure(measurement=NAME, name="provider", value=throughput.raw, unit="/s", note="a stand-in, asked directly"),
        Figure(
            measurement=NAME,
            name="p50, fleet / provider",
            value=latency.value,
            unit="x",
            note=f"one in flight, {latency.spread}",
        ),
        Figure(measurement=NAME, name="p50, fleet", value=latency.fleet, unit="ms"),
        Figure(measurement=NAME, name="p50, provider", value=latency.raw, unit="ms"),
    ]
