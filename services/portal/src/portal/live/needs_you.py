"""What a person should look at, worst first, and what may be done about it. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final
from urllib.parse import quote, urlencode

from msgspec import Struct, UnsetType

from flotilla.contracts.api import FleetStatus
from flotilla.contracts.api_spend import BudgetStanding
from flotilla.contracts.failures import ErrorKind
from portal.live.failing import Failing
from portal.live.snapshot import NeedsYou, OrchestratorView, PoolView, RouteView
from portal.live.tasks import SeenTask

NEEDS_MAX: Final = 20
BUDGET_NEARLY: Final = 0.8
"""Of a budget, from where on somebody is told."""
_RANK: Final = {"bad": 0, "warn": 1, "info": 2}
_AWAY: Final = ("gone", "lost", "silent")
_UNHEARD: Final = (
    "See whether their processes run: what is frozen, or cut off from NATS, goes on by itself when it can."
)
_MEANWHILE: Final = "Its tasks go to other routes meanwhile, where there are any."


class Seen(Struct, frozen=True, kw_only=True):
    """
    What is known of the fleet.

    Attributes:
        orchestrators: None until they were looked for.
        statuses: By scope.
        failing: Capabilities whose tasks fail.
        stalled: Tasks that do not advance, the longest first.
        stalled_more: How many more may not.
    """

    now_unix_ms: int
    connected: bool
    orchestrators: Sequence[OrchestratorView] | None
    pools: Sequence[PoolView]
    routes: Sequence[RouteView]
    statuses: Mapping[str, FleetStatus]
    failing: Sequence[Failing] = ()
    stalled: Sequence[SeenTask] = ()
    stalled_more: int = 0


def needs_you(seen: Seen) -> list[NeedsYou]:
    """At most NEEDS_MAX things; empty when all is well."""
    if not seen.connected:
        text = "The connection to NATS is lost; what is shown is old"
        todo = "Look after nats-server and the network to it. The portal connects again by itself."
        return [NeedsYou(severity="bad", name="nats", text=text, todo=todo, href="#/")]
    found = [
        *_orchestrators(seen.orchestrators),
        *_pools(seen.pools),
        *_failing(seen.failing),
        *_routes(seen.routes),
        *_budgets(seen.statuses.values()),
        *_approvals(seen.statuses),
        *_stalled(seen),
        *_backlog(seen.statuses, seen.pools),
        *_dead(seen.statuses),
    ]
    found.sort(key=lambda need: _RANK[need.severity])
    return found[:NEEDS_MAX]


def _orchestrators(there: Sequence[OrchestratorView] | None) -> Iterator[NeedsYou]:
    if there is None:
        return
    if not there:
        text, todo = "No orchestrator answers: nothing is served", "Start one. The log of the last says why it ended."
        yield NeedsYou(severity="bad", name="orchestrators", text=text, todo=todo, href="#/")
    versions = sorted({each.version for each in there if each.version})
    if len(versions) > 1:
        text = f"Orchestrators of {len(versions)} versions are at work: {', '.join(versions)}"
        todo = "Finish the replacement, or take it back: a policy that only the newer ones know keeps the older out."
        yield NeedsYou(severity="warn", name="versions", text=text, todo=todo, href="#/")


def _pools(pools: Sequence[PoolView]) -> Iterator[NeedsYou]:
    live = [pool for pool in pools if pool.status not in _AWAY]
    if not live:
        text, todo = "No worker is there: tasks wait until one is", "Start a worker of any pool."
        if any(pool.status != "gone" for pool in pools):
            text, todo = (
                "No worker is heard any more: tasks wait until one is",
                f"{_UNHEARD} What has ended, start again.",
            )
        yield NeedsYou(severity="bad", name="workers", text=text, todo=todo, href="#/")
        return
    for pool in pools:
        if pool.status in _AWAY:
            is_gone = pool.status == "gone"
            what = "They were stopped; start them again where they are wanted." if is_gone else _UNHEARD
            text, name = f"Pool {pool.name}: {pool.words}", f"pool {pool.zone} {pool.name}"
            yield NeedsYou(
                severity="warn" if is_gone else "bad", name=name, text=text, todo=f"{what} {_MEANWHILE}", href="#/"
            )
    stand_ins = [pool.name for pool in live if pool.stand_in]
    if stand_ins:
        text = f"No model answers in {', '.join(stand_ins)}: a stand-in does, by simple rules"
        todo = "Start a worker with a model, of your own or a provider's: it gets the tasks as soon as it is there."
        yield NeedsYou(severity="info", name="stand-ins", text=text, todo=todo, href="#/")


def _failing(failing: Iterable[Failing]) -> Iterator[NeedsYou]:
    for each in failing:
        text = f"{'All' if each.is_all else 'Most'} tasks of {each.capability} fail: {each.error.replace('_', ' ')}"
        todo = "The story of one says why, attempt by attempt."
        if each.error == ErrorKind.NO_ROUTE.value:
            todo = "No pool that is there may serve them. Routes says where a task would go, and what is ruled out."
        href = f"#/tasks?{urlencode({'capability': each.capability, 'state': 'failed'})}"
        yield NeedsYou(severity="bad", name=f"failing {each.capability}", text=text, todo=todo, href=href)


def _routes(routes: Sequence[RouteView]) -> Iterator[NeedsYou]:
    for route in routes:
        if route.status not in ("open", "ejected"):
            continue
        query = urlencode({"capability": route.capability, "pool": route.pool, "model": route.model})
        yield NeedsYou(
            severity="bad" if route.status == "open" else "warn",
            name=f"route {route.capability} {route.pool} {route.model}",
            text=f"{route.capability} on {route.pool}/{route.model}: {route.words}",
            todo="Tasks take the next route, and it is tried again by itself. Its figures say since when, and how bad."
            if route.status == "ejected"
            else "It is tried again by itself. If that goes on, look at its errors: a key, a quota, or the provider.",
            href=f"#/routes?{query}",
        )


def _budgets(statuses: Iterable[FleetStatus]) -> Iterator[NeedsYou]:
    budgets: dict[str, BudgetStanding] = {}
    for status in statuses:
        if not isinstance(status.needs, UnsetType):
            budgets.update((budget.name, budget) for budget in status.needs.budgets)
    for budget in budgets.values():
        used = budget.used_usd_micros
        enforced = budget.mode == "enforce"
        if used is None:
            text = f"Budget {budget.name} cannot be read" + (": what it covers is refused" if enforced else "")
            todo = "Look after JetStream: its counter is in the stream COUNTERS."
        elif used >= budget.usd_micros:
            text = f"Budget {budget.name} is spent: {_of(budget)}"
            todo = "Its tasks wait, or fail, until the period ends. Raise it in the policy, or have them go to free routes."
            todo = todo if enforced else "It only reports: nothing is refused."
        elif used >= BUDGET_NEARLY * budget.usd_micros:
            text = f"Budget {budget.name} is nearly spent: {_of(budget)}"
            todo = "Raise it in the policy, or look at what costs most." if enforced else "It only reports."
        else:
            continue
        is_shut = enforced and (used is None or used >= budget.usd_micros)
        name = f"budget {budget.name}"
        yield NeedsYou(severity="bad" if is_shut else "warn", name=name, text=text, todo=todo, href="#/spend")


def _of(budget: BudgetStanding) -> str:
    return f"${(budget.used_usd_micros or 0) / 1e6:,.2f} of ${budget.usd_micros / 1e6:,.2f} in {budget.period}"


def _approvals(statuses: Mapping[str, FleetStatus]) -> Iterator[NeedsYou]:
    for scope, status in statuses.items():
        if isinstance(status.needs, UnsetType) or not status.needs.approvals_waiting:
            continue
        count = status.needs.approvals_waiting
        what = (
            "1 request waits for an approval" if count == 1 else f"{count:,} requests wait for an approval, the oldest"
        )
        text = f"{what} for {_span(status.needs.approvals_oldest_s)}{_in(scope, statuses)}"
        todo = "Read what would leave, and grant or deny it. A request that expires is denied."
        yield NeedsYou(
            severity="warn", name=f"approvals {scope}", text=text, todo=todo, href="#/approvals", count=count
        )


def _stalled(seen: Seen) -> Iterator[NeedsYou]:
    if not seen.stalled:
        return
    first, others = seen.stalled[0], len(seen.stalled) - 1 + seen.stalled_more
    stands_s = (seen.now_unix_ms - first.heard_unix_ms) / 1000
    step = first.events[-1].step if first.events else ""
    where = f" at the step {step}" if step else f" on {first.pool}" if first.pool else ""
    text = f"{first.capability} task {first.task} has not advanced for {_span(stands_s)}{where}"
    text += f", and {others:,} more" if others else ""
    todo = "Its story says what it did last. It ends at its deadline by itself; `flotilla cancel` ends it now."
    href = f"#/tasks/{quote(first.scope, safe='')}/{quote(first.task, safe='')}"
    yield NeedsYou(severity="warn", name="stalled", text=text, todo=todo, href=href)


def _backlog(statuses: Mapping[str, FleetStatus], pools: Sequence[PoolView]) -> Iterator[NeedsYou]:
    # Of pools alone: what no pool ever served may be a pipeline, which orchestrators run.
    served = {name for pool in pools if pool.status not in _AWAY for name in pool.capabilities}
    served_before = {name for pool in pools for name in pool.capabilities} - served
    for scope, status in statuses.items():
        for entry in status.backlog:
            pending = entry.high + entry.normal + entry.low
            if pending and entry.capability in served_before:
                text = f"{pending:,} {entry.capability} wait, and no pool serves it now{_in(scope, statuses)}"
                name, href = (
                    f"backlog {scope} {entry.capability}",
                    f"#/tasks?{urlencode({'capability': entry.capability})}",
                )
                todo = "Start a worker that serves it, or they fail at their deadlines."
                yield NeedsYou(severity="warn", name=name, text=text, todo=todo, href=href)


def _dead(statuses: Mapping[str, FleetStatus]) -> Iterator[NeedsYou]:
    dead = sum(status.dead for status in statuses.values())
    if dead:
        text = f"{dead:,} dead letter{'' if dead == 1 else 's'}: durable tasks that could not be done"
        todo = "See why, then retry or discard them."
        yield NeedsYou(severity="warn", name="dead", text=text, todo=todo, href="#/dead", count=dead)


def _in(scope: str, statuses: Mapping[str, FleetStatus]) -> str:
    return f" in {scope}" if len(statuses) > 1 else ""


def _span(seconds: float) -> str:
    """In whole minutes, hours or days: the text of a need is not to change every second."""
    minutes = int(seconds // 60)
    if minutes < 1:
        return "less than a minute"
    if minutes < 60:  # noqa: PLR2004
        return f"{minutes} min"
    hours = minutes // 60
    return f"{hours} h" if hours < 48 else f"{hours // 24} d"  # noqa: PLR2004
