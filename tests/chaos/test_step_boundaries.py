"""
Kills at every boundary of every step: an orchestrator, the worker or nats-server dies at that very moment.

A run begins, and when it comes to its boundary the kill is made, so each of them is hit on purpose and not by chance; what
else is under way then is hit by chance. `CHAOS_KILLS` says how many (each once, unless given), `CHAOS_SEED` in
which order, `CHAOS_FLEETS` in how many fleets at a time (what is killed takes a while to start again), and `CHAOS_SECONDS`
after what time no more are made.
"""

import asyncio
import base64
import contextlib
import json
import os
import random
import re
import signal
import time
from collections import Counter, deque
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Final, NamedTuple

import nats.errors
from nats.aio.msg import Msg

from flotilla.testkit.fleet import RunningFleet
from flotilla.testkit.fleet_process import FleetProcess
from flotilla.testkit.plain_client import Json, PlainClient, eventually, new_task, settled
from flotilla.testkit.step_counts import Mark, StepCounts, counted_fleet, kept_steps, mark
from orchestrator.execution.poison_tasks import DEATHS_MAX

VICTIMS: Final = ("orchestrator", "worker", "nats-server")
TASKS: Final = (("one", "-"), ("two", "0"), ("two", "1"), ("three", "-"))
"""Of each run: step and index."""
MOMENTS: Final = ("asked", "answered", "kept")
UNDER_WAY_MAX: Final = 24
ANSWERED_S: Final = 0.003
"""From the request that reaches the provider to when its answer is on its way back."""
PATIENCE_S: Final = 1.0
SLOTS: Final = 16
STALLED_S: Final = 120.0
PIPELINE: Final = f"""
name = "three"
deadline_s = 86400
[input]
type = "object"
[steps.one]
capability = "summarize"
input = {{ document = "{mark("one")}" }}
[steps.two]
capability = "summarize"
for_each = ["a", "b"]
parallel = 2
input = {{ document = "{mark("two", "${index}")} ${{item}} ${{steps.one.summary}}" }}
[steps.three]
capability = "summarize"
input = {{ document = "{mark("three")} ${{steps.two.*.summary}}" }}
[output]
texts = "${{steps.two.*.summary}}"
last = "${{steps.three.summary}}"
"""
OUTPUT: Final = {"texts": ["did two 0", "did two 1"], "last": "did three -"}

_KEPT: Final = re.compile(r"step\.default\.([^.]+)\.(?:(definition)\.three|([a-z]+)\.(\d+|-)\.[0-9a-f]+)")


class Kill(NamedTuple):
    """Who dies, and when of its run."""

    victim: str
    moment: str
    step: str = ""
    item: str = ""


ALL: Final = (
    *(Kill(victim, moment, *task) for victim, moment, task in product(VICTIMS, MOMENTS, TASKS)),
    *(Kill(victim, moment) for victim, moment in product(VICTIMS, ("begun", "committed"))),
)
"""42 of them."""


