"""A run performs what is decided: it sleeps, parks, stands in line and leaves; with a real server and a worker by hand."""

import asyncio
import gc
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec
import pytest

from flotilla.capabilities.catalogue import Catalogue
from flotilla.contracts import subjects
from flotilla.contracts.attempts import (
    Accepted,
    Busy,
    Failed,
    Finished,
    InFlightCheck,
    WorkerReply,
    decode_control,
    encode,
)
from flotilla.contracts.clock import unix_ms
from flotilla.contracts.failures import ErrorBody, ErrorKind, FailureKind
from flotilla.contracts.headers import TaskOptions
from flotilla.contracts.policy import CapabilityPolicy, Policy, ShadowEntry
from flotilla.contracts.presence import ModelCard, ReplicaCard
from flotilla.contracts.results import Result
from flotilla.contracts.subjects import Priority, presence_key
from flotilla.fabric import lanes
from flotilla.fabric.connection import Connection, Message, connected
from flotilla.fabric.errors import FabricError
from flotilla.fabric.subscription_lines import Handler
from flotilla.routing.router import PolicyRouter
from flotilla.testkit.nats_server import RunningServer
from orchestrator.execution import isolation, task_run
from orchestrator.execution.attempts import Attempts
from orchestrator.execution.death_notes import DeathNotes
from orchestrator.execution.dependencies import Dependencies
from orchestrator.execution.dispatch import Dispatcher
from orchestrator.execution.ledger import Ledger
from orchestrator.execution.liveness import SWEEP_S
from orchestrator.execution.liveness_rules import CHECK_AFTER_S
from orchestrator.execution.next_action import RESENT_MAX
from orchestrator.execution.run_waits import pause
from orchestrator.reporting.background_publisher import BackgroundPublisher
from orchestrator.reporting.events import Events
from orchestrator.reporting.metrics import OrchestratorMetrics
from orchestrator.state.fleet import Fleet
from orchestrator.state.outputs import Outputs
from orchestrator.state.tasks import Task

POOL: Final = "local"
BODY: Final = b'{"document": "x", "labels": ["a"]}'
OK: Final = Finished(output=msgspec.Raw(b'{"label": "a", "confidence": 1.0}'), provider="p", model="m", replica="r1")
LONG_S: Final = 60.0


class Core:
    """
    The execution core, and a worker that says what it is told to, one word for each request.

    Attributes:
        words: What it says, in order; then what it says `otherwise`, if anything.
        held: The reply subjects of requests that it has said nothing to.
        deaths: What is known of replicas that died of tasks.
        asked_at: When the worker was asked, by the loop's clock.
    """

    def __init__(
        self, worker: Connection, fleet: Fleet, router: PolicyRouter, dispatcher: Dispatcher, deaths: DeathNotes
    ) -> None:
        self._worker = worker
        self.router = router
        self.deaths = deaths
        self.fleet = fleet
        self.dispatcher = dispatcher
        self.words: list[WorkerReply] = []
        self.otherwise: WorkerReply | None = None
        self.asked_at: list[float] = []
        self.held: list[str] = []

    async def on_request(self, message: Message) -> None:
        """Say the next word; with none left, hold the request."""
        self.asked_at.append(time.monotonic())
        word = self.words.pop(0) if self.words else self.otherwise
        if word is None:
            self.held.append(message.reply)
        else:
            await self._worker.publish(message.reply, encode(word))

    @asynccontextmanager
    async def controls(self, handler: Handler) -> AsyncGenerator[None]:
        """Have the worker hand what it alone is told to `handler`."""
        subject = subjects.infer_control("local", POOL, "r1")
        subscription = await self._worker.subscribe(subject, handler)
        await self._worker.settle()
        yield
        await subscription.unsubscribe()

    async def release(self) -> None:
        """Answer the request that was held first."""
        await self._worker.publish(self.held.pop(0), encode(OK))

    def announce(self, *, slots: int = 1) -> None:
        """A replica comes, or changes."""
        card = ReplicaCard(
            zone="local",
            pool=POOL,
            replica="r1",
            provider="p",
            slots=slots,
            models=[ModelCard(name="m", capabilities=["classify"])],
        )
        self.fleet.on_card(presence_key("local", POOL, "r1"), card)

    async def until(self, holds: Callable[[], object]) -> None:
        """Wait for something to be so."""
        async with asyncio.timeout(LONG_S):
            while not holds():
                await asyncio.sleep(0.005)


