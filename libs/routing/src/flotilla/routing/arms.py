"""
One orchestrator's totals of the arms of splits: each task counts for the route that it was drawn for.

By what it was drawn for, not by who answered: the draw is by chance, so arms differ only in what they are; a task that
failed on its arm and went well on another counts as a failure of the first. One whose hedge answered first counts as gone
well on the arm that it was drawn for, after the time at which that attempt was given up: left out, the slow tasks of an
arm would be missing. No I/O; times come in.
"""

from typing import Final

from flotilla.contracts.experiments import ArmOfTask, ArmsRecord, ArmTotals
from flotilla.contracts.results import HEDGE_REASON, AttemptReport, Result
from flotilla.routing.split import DRAWN

EXPERIMENTS_MAX: Final = 200
"""Of one orchestrator; the one that had no task for the longest time goes."""
RECENT_MAX: Final = 20_000
"""Tasks of which the arm is remembered for a score; of the scope with the most of them the oldest goes."""
CANCELLED: Final = "cancelled"


class Arms:
    """
    Totals by experiment, and the arms of the newest tasks.

    Attributes:
        changed: Experiments of which there is something new, until whoever publishes takes them out.
    """

    def __init__(self) -> None:
        self._totals: dict[tuple[str, str], dict[tuple[str, str], ArmTotals]] = {}
        self._began_unix_ms: dict[tuple[str, str], int] = {}
        self._recent: dict[str, dict[str, ArmOfTask]] = {}
        self._remembered = 0
        self.changed: set[tuple[str, str]] = set()

    def ended(self, scope: str, result: Result, experiment: str, now_unix_ms: int) -> None:
        """A task of a split has its result; one that was not drawn, or that its caller gave up, does not count."""
        arm, first = arm_of(result, experiment), _drawn(result)
        if arm is None or first is None:
            return
        key = (arm.capability, experiment)
        arms = self._totals.pop(key, None)
        if arms is None:
            arms = {}
            while len(self._totals) >= EXPERIMENTS_MAX:
                self._forget(next(iter(self._totals)))
        self._totals[key] = arms
        self._began_unix_ms.setdefault(key, now_unix_ms)
        route = (arm.pool, arm.model)
        known = arms.get(route) or ArmTotals(pool=arm.pool, model=arm.model)
        arms[route] = known + _one_task(arm, first, result)
        self.changed.add(key)
        self._remember(scope, result.task, arm)

    def arm_of_recent(self, scope: str, task: str) -> ArmOfTask | None:
        """The arm of a task that ended here lately."""
        return self._recent.get(scope, {}).get(task)

    def record(self, capability: str, experiment: str) -> ArmsRecord | None:
        """The totals of an experiment as they stand; None without any."""
        arms = self._totals.get((capability, experiment))
        if arms is None:
            return None
        return ArmsRecord(began_unix_ms=self._began_unix_ms[capability, experiment], arms=list(arms.values()))

    def _remember(self, scope: str, task: str, arm: ArmOfTask) -> None:
        """One scope's many tasks keep no other from scoring its own."""
        if self._remembered >= RECENT_MAX:
            largest = max(self._recent.values(), key=len)
            del largest[next(iter(largest))]
            self._remembered -= 1
        recent = self._recent.setdefault(scope, {})
        self._remembered += task not in recent
        recent[task] = arm

    def _forget(self, key: tuple[str, str]) -> None:
        del self._totals[key]
        self._began_unix_ms.pop(key, None)
        self.changed.discard(key)


def arm_of(result: Result, experiment: str) -> ArmOfTask | None:
    """The arm that a result's task was drawn for; None where it was not drawn, or its caller gave it up."""
    first = _drawn(result)
    if first is None or first.reason not in DRAWN or not first.pool or _is_given_up(first, result):
        return None
    return ArmOfTask(capability=result.capability, experiment=experiment, pool=first.pool, model=first.model)


def _drawn(result: Result) -> AttemptReport | None:
    """The first attempt. A hedge beside it stands before it where it ended first."""
    return next((each for each in result.attempts if not each.reason.startswith(HEDGE_REASON)), None)


def _is_given_up(first: AttemptReport, result: Result) -> bool:
    """Whether it was cancelled, and not since its hedge had answered."""
    return first.outcome == CANCELLED and result.status != "ok"


def _one_task(arm: ArmOfTask, first: AttemptReport, result: Result) -> ArmTotals:
    ok = first.outcome in ("ok", CANCELLED)
    totals = ArmTotals(pool=arm.pool, model=arm.model, ok=int(ok), failed=int(not ok))
    latency_ms, cost_usd = totals.latency_ms, totals.cost_usd
    if ok:
        latency_ms = latency_ms.with_value(max(0.0, first.latency_ms))
    if result.usage.cost_usd is not None:
        cost_usd = cost_usd.with_value(result.usage.cost_usd)
    return ArmTotals(
        pool=arm.pool,
        model=arm.model,
        ok=totals.ok,
        failed=totals.failed,
        latency_ms=latency_ms,
        cost_usd=cost_usd,
    )