class Killer:
    """
    Kills at boundaries, and puts the fleet back to its size.

    Attributes:
        planned: The kill of each run that has not been made yet.
        made: Those that were.
        workers_lost: When a worker was killed; nanoseconds since 1970.
    """

    def __init__(self, fleet: RunningFleet, worker_env: dict[str, str]) -> None:
        self.planned: Final[dict[str, Kill]] = {}
        self.made: Final[Counter[Kill]] = Counter()
        self.workers_lost: Final[list[int]] = []
        self._whole = asyncio.Event()
        self._whole.set()
        self._changed = asyncio.Event()
        self._failed: BaseException | None = None
        self._fleet = fleet
        self._worker_env = worker_env
        self._mending: set[asyncio.Task[None]] = set()

    def at(self, run: str, moment: str, step: str = "", index: str = "") -> None:
        """A run is at a boundary: kill now, if that is its own, and nothing else is down."""
        kill = self.planned.get(run)
        if kill is None or kill[1:] != (moment, step, index) or not self._whole.is_set():
            return
        del self.planned[run]
        self._whole.clear()
        self._changed.set()
        self.made[kill] += 1
        if kill.victim == "worker":
            self.workers_lost.append(time.time_ns())
        if kill.victim == "nats-server":
            os.kill(self._fleet.server.pid, signal.SIGKILL)
            mending = self._start_server()
        else:
            victim = self._running(kill.victim)
            victim.kill()
            mending = self._start(kill.victim, victim)
        task = asyncio.get_running_loop().create_task(mending)
        self._mending.add(task)
        task.add_done_callback(self._mended)

    def asked(self, done: Mark) -> None:
        """The provider has a request, and answers it soon."""
        asyncio.get_running_loop().call_later(ANSWERED_S, self.at, done.run, "answered", done.step, done.item)
        self.at(done.run, "asked", done.step, done.item)

    async def stored(self, message: Msg) -> None:
        """The server has something that an orchestrator keeps."""
        found = _KEPT.fullmatch(message.subject)
        if found is None:
            self.at(message.subject.rpartition(".")[2], "committed")
        elif found[2]:
            self.at(found[1], "begun")
        else:
            self.at(found[1], "kept", found[3], found[4])

    def _running(self, kind: str) -> FleetProcess:
        processes = self._fleet.orchestrators if kind == "orchestrator" else self._fleet.workers
        return processes[-1]

    async def _start(self, kind: str, victim: FleetProcess) -> None:
        await victim.wait()
        if kind == "orchestrator":
            await self._fleet.start_orchestrator()
        else:
            worker = await self._fleet.start_worker(
                "local", slots=SLOTS, engine="ollama", env=self._worker_env, wait=False
            )
            await self._fleet.until_ready(worker)

    async def _start_server(self) -> None:
        await self._fleet.server.kill()
        await self._fleet.server.start()

    async def until_whole(self) -> None:
        """Return when nothing is down; raises what went wrong when it was started again."""
        await self._whole.wait()
        if self._failed is not None:
            raise self._failed

    async def until_made(self, run: str) -> None:
        """Return when a run's kill was made, or has not come for a while: it is made later, or the run ends first."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                while run in self.planned:
                    self._changed.clear()
                    await self._changed.wait()

    def _mended(self, mending: asyncio.Task[None]) -> None:
        self._mending.discard(mending)
        self._failed = None if mending.cancelled() else mending.exception()
        self._whole.set()


class Results:
    """Results as the stream has them, each read once."""

    def __init__(self, admin: PlainClient) -> None:
        self.of: Final[dict[str, Json]] = {}
        self.twice: Final[list[str]] = []
        self._admin = admin
        self._next = 1

    async def read(self) -> list[str]:
        """The runs that have got their result since the last call."""
        found: list[str] = []
        with contextlib.suppress(nats.errors.Error, TimeoutError):
            while True:
                query = {"seq": self._next, "next_by_subj": "scope.default.results.three.*"}
                answer = await self._admin.stream("STREAM.MSG.GET", "RESULTS_default", query)
                if "message" not in answer:
                    break
                message = answer["message"]
                self._next = message["seq"] + 1
                run = message["subject"].rpartition(".")[2]
                (self.twice if run in self.of else found).append(run)
                self.of[run] = json.loads(base64.b64decode(message["data"]))
        return found


class GivenUp(NamedTuple):
    """A run that was given up since workers died of one of its steps, and how many were lost while it was under way."""

    run: str
    said: Json
    workers_lost: int


class Killed(NamedTuple):
    """What came of the kills in one fleet; the result of a run that was given up is that of the one that went on with it."""

    runs: list[str]
    given_up: list[GivenUp]
    made: Counter[Kill]
    results: Results
    counts: StepCounts
    kept: dict[Mark, int]


async def test_no_kept_step_is_repeated_and_no_run_is_lost_whoever_dies_at_whichever_boundary(tmp_path: Path):
    """
    Every run ends once and well; what was kept is never asked of the provider again.
    """
    kills = int(os.environ.get("CHAOS_KILLS", len(ALL)))
    fleets = int(os.environ.get("CHAOS_FLEETS", "1"))
    seed = int(os.environ.get("CHAOS_SEED", random.SystemRandom().randrange(10**6)))
    plan = _plan(kills, float(os.environ.get("CHAOS_SECONDS", "inf")), random.Random(seed))
    ended = await asyncio.gather(*(_kill_in_a_fleet(tmp_path / f"fleet-{index}", plan) for index in range(fleets)))

    made = sum((each.made for each in ended), Counter[Kill]())
    story = (
        f"seed={seed} {sum(len(each.runs) for each in ended)} runs, {made.total()} kills at {len(made)} boundaries: "
        f"{sum(each.counts.repeated for each in ended)} of {sum(each.counts.tasks for each in ended)} tasks of steps were "
        f"asked for twice, {sum(len(each.given_up) for each in ended)} runs were given up after three deaths and went on"
    )
    print(story)  # noqa: T201  (a figure)
    assert made.total() == kills or "CHAOS_SECONDS" in os.environ, story
    for each in ended:
        assert not each.results.twice, story
        assert set(each.runs) == each.results.of.keys(), story
        assert [] == each.counts.repeated_although_kept(each.kept), story
        for run in each.runs:
            result = each.results.of[run]
            assert OUTPUT == result.get("output"), f"{result} {story}"
        for lost in each.given_up:
            assert lost.workers_lost >= DEATHS_MAX, f"{lost} {story}"
        assert {(run, *task) for run, task in product(each.runs, TASKS)} == set(each.kept), story
        assert set(each.kept) == each.counts.asked.keys(), story


async def _kill_in_a_fleet(directory: Path, plan: Iterator[Kill]) -> Killed:
    """Make kills of the plan, which other fleets have a part in, until there are no more."""
    async with counted_fleet(directory, PIPELINE, slots=SLOTS) as (fleet, counts, worker_env):
        client, admin = await fleet.client(), await fleet.admin()
        killer, results = Killer(fleet, worker_env), Results(admin)
        counts.on_asked = killer.asked
        for subject in ("step.default.>", "commit.default.>"):
            await admin.nc.subscribe(subject, cb=killer.stored)  # pyright: ignore[reportUnknownMemberType]  # nats-py's is partly untyped
        await settled(admin.nc)
        runs = await _run_all(client, killer, results, plan)
        await killer.until_whole()
        given_up = await _go_on(client, runs, results, counts, killer.workers_lost)
        return Killed(list(runs), given_up, killer.made, results, counts, await kept_steps(admin))


async def _go_on(
    client: PlainClient, runs: dict[str, int], results: Results, counts: StepCounts, workers_lost: list[int]
) -> list[GivenUp]:
    """
    Go on with the runs that were given up: what nobody kills any more ends well.

    A step of which three workers have died, or may have, is given to no fourth one: its run is over, with all it has kept.
    """
    given_up: list[GivenUp] = []
    for run, result in list(results.of.items()):
        details = result.get("error", {}).get("details", {})
        if details.get("deaths") != DEATHS_MAX:
            continue
        asked = [
            time_ns for done, times in counts.asked.items() if done[:2] == (run, details["step"]) for time_ns in times
        ]
        # Workers may have died before they could ask the provider.
        began_ns = min(asked, default=runs[run])
        given_up.append(GivenUp(run, details, sum(lost_ns >= began_ns for lost_ns in workers_lost)))
        again = new_task()
        await _submit(client, again, run, {"Flotilla-Resume": run})
        await eventually(lambda again=again: _has_ended(results, again), STALLED_S)
        results.of[run] = results.of.pop(again)
    return given_up


async def _has_ended(results: Results, run: str) -> bool:
    await results.read()
    return run in results.of


def _plan(kills: int, seconds: float, luck: random.Random) -> Iterator[Kill]:
    """All kinds of kills before any is made again; none once the time is over."""
    made = 0
    ends_at = time.monotonic() + seconds
    while made < kills and time.monotonic() < ends_at:
        for kill in luck.sample(ALL, len(ALL)):
            if made < kills and time.monotonic() < ends_at:
                made += 1
                yield kill


async def _run_all(client: PlainClient, killer: Killer, results: Results, plan: Iterator[Kill]) -> dict[str, int]:
    """
    A run for each kill, one more where one ended before its own could be made.

    Gives all, once each has ended, with the Unix time in nanoseconds at which they were submitted.
    """
    runs: dict[str, int] = {}
    under_way: set[str] = set()
    missed: deque[Kill] = deque()
    progress, progress_at = (0, 0), asyncio.get_running_loop().time()
    while True:
        await killer.until_whole()
        for run in await results.read():
            under_way.discard(run)
            if run in killer.planned:
                missed.append(killer.planned.pop(run))
        now = asyncio.get_running_loop().time()
        if progress != (len(results.of), killer.made.total()):
            progress, progress_at = (len(results.of), killer.made.total()), now
        assert now - progress_at < STALLED_S, f"nothing happens any more: {under_way} are under way, {killer.planned}"
        room = len(under_way) < UNDER_WAY_MAX
        kill = (missed.popleft() if missed else next(plan, None)) if room else None
        if kill is not None:
            run = new_task()
            runs[run] = time.time_ns()
            under_way.add(run)
            killer.planned[run] = kill
            await _submit(client, run, run)
            await killer.until_made(run)
        elif room and not under_way:
            return runs
        else:
            await asyncio.sleep(0.1)


async def _submit(client: PlainClient, task: str, run: str, headers: dict[str, str] | None = None) -> None:
    """The same id until it is acknowledged: that is how a caller makes sure."""
    while True:
        with contextlib.suppress(nats.errors.Error, TimeoutError):
            ack = await client.submit("three", {"run": run}, task=task, headers=headers, timeout_s=5)
            if "error" not in ack:
                return
        await asyncio.sleep(0.1)