def task_of(
    *, durable: bool = False, deadline_s: float = LONG_S, priority: Priority = "normal", name: str = "t"
) -> Task:
    """A task of the default scope, accepted now."""
    return Task(
        task_id=name,
        scope="default",
        capability="classify",
        priority=priority,
        data_class="internal",
        body=BODY,
        options=TaskOptions(),
        accepted_unix_ms=unix_ms(),
        deadline_ms=round(deadline_s * 1000),
        durable=durable,
    )


def failure(kind: FailureKind) -> Failed:
    return Failed(kind=kind, message="as told")


@asynccontextmanager
async def core_on(server: RunningServer) -> AsyncGenerator[Core]:
    """An execution core, with one replica that the router knows of and a server that delivers to it."""
    async with (
        connected(server.orchestrator(), name="core") as connection,
        connected(server.worker("local", POOL), name="worker") as worker,
    ):
        fleet, router, deaths = Fleet(), PolicyRouter("o1"), DeathNotes(connection)
        metrics = OrchestratorMetrics(fleet, router)
        attempts = Attempts(connection, "o1", Outputs(Catalogue.load(())), replicas_of=fleet.replicas_of)
        dependencies = Dependencies(
            fleet=fleet,
            router=router,
            attempts=attempts,
            events=Events(BackgroundPublisher(connection)),
            ledger=Ledger(router.recorder, fleet, metrics),
            deaths=deaths,
        )
        dispatcher = Dispatcher(dependencies, metrics, payload_bytes_max=connection.payload_bytes_max)
        core = Core(worker, fleet, router, dispatcher, deaths)
        await attempts.start()
        await worker.subscribe(subjects.infer("local", POOL, "*"), core.on_request, queue=POOL)
        await connection.settle()
        await worker.settle()
        yield core
        await attempts.stop()


@pytest.fixture
async def core(nats_server: RunningServer) -> AsyncIterator[Core]:
    """
    With a replica of one slot.
    """
    async with core_on(nats_server) as core:
        core.announce()
        yield core


def kind_of(result: Result) -> ErrorKind | None:
    return result.error.kind if isinstance(result.error, ErrorBody) else None


@pytest.mark.parametrize("durable", [True, False])
async def test_a_run_sleeps_before_it_tries_the_same_route_again(core: Core, *, durable: bool) -> None:
    """
    For a rate limit half a second, a quarter more or less.
    """
    core.words = [failure(FailureKind.RATE_LIMITED), OK]

    result = await core.dispatcher.run(task_of(durable=durable))

    first_at, second_at = core.asked_at
    assert "ok" == result.status
    assert second_at - first_at >= 0.375
    assert ["rate_limited", "ok"] == [attempt.outcome for attempt in result.attempts]
    assert not core.dispatcher.held


