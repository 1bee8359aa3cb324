"""Who runs a capability's tasks, what all executors can take, and who holds a task."""

import asyncio
from typing import Any, cast

import pytest

from flotilla.contracts.presence import ModelCard, ReplicaCard
from flotilla.contracts.results import Result
from flotilla.contracts.subjects import presence_key
from orchestrator.execution.executors import Executors, PoolExecutor
from orchestrator.state.attempt import OnPiece
from orchestrator.state.fleet import Fleet
from orchestrator.state.tasks import Task


class Named:
    """An executor that says which one it is."""

    def __init__(self, name: str, capabilities: set[str], capacity: int = 1) -> None:
        self.name = name
        self.served = frozenset(capabilities)
        self.limit = capacity
        self.executors: Executors | None = None
        self.held: list[bool] = []

    def capabilities(self) -> frozenset[str]:
        """See `Executor`."""
        return self.served

    def capacity(self, capability: str) -> int:
        """See `Executor`."""
        return self.limit if capability in self.served else 0

    def total_capacity(self) -> int:
        """See `Executor`."""
        return self.limit

    async def run(self, task: Task, on_piece: OnPiece | None = None) -> Result:
        """See `Executor`."""
        assert on_piece is None
        assert self.executors is not None
        self.held.append(self.executors.holds(task.scope, task.id))
        self.held.append(self.executors.holds("another", task.id))
        assert "running" == await self.executors.cancel(task.scope, task.id)
        if self.name == "broken":
            raise ZeroDivisionError
        return Result(task=task.id, capability=self.name, status="ok")


class Waiting(Named):
    """An executor whose runs end when they are told to."""

    def __init__(self, capabilities: set[str]) -> None:
        super().__init__("waiting", capabilities)
        self.ends: list[asyncio.Event] = []
        self.tasks: list[Any] = []

    async def run(self, task: Task, on_piece: OnPiece | None = None) -> Result:
        """See `Executor`."""
        assert on_piece is None
        end = asyncio.Event()
        self.ends.append(end)
        self.tasks.append(task)
        await end.wait()
        return Result(task=task.id, capability=self.name, status="ok")


class Routed:
    """Stands where the dispatcher does."""

    def __init__(self) -> None:
        self.held: dict[tuple[str, str], object] = {}
        self.cancelled: list[tuple[str, str]] = []

    async def run(self, task: Task, on_piece: OnPiece | None = None) -> Result:
        """See `Dispatcher`."""
        assert on_piece is None
        return Result(task=task.id, capability="routed", status="ok")

    def crashed(self, task: Task) -> Result:
        """See `Dispatcher`."""
        return Result(task=task.id, capability="crashed", status="failed")

    async def cancel(self, scope: str, task_id: str) -> str | None:
        """See `Dispatcher`."""
        self.cancelled.append((scope, task_id))
        return "waiting" if (scope, task_id) in self.held else None


class ATask:
    """As much of a task as an executor is chosen by."""

    def __init__(self, capability: str) -> None:
        self.scope = "default"
        self.id = "t"
        self.capability = capability
        self.durable = True
        self.cancelled = Flag()


class Flag:
    """Whether it was set."""

    def __init__(self) -> None:
        self.is_set = False

    def set(self) -> None:
        """See `asyncio.Event`."""
        self.is_set = True


def _fleet(slots: int) -> Fleet:
    fleet = Fleet()
    for replica in ("r1", "r2"):
        models = [ModelCard(name="m", capabilities=["classify", "summarize"])]
        card = ReplicaCard(zone="local", pool="home", replica=replica, provider="noop", slots=slots, models=models)
        fleet.on_card(presence_key("local", "home", replica), card)
    return fleet


def _executors(*others: Named, slots: int = 4, routed: Routed | None = None) -> Executors:
    executors = Executors(PoolExecutor(_fleet(slots), cast("Any", routed or Routed())), others)
    for other in others:
        other.executors = executors
    return executors


