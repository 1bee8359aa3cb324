"""
Replicas whose service times are planned: `python -m flotilla.cli.bench.timed_worker` with a JSON plan as argument.

The worker kit, its slots and the no-op engine are the real ones; only the time that an answer takes is read from the
task's document, so that the same times can be played through the ideal line. Several replicas may share a process, each
with its own connection: 64 interpreters would measure a small machine's scheduler. Says `ready`, serves until a stop
signal, and prints what it counted.
"""

import asyncio
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from flotilla.capabilities.catalogue import Catalogue
from flotilla.chassis.signals import stop_signals
from flotilla.cli.bench.loops import run_loop
from flotilla.contracts.attempts import Failed, Finished
from flotilla.contracts.capabilities import ClassifyInput
from flotilla.contracts.presence import ReplicaCard
from flotilla.contracts.subjects import Zone, inbox_prefix
from flotilla.fabric.connection import NatsSettings, connected
from flotilla.fabric.presence import announced
from flotilla.fabric.slots import ActiveAttempt, Slots, serving
from flotilla.inference.backend import Answer, Work
from flotilla.inference.engines.noop import NoopEngine
from flotilla.inference.worker import Worker

ZONE: Final[Zone] = "local"
POOL: Final = "local"
READY: Final = b"ready\n"
GRACE_S: Final = 5.0
WARM_UP: Final = "warm-up-"
"""How the ids of tasks begin that are not counted."""


class Plan(Struct, frozen=True, kw_only=True):
    """What one process runs."""

    url: str
    creds: str
    name: str
    replicas: Annotated[int, Meta(ge=1, le=256)]
    slots: Annotated[int, Meta(ge=1, le=4096)]


class Tally(Struct, kw_only=True):
    """
    What the replicas of a process saw of the tasks that are counted.

    An orchestrator numbers its attempts, those included that found no slot anywhere. So the numbers tell how many
    requests were sent without anybody listening along: one more subscriber on `infer.>` would be a responder where
    there is none.

    Attributes:
        before: The highest number of an attempt at an uncounted task, by orchestrator.
        highest: The highest of one at a counted task.
        answered: Attempts at counted tasks.
    """

    before: dict[str, int] = {}
    highest: dict[str, int] = {}
    answered: int = 0

    def see(self, task: str, attempt: str) -> None:
        """Count one attempt; its id is `<orchestrator>.<number>`."""
        orchestrator, _, number = attempt.rpartition(".")
        numbers = self.before if task.startswith(WARM_UP) else self.highest
        numbers[orchestrator] = max(int(number), numbers.get(orchestrator, 0))
        self.answered += numbers is self.highest


def requests_sent(tallies: list[Tally]) -> int:
    """How many requests the orchestrators sent for the counted tasks; needs uncounted ones before them."""
    before: dict[str, int] = {}
    highest: dict[str, int] = {}
    for tally in tallies:
        for numbers, found in ((before, tally.before), (highest, tally.highest)):
            for orchestrator, number in found.items():
                numbers[orchestrator] = max(number, numbers.get(orchestrator, 0))
    return sum(number - before.get(orchestrator, 0) for orchestrator, number in highest.items())


class TimedEngine:
    """The no-op engine, as slow as each document says: it begins with the seconds and a blank."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._noop = NoopEngine(capabilities=catalogue)
        self.model_cards = self._noop.model_cards

    @property
    def provider(self) -> str:
        """`noop`."""
        return self._noop.provider

    def capabilities(self) -> frozenset[str]:
        """See NoopEngine; only `classify` is told how long to take."""
        return self._noop.capabilities()

    async def answer(self, work: Work) -> Answer:
        """Answer after the time that the document says."""
        if isinstance(work.input, ClassifyInput):
            await asyncio.sleep(float(work.input.document.partition(" ")[0]))
        return await self._noop.answer(work)

    async def aclose(self) -> None:
        """Nothing is held."""


async def serve(plan: Plan) -> None:
    """Serve until a stop signal."""
    catalogue = Catalogue.load()
    engine = TimedEngine(catalogue)
    tally = Tally()

    def observe(held: ActiveAttempt, _answer: Finished | Failed, _took_s: float) -> None:
        tally.see(held.request.task, held.request.attempt)

    settings = NatsSettings(url=plan.url, creds=Path(plan.creds), inbox_prefix=inbox_prefix(ZONE, POOL))
    async with AsyncExitStack() as stack:
        stop = stack.enter_context(stop_signals())
        for number in range(plan.replicas):
            replica = f"{plan.name}-{number}"
            connection = await stack.enter_async_context(connected(settings, name=replica))
            worker = Worker(engine, catalogue, zone=ZONE, replica=replica, observe=observe)
            joined = serving(
                connection, zone=ZONE, pool=POOL, replica=replica, slots=plan.slots, work=worker, grace_s=GRACE_S
            )
            lane = await stack.enter_async_context(joined)
            card = _Card(replica, lane, engine)
            await stack.enter_async_context(announced(connection, card))
        sys.stdout.buffer.write(READY)
        sys.stdout.flush()
        await stop.wait()
    sys.stdout.buffer.write(msgspec.json.encode(tally) + b"\n")
    sys.stdout.flush()


class _Card:
    """A replica's card as of now."""

    def __init__(self, replica: str, lane: Slots, engine: TimedEngine) -> None:
        self._replica = replica
        self._lane = lane
        self._engine = engine
        self._started_unix_ms = time.time_ns() // 1_000_000

    def __call__(self) -> ReplicaCard:
        return ReplicaCard(
            zone=ZONE,
            pool=POOL,
            replica=self._replica,
            provider=self._engine.provider,
            models=self._engine.model_cards(),
            slots=self._lane.slots,
            busy=self._lane.busy,
            draining=self._lane.draining,
            version="bench",
            started_unix_ms=self._started_unix_ms,
        )


if __name__ == "__main__":
    run_loop(lambda: serve(msgspec.json.decode(sys.argv[1], type=Plan)))