@pytest.mark.parametrize("wakes", ["cancelled", "changed"])
async def test_a_backoff_ends_early_for_a_cancellation_or_a_change_of_the_fleet(
    core: Core, wakes: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Nobody waits for what is over, or leaves a new replica idle.
    """
    slept: list[float] = []
    asleep = asyncio.Event()

    async def long(task: Task, fleet: Fleet, *, up_to_s: float, deadline_at: float) -> None:
        slept.append(up_to_s)
        asyncio.get_running_loop().call_soon(asleep.set)
        await pause(task, fleet, up_to_s=10 * LONG_S, deadline_at=deadline_at)

    monkeypatch.setattr(task_run, "pause", long)
    core.words = [failure(FailureKind.RATE_LIMITED), OK]
    task = task_of(deadline_s=20 * LONG_S)
    async with asyncio.timeout(LONG_S):
        running = asyncio.create_task(core.dispatcher.run(task))
        await asleep.wait()
        if wakes == "cancelled":
            assert "waiting" == await core.dispatcher.cancel("default", "t")
        else:
            core.announce(slots=2)
        result = await running

    assert (ErrorKind.CANCELLED if wakes == "cancelled" else None) == kind_of(result)
    assert 1 == len(slept)


async def test_a_parked_task_says_so_and_goes_on_when_a_replica_comes(nats_server: RunningServer) -> None:
    """
    It takes no room of its capability meanwhile, and stands in no line.
    """
    async with core_on(nats_server) as core:
        parked: list[bool] = []
        task = task_of(durable=True)
        task.park = parked.append
        running = asyncio.create_task(core.dispatcher.run(task))
        await core.until(lambda: parked)
        assert [True] == parked
        core.words = [OK]
        core.announce()

        assert "ok" == (await running).status
        assert [True, False] == parked


async def test_a_task_that_replicas_died_of_stays_alone_after_a_refusal(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    The try goes on with the next request; another such task waits until it has ended.
    """
    monkeypatch.setattr(isolation, "ALONE_S", LONG_S)
    tasks = [task_of(durable=True, name=name) for name in ("first", "second")]
    for task in tasks:
        await core.deaths.note(task, 2)
    parked: list[bool] = []
    tasks[1].park = parked.append
    core.words = [Busy()]
    first = asyncio.create_task(core.dispatcher.run(tasks[0]))
    await core.until(lambda: core.held)
    second = asyncio.create_task(core.dispatcher.run(tasks[1]))
    await core.until(lambda: parked or len(core.held) == 2)
    asked = len(core.asked_at)
    core.otherwise = OK
    await core.release()
    results = await asyncio.gather(first, second)

    assert 2 == asked
    assert [True, False] == parked[:2]
    assert ["ok", "ok"] == [result.status for result in results]


async def test_a_task_that_waits_for_a_slot_is_not_in_the_way_of_another(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    It is tried alone, but it is not being tried.
    """
    monkeypatch.setattr(isolation, "ALONE_S", LONG_S)
    tasks = [task_of(durable=True, name=name) for name in ("first", "second")]
    for task in tasks:
        task.park = lambda _begins: None
        await core.deaths.note(task, 2)
    core.otherwise = Busy()
    first = asyncio.create_task(core.dispatcher.run(tasks[0]))
    await core.until(lambda: len(core.fleet.lane(POOL)) == 1)
    second = asyncio.create_task(core.dispatcher.run(tasks[1]))
    await core.until(lambda: len(core.fleet.lane(POOL)) == 2)
    core.otherwise = OK
    core.fleet.slot_freed(POOL)

    assert ["ok", "ok"] == [result.status for result in await asyncio.gather(first, second)]


@pytest.mark.parametrize("durable", [True, False])
async def test_a_run_that_crashes_fails_with_the_attempts_that_it_had(
    core: Core, monkeypatch: pytest.MonkeyPatch, *, durable: bool
) -> None:
    """
    Its end is told as any other's.
    """
    told: list[str] = []
    _break_second_decision(monkeypatch, ZeroDivisionError())

    def tell(_events: Events, _task: Task, kind: str, **_more: Any) -> None:
        told.append(kind)

    monkeypatch.setattr(Events, "tell", tell)
    core.words = [failure(FailureKind.RATE_LIMITED)]

    result = await core.dispatcher.run(task_of(durable=durable))

    assert ErrorKind.INTERNAL == kind_of(result)
    assert ["rate_limited"] == [attempt.outcome for attempt in result.attempts]
    assert ["queued", "dispatched", "attempt_failed", "failed"] == told
    assert not core.dispatcher.held


async def test_a_fault_of_a_shadow_is_none_of_the_task(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    It has its answer by then.
    """

    def broken(*_args: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(PolicyRouter, "shadow_of", broken)
    shadow = CapabilityPolicy(shadow=ShadowEntry(pool=POOL, share=1.0))
    core.router.use(Policy(capabilities={"classify": shadow}))
    core.otherwise = OK

    assert "ok" == (await core.dispatcher.run(task_of())).status


@pytest.mark.parametrize("durable", [True, False])
async def test_without_the_server_a_durable_task_goes_back_and_an_asked_one_fails(
    core: Core, monkeypatch: pytest.MonkeyPatch, *, durable: bool
) -> None:
    """
    The stream delivers it again.
    """
    _break_second_decision(monkeypatch, FabricError("away"))
    core.words = [failure(FailureKind.RATE_LIMITED)]
    running = core.dispatcher.run(task_of(durable=durable))

    if durable:
        with pytest.raises(FabricError):
            await running
    else:
        assert ErrorKind.INTERNAL == kind_of(await running)
    assert not core.dispatcher.held


def _break_second_decision(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    decide = PolicyRouter.decide
    left: list[Exception | None] = [None, error]

    def once(router: PolicyRouter, *args: Any) -> Any:
        raises = left.pop(0)
        if raises is not None:
            raise raises
        return decide(router, *args)

    monkeypatch.setattr(PolicyRouter, "decide", once)


async def test_a_deadline_ends_every_wait(nats_server: RunningServer) -> None:
    """
    Also the wait for a route.
    """
    async with core_on(nats_server) as core:
        task = task_of(durable=True, deadline_s=0.5)
        task.park = lambda _begins: None

        assert ErrorKind.DEADLINE_EXCEEDED == kind_of(await core.dispatcher.run(task))


async def test_tasks_stand_in_line_while_the_pool_is_full_and_go_when_a_slot_is_free(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A busy replica costs them no attempt, and is not asked again and again at once.
    """
    monkeypatch.setattr(lanes, "SOON_S", 3_600.0)
    core.fleet.lane(POOL).own_attempt_ended()
    core.otherwise = Busy()
    first = asyncio.create_task(core.dispatcher.run(task_of(name="first")))
    await core.until(lambda: len(core.fleet.lane(POOL)) == 1)
    assert RESENT_MAX + 1 == len(core.asked_at)
    second = asyncio.create_task(core.dispatcher.run(task_of(name="second")))
    await core.until(lambda: len(core.fleet.lane(POOL)) == 2)
    core.otherwise = OK
    core.fleet.slot_freed(POOL)
    results = await asyncio.gather(first, second)

    assert [1, 1] == [len(result.attempts) for result in results]
    assert 0 == len(core.fleet.lane(POOL))


async def test_a_task_that_a_replica_was_too_full_for_is_sent_on_at_once(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Not into the line: nothing would call it from there.
    """
    for name in ("SOON_S", "TIMER_S"):
        monkeypatch.setattr(lanes, name, 3_600.0)
    core.words = [Busy()] * RESENT_MAX
    core.otherwise = OK

    result = await asyncio.wait_for(core.dispatcher.run(task_of(deadline_s=LONG_S)), 60)

    assert ("ok", 1) == (result.status, len(result.attempts))


async def test_a_task_that_met_only_replicas_that_were_leaving_tries_again_soon(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Though no attempt ends and nobody says that a slot is free: others may have had one all the time.
    """
    monkeypatch.setattr(lanes, "TIMER_S", 3_600.0)
    core.words = [Busy()] * (RESENT_MAX + 1)
    core.otherwise = OK

    result = await core.dispatcher.run(task_of(deadline_s=LONG_S))

    assert 1 == len(result.attempts)
    assert "ok" == result.status


async def test_replicas_are_asked_about_an_attempt_that_is_so_old_and_not_sooner(core: Core) -> None:
    """
    Each of a pool is asked: taken for older than it is, every task of a moment's work would have all of them answer.
    """
    asked_at: dict[str, float] = {}

    async def on_control(message: Message) -> None:
        check = decode_control(message.data)
        if isinstance(check, InFlightCheck):
            asked_at.update(dict.fromkeys(check.attempts, time.monotonic()))

    async with core.controls(on_control):
        running: list[asyncio.Task[Result]] = []
        for number in range(4):
            running.append(asyncio.create_task(core.dispatcher.run(task_of(name=f"t{number}"))))
            await asyncio.sleep(SWEEP_S / 3)
        await core.until(lambda: len(asked_at) == len(running))
        attempts = [run.attempt for run in core.dispatcher.held.values() if run.attempt is not None]
        ages_s = [asked_at[attempt.id] - attempt.started_at for attempt in attempts]
        for _ in running:
            await core.release()
        await asyncio.gather(*running)

    assert len(ages_s) == len(running)
    assert CHECK_AFTER_S <= min(ages_s)


async def test_a_run_that_is_stopped_leaves_its_line_and_its_attempt(core: Core) -> None:
    """
    Nothing is counted as in flight any more.
    """
    core.words = [Accepted(replica="r1")]
    running = asyncio.create_task(core.dispatcher.run(task_of()))
    await core.until(lambda: core.fleet.busy.get(POOL))
    assert core.dispatcher.held["default", "t"].attempt is not None
    running.cancel()
    await asyncio.wait([running])

    assert running.cancelled()
    assert not core.dispatcher.held
    assert 0 == core.fleet.busy.get(POOL, 0)


async def test_a_task_that_is_over_is_freed_at_once(core: Core) -> None:
    """
    No cycle is left of it: at thousands of tasks a second the garbage collector would be felt.
    """
    core.otherwise = OK
    gc.collect()
    gc.disable()
    try:
        for _ in range(20):
            await core.dispatcher.run(task_of())
        await asyncio.sleep(0)
        left = [found for found in gc.get_objects() if isinstance(found, task_run.TaskRun)]
    finally:
        gc.enable()

    # The sweep may still look at the last one that it saw.
    assert len(left) <= 1