@pytest.mark.parametrize(
    ("capability", "runs"), [("classify", "first"), ("sign", "second"), ("summarize", "routed"), ("reason", "routed")]
)
async def test_the_first_that_serves_a_capability_runs_its_tasks(capability: str, runs: str):
    """
    And the pools what no other serves, also what they do not serve now.
    """
    executors = _executors(Named("first", {"classify"}), Named("second", {"classify", "sign"}))

    assert runs == (await executors.run(cast("Any", ATask(capability)))).capability


async def test_all_that_is_served_is_what_each_serves_now():
    """
    By workers or not; what nobody serves any more is gone.
    """
    signer = Named("signer", {"sign"})
    executors = _executors(signer)
    before = (executors.capabilities(), executors.serves("sign"), executors.serves("classify"))
    signer.served = frozenset()

    assert ({"classify", "summarize", "sign"}, True, True) == before
    assert ({"classify", "summarize"}, False) == (executors.capabilities(), executors.serves("sign"))


async def test_the_capacity_of_pools_is_slots():
    """
    Of a capability those that serve it, of all together twice as many: some wait while others run.
    """
    pools = _executors(slots=4).of("classify")

    assert (8, 8, 0) == (pools.capacity("classify"), pools.capacity("summarize"), pools.capacity("sign"))
    assert 16 == pools.total_capacity()
    assert 5 == _executors(Named("first", {"sign"}, 5)).of("sign").capacity("sign")


@pytest.mark.parametrize("name", ["well", "broken"])
async def test_a_task_is_held_while_it_is_run(name: str):
    """
    However that ends; held, it can be cancelled, and is another scope's business never.
    """
    signer, task = Named(name, {"sign"}), ATask("sign")
    executors = _executors(signer)
    before = executors.holds("default", "t")
    result = await executors.run(cast("Any", task))

    assert ("crashed" if name == "broken" else "well") == result.capability
    assert [True, False] == signer.held
    assert (False, False) == (before, executors.holds("default", "t"))
    assert task.cancelled.is_set


async def test_a_run_that_ends_late_leaves_the_next_one_of_its_id_alone():
    """
    Of two with one id the later is the one that is held, and cancelled.
    """
    signer = Waiting({"sign"})
    executors = _executors(signer)
    early, late = (asyncio.ensure_future(executors.run(cast("Any", ATask("sign")))) for _ in range(2))
    await asyncio.sleep(0)
    signer.ends[0].set()
    await early
    held = executors.holds("default", "t")
    await executors.cancel("default", "t")
    signer.ends[1].set()
    await late

    assert held
    assert [False, True] == [task.cancelled.is_set for task in signer.tasks]
    assert not executors.holds("default", "t")


async def test_what_pools_hold_is_theirs_to_cancel():
    """
    They say whether it ran or waited; a task that nobody holds is told of as none.
    """
    routed = Routed()
    routed.held["default", "t"] = object()
    executors = _executors(routed=routed)

    assert executors.holds("default", "t")
    assert "waiting" == await executors.cancel("default", "t")
    assert await executors.cancel("default", "other") is None


class Before(Named):
    """Stands before the pools, for the tasks of one capability."""

    def wants(self, task: Task) -> bool:
        """See `BeforePools`."""
        return task.capability in self.served


async def test_what_stands_before_the_pools_runs_what_it_wants_and_holds_it():
    """
    Of what pools serve alone: an executor's tasks are its own.
    """
    before, other = Before("before", {"classify", "sign"}), Named("other", {"sign"})
    pools = PoolExecutor(_fleet(4), cast("Any", Routed()))
    executors = before.executors = other.executors = Executors(pools, [other], before_pools=before)
    ran = [(await executors.run(cast("Any", ATask(name)))).capability for name in ("classify", "sign", "summarize")]

    assert ["before", "other", "routed"] == ran
    assert [True, False] == before.held
    assert not executors.held
