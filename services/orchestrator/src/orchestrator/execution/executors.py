"""
Who serves a capability: an executor says what it serves and how much of it it can work on, and runs a task to its result.

Pools of workers are served by one, through the dispatcher. Another may run tasks in the orchestrator itself, or wrap one:
it passes on what the inner one says, and runs what it must not answer itself there. The durable path, the sweep and the
asks know executors only.
"""

from collections.abc import Coroutine, Sequence
from typing import Any, Final, Protocol

from flotilla.contracts.results import Result
from orchestrator.execution.crashes import goes_back
from orchestrator.execution.dispatch import Dispatcher
from orchestrator.state.attempt import OnPiece
from orchestrator.state.fleet import Fleet
from orchestrator.state.tasks import Task

IN_HAND_PER_SLOT_MAX: Final = 2
"""Of all of a scope's durable tasks: those that wait here for a busy pool are as many as those that run."""


class Executor(Protocol):
    """
    Serves capabilities.

    What it says is asked for with every pull, so it must be at hand; a change is seen within a second.
    """

    def capabilities(self) -> frozenset[str]:
        """What it serves now; each costs every scope the consumers of a capability."""
        ...

    def capacity(self, capability: str) -> int:
        """
        Tasks of a capability that it can work on at a time; 0 when it can take none.

        No more are pulled of each scope: the rest of the backlog stays in JetStream, and what nobody has capacity for
        fails there at its deadline.
        """
        ...

    def total_capacity(self) -> int:
        """The same of all its capabilities together."""
        ...

    async def run(self, task: Task, on_piece: OnPiece | None = None) -> Result:
        """
        Take a task to its result; failures are results too, and so is a deadline that has passed.

        It ends early when `task.cancelled` is set, and tells of the task (events, metrics, traces) once: what is handed
        on to another executor is told of there.

        Args:
            task: Of a capability that it serves, or served a moment ago.
            on_piece: Called with each piece of a streamed answer, in order, before the result.

        Raises:
            NoRouteNowError: A durable task cannot be worked on now and may be later: it goes back to its stream.
        """
        ...


class PoolExecutor:
    """Runs tasks on pools of workers; capacity is slots."""

    def __init__(self, fleet: Fleet, dispatcher: Dispatcher) -> None:
        self._fleet = fleet
        self.dispatcher: Final = dispatcher
        self.capabilities: Final = fleet.capabilities
        self.capacity: Final = fleet.slots_for
        self.run: Final = dispatcher.run

    def total_capacity(self) -> int:
        """See `Executor`."""
        return IN_HAND_PER_SLOT_MAX * self._fleet.slots()


class BeforePools(Protocol):
    """Runs some of the tasks that pools serve, in its own way."""

    def wants(self, task: Task) -> bool:
        """Whether it is to run a task. Fast: it is asked for each."""
        ...

    async def run(self, task: Task, on_piece: OnPiece | None = None) -> Result:
        """See `Executor`."""
        ...


class Executors:
    """
    All executors: of several that serve a capability the first runs its tasks, and pools what no other serves.

    Attributes:
        held: Tasks in hand of other executors than the pools', by scope and id.
    """

    def __init__(
        self, pools: PoolExecutor, others: Sequence[Executor] = (), *, before_pools: BeforePools | None = None
    ) -> None:
        self._pools = pools
        self._before_pools = before_pools
        self._held_by_pools = pools.dispatcher.held
        self._others = tuple(others)
        self.held: Final[dict[tuple[str, str], Task]] = {}

    def capabilities(self) -> frozenset[str]:
        """All that is served now."""
        return self._pools.capabilities().union(*(executor.capabilities() for executor in self._others))

    def serves(self, capability: str) -> bool:
        """Whether it is served now."""
        return capability in self.capabilities()

    def of(self, capability: str) -> Executor:
        """Who runs the tasks of a capability."""
        for executor in self._others:
            if capability in executor.capabilities():
                return executor
        return self._pools

    def holds(self, scope: str, task_id: str) -> bool:
        """Whether a task is being run here."""
        key = (scope, task_id)
        return key in self._held_by_pools or key in self.held

    async def cancel(self, scope: str, task_id: str) -> str | None:
        """Cancel a task that is held here; gives `running` or `waiting`, None when it is not."""
        task = self.held.get((scope, task_id))
        if task is not None:
            task.cancelled.set()
        was = await self._pools.dispatcher.cancel(scope, task_id)
        return "running" if was is None and task is not None else was

    def run(self, task: Task, on_piece: OnPiece | None = None) -> Coroutine[Any, Any, Result]:
        """See `Executor`."""
        executor = self.of(task.capability)
        if executor is not self._pools:
            return self._hold(executor, task, on_piece)
        if self._before_pools is not None and self._before_pools.wants(task):
            return self._hold(self._before_pools, task, on_piece)
        return self._pools.run(task, on_piece)

    async def _hold(self, executor: Executor | BeforePools, task: Task, on_piece: OnPiece | None) -> Result:
        key = (task.scope, task.id)
        self.held[key] = task
        try:
            return await executor.run(task, on_piece)
        except Exception as error:
            if goes_back(task, error):
                raise
            return self._pools.dispatcher.crashed(task)
        finally:
            if self.held.get(key) is task:
                del self.held[key]
