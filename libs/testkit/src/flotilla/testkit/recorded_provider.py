"""
Stand-in providers that answer as real models did: recorded traffic played through a real fleet.

    rows = read_recording(file, label_name="product")
    async with recorded_fleet(directory, rows, SERVED, policy=POLICY, scale=0.02) as played:
        ends = await played.ask_all(texts, labels)

Each document carries the number of its row, by which the stand-in of a model finds what that model answered and how long it
took. Outages, rate limits and torn answers come on a schedule of rows, the same in every run.
"""

import asyncio
import json
import re
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from flotilla.cli.replay.recording import Recording
from flotilla.client import Fleet
from flotilla.client.answers import Answer
from flotilla.client.errors import NoFleetError
from flotilla.contracts.errors import TaskError
from flotilla.contracts.subjects import Zone
from flotilla.testkit.fleet import RunningFleet, running_fleet
from flotilla.testkit.provider_anthropic import AnthropicServer
from flotilla.testkit.provider_ollama import OllamaServer
from flotilla.testkit.provider_openai import OpenAIServer
from flotilla.testkit.provider_steps import Cuts, Fails, Received, Says, Step
from flotilla.testkit.providers import ProviderServer

CONFIDENCE: Final = 0.9
"""Of answers with which none was recorded."""
IN_FLIGHT: Final = 32
RETRY_AFTER_S: Final = 1
RESULT_TIMEOUT_S: Final = 60.0
ASKED_AGAIN_MAX: Final = 5
_ROW: Final = re.compile(r"\[row (\d+)\]")

Kind = Literal["away", "rate_limited", "cut"]
Protocol = Literal["ollama", "anthropic", "openai"]


class Trouble(NamedTuple):
    """
    What befalls a model's rows from `begin` to before `end`: `away` (503), `rate_limited` (429, Retry-After), or `cut`.

    Attributes:
        every: Of these rows each so many-th.
        times: So often for each row, then it is answered; 0 for always.
    """

    model: str
    kind: Kind
    begin: int
    end: int
    every: int = 1
    times: int = 0


class Served(NamedTuple):
    """A recorded model as a pool of the fleet: the protocol that its stand-in speaks, and how many replicas it has."""

    pool: str
    protocol: Protocol
    model: str
    replicas: int = 1

    @property
    def zone(self) -> Zone:
        """Where the pool is."""
        return "local" if self.protocol == "ollama" else "cloud"


class RecordedAnswers:
    """
    What a stand-in says: `server.otherwise = RecordedAnswers(...)`.

    Attributes:
        calls: How often each row came in.
    """

    def __init__(self, recording: Recording, model: str, *, scale: float, troubles: Sequence[Trouble] = ()) -> None:
        self._rows = recording.rows
        self._model = model
        self._scale = scale
        self._troubles = [each for each in troubles if each.model == model]
        self.calls: Final = Counter[int]()

    def __call__(self, received: Received) -> Step:
        """The step for a request: the recorded answer after its (scaled) time, or the trouble that is due."""
        found = _ROW.search(json.dumps(received.body))
        if found is None:
            return Fails(400, message="the document names no row of the recording")
        row = int(found[1])
        recorded = self._rows[row].by_model[self._model]
        self.calls[row] += 1
        for each in self._troubles:
            is_due = each.begin <= row < each.end and (row - each.begin) % each.every == 0
            if is_due and (not each.times or self.calls[row] <= each.times):
                return _step_of(each.kind)
        if recorded.answer is None:
            return Fails(503)
        ready = asyncio.Event()
        asyncio.get_running_loop().call_later(recorded.seconds * self._scale, ready.set)
        confidence = CONFIDENCE if recorded.confidence is None else recorded.confidence
        return Says(text=json.dumps({"label": recorded.answer, "confidence": confidence}), hold=ready)


class End(NamedTuple):
    """What a row's task came to: its answer, None where it failed, and how long its caller waited."""

    answer: Answer | None
    seconds: float


