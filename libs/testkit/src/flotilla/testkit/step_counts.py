"""
What a provider was asked on behalf of pipelines' steps, laid beside what the fleet has kept of them.

Documents name what they are of (`mark`), so the provider's own record says which step was worked on, how often and when.
"""

import base64
import json
import re
import time
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Final, NamedTuple

from flotilla.testkit.fleet import RunningFleet, running_fleet
from flotilla.testkit.plain_client import Json, PlainClient
from flotilla.testkit.provider_ollama import OllamaServer
from flotilla.testkit.provider_steps import Received, Says

PIECE: Final = "-"
"""In place of the index, where a step does not run for each item."""

_MARK: Final = re.compile(r"mark/([A-Za-z0-9_-]+)/([a-z0-9_]+)/(\d+|-)/")
_KEPT: Final = re.compile(r"step\.[^.]+\.([^.]+)\.([a-z0-9_]+)\.(\d+|-)\.[0-9a-f]{32}")


class Mark(NamedTuple):
    """One task of one step of one run."""

    run: str
    step: str
    item: str = PIECE

    def __str__(self) -> str:
        return f"mark/{self.run}/{self.step}/{self.item}/"


def mark(step: str, index: str = PIECE) -> str:
    """What a step's document begins with, in a pipeline whose input has the run's id as `run`."""
    return f"mark/${{input.run}}/{step}/{index}/"


class StepCounts:
    """
    The provider's record.

    Attributes:
        asked: When each task of a step came to the provider, by this machine's clock in nanoseconds since 1970.
        on_asked: Called with each task that came, before it is answered.
    """

    def __init__(self) -> None:
        self.asked: Final[defaultdict[Mark, list[int]]] = defaultdict(list)
        self.on_asked: Callable[[Mark], None] | None = None

    def answer(self, received: Received) -> Says:
        """For `ProviderServer.otherwise`: says which task it was, and writes it down."""
        found = _MARK.search(str(received.body))
        if found is None:
            return Says("nobody's")
        asked = Mark(*found.groups())
        self.asked[asked].append(time.time_ns())
        if self.on_asked is not None:
            self.on_asked(asked)
        return Says(f"did {asked.step} {asked.item}")

    @property
    def tasks(self) -> int:
        """How many tasks of steps there were, each counted once."""
        return len(self.asked)

    @property
    def repeated(self) -> int:
        """How often one was asked for that had been asked for before."""
        return sum(len(times) - 1 for times in self.asked.values())

    def repeated_beyond(self, attempts: dict[Mark, int]) -> list[Mark]:
        """
        The tasks that were asked for more often than the attempts of their kept results say.

        An attempt whose worker is silent for too long counts as lost, and another one is made: their result tells of both.
        What no result tells of was asked for by a run that was worked on twice.
        """
        return [done for done, times in self.asked.items() if len(times) > attempts.get(done, 0)]

    def by_step(self) -> Counter[str]:
        """How often each step was asked for."""
        found: Counter[str] = Counter()
        for asked, times in self.asked.items():
            found[asked.step] += len(times)
        return found

    def repeated_although_kept(self, kept: dict[Mark, int]) -> list[Mark]:
        """The tasks that were asked for again when their results had been kept already."""
        return [done for done, kept_ns in kept.items() if any(asked_ns > kept_ns for asked_ns in self.asked[done])]


async def kept_steps(admin: PlainClient, scope: str = "default") -> dict[Mark, int]:
    """When the server stored each result of a step, in nanoseconds since 1970; asked of the leader, one by one."""
    return {done: _nanoseconds(message["time"]) async for done, message in _kept(admin, scope)}


async def kept_attempts(admin: PlainClient, scope: str = "default") -> dict[Mark, int]:
    """How many attempts each kept result says that it took: those that were lost, and the one that gave it."""
    found: dict[Mark, int] = {}
    async for done, message in _kept(admin, scope):
        found[done] = len(json.loads(base64.b64decode(message["data"]))["result"].get("attempts", ()))
    return found


async def _kept(admin: PlainClient, scope: str) -> AsyncIterator[tuple[Mark, Json]]:
    sequence = 1
    while True:
        query = {"seq": sequence, "next_by_subj": f"step.{scope}.>"}
        answer = await admin.stream("STREAM.MSG.GET", f"STEPS_{scope}", query)
        if "message" not in answer:
            return
        message = answer["message"]
        sequence = message["seq"] + 1
        found = _KEPT.fullmatch(message["subject"])
        if found is not None:
            yield Mark(*found.groups()), message


def _nanoseconds(moment: str) -> int:
    """Of RFC 3339 as the server writes it, with up to nine digits of a second."""
    whole, _, rest = moment.removesuffix("Z").partition(".")
    return int(datetime.fromisoformat(f"{whole}+00:00").timestamp()) * 10**9 + int(rest.ljust(9, "0") or 0)


@asynccontextmanager
async def counted_fleet(
    directory: Path, pipeline: str, *, slots: int, orchestrators: int = 1
) -> AsyncGenerator[tuple[RunningFleet, StepCounts, dict[str, str]]]:
    """
    A fleet that serves one pipeline with a model whose provider writes down what it is asked.

    Args:
        directory: Its files; the fleet's own are below.
        pipeline: The text of its file.
        slots: Of its one worker.
        orchestrators: How many.

    Gives:
        The fleet, the provider's record, and the environment of a further worker.
    """
    folder = directory / "capabilities"
    folder.mkdir(parents=True)
    (folder / "pipeline.toml").write_text(pipeline)
    counts = StepCounts()
    async with OllamaServer(models=("m",)) as provider:
        provider.otherwise = counts.answer
        worker_env = {"OLLAMA_HOST": provider.url, "FLOTILLA_MODELS": "m"}
        async with running_fleet(
            directory / "fleet",
            orchestrators=orchestrators,
            local=1,
            slots=slots,
            engine="ollama",
            env={"FLOTILLA_CAPABILITY_FILES": str(folder)},
            worker_env=worker_env,
        ) as fleet:
            yield fleet, counts, worker_env