class PlayedFleet:
    """
    A fleet whose models are recorded.

    Attributes:
        answers: By model.
    """

    def __init__(self, fleet: RunningFleet, answers: dict[str, RecordedAnswers]) -> None:
        self.fleet: Final = fleet
        self.answers: Final = answers

    async def ask_all(
        self,
        texts: Sequence[str],
        labels: Sequence[str],
        *,
        durable: bool = False,
        while_asking: Callable[[int], None] | None = None,
    ) -> list[End]:
        """
        Have every row classified, `IN_FLIGHT` at a time, in order; a task that fails is an end too.

        Args:
            texts: Of the rows.
            labels: To choose from.
            durable: Whether they are submitted: these outlive an orchestrator.
            while_asking: Called with each row as it is asked.
        """
        places = asyncio.Semaphore(IN_FLIGHT)
        ends: dict[int, End] = {}
        async with Fleet.connect(self.fleet.url) as client:

            async def one(row: int) -> None:
                async with places:
                    if while_asking is not None:
                        while_asking(row)
                    began = time.monotonic()
                    document: dict[str, Any] = {"document": f"[row {row}] {texts[row]}", "labels": list(labels)}
                    try:
                        answer = await (_submitted(client, document) if durable else client.ask("classify", document))
                    except TaskError:
                        answer = None
                    ends[row] = End(answer, time.monotonic() - began)

            await asyncio.gather(*(one(row) for row in range(len(texts))))
        return [ends[row] for row in range(len(texts))]


async def _submitted(client: Fleet, document: dict[str, Any]) -> Answer:
    """The result of a durable task; asked for again when the orchestrator that was asked has just died."""
    submitted = await client.submit("classify", document)
    for _ in range(ASKED_AGAIN_MAX):
        with suppress(NoFleetError):
            return await client.result(submitted.task, timeout_s=RESULT_TIMEOUT_S)
    return await client.result(submitted.task, timeout_s=RESULT_TIMEOUT_S)


@asynccontextmanager
async def recorded_fleet(
    directory: Path,
    recording: Recording,
    served: Sequence[Served],
    *,
    policy: str,
    scale: float,
    troubles: Sequence[Trouble] = (),
    orchestrators: int = 1,
) -> AsyncGenerator[PlayedFleet]:
    """
    A fleet with a pool for each of these models while the block runs, all of which every orchestrator has heard of.

    Latencies are multiplied by `scale`. Workers are called `<pool>-w0` and so on.
    """
    directory.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240  (before anything runs)
    (directory / "policy.toml").write_text(policy)
    answers = {each.model: RecordedAnswers(recording, each.model, scale=scale, troubles=troubles) for each in served}
    async with AsyncExitStack() as stack:
        fleet = await stack.enter_async_context(
            running_fleet(
                directory / "fleet",
                orchestrators=orchestrators,
                local=0,
                pools=[(each.zone, each.pool) for each in served],
                env={"FLOTILLA_POLICY_FILE": str(directory / "policy.toml")},
            )
        )
        for each in served:
            server = await stack.enter_async_context(_server(each))
            server.otherwise = answers[each.model]
            for number in range(each.replicas):
                await fleet.start_worker(
                    each.zone,
                    each.pool,
                    f"{each.pool}-w{number}",
                    slots=2 * IN_FLIGHT,
                    engine=each.protocol,
                    env=_environ(each, server),
                )
        await fleet.until_replicas({f"{each.pool}-w{number}" for each in served for number in range(each.replicas)})
        yield PlayedFleet(fleet, answers)


def _server(served: Served) -> ProviderServer:
    servers = {"ollama": OllamaServer, "anthropic": AnthropicServer, "openai": OpenAIServer}
    return servers[served.protocol](models=(served.model,))


def _environ(served: Served, server: ProviderServer) -> dict[str, str]:
    models = {"FLOTILLA_MODELS": served.model, "FLOTILLA_CAPABILITIES": "classify"}
    match served.protocol:
        case "ollama":
            return models | {"OLLAMA_HOST": server.url}
        case "anthropic":
            return models | {"ANTHROPIC_BASE_URL": server.url, "ANTHROPIC_API_KEY": "k"}
        case "openai":
            return models | {"OPENAI_BASE_URL": f"{server.url}/v1", "OPENAI_API_KEY": "k"}


def _step_of(kind: Kind) -> Step:
    match kind:
        case "away":
            return Fails(503)
        case "rate_limited":
            return Fails(429, headers={"retry-after": str(RETRY_AFTER_S)})
        case "cut":
            return Cuts()
