"""
Where a task goes: the one entry to routing, a pure function of task, policy, fleet, health, time and chance.

The order of a decision:
1. at most one probe, a route that is ejected or whose breaker is half-open, when the trickle on it is due;
2. the healthy routes in the strategy's order, those with a free slot first;
3. returning routes that the draw of their share passed over;
4. ejected routes, as a last resort for tasks that failed everywhere else.

Closed routes (an open breaker, a Retry-After that still runs) are not in it, and wait.
"""

import random
from collections.abc import Mapping
from typing import Final

from flotilla.contracts.policy_rules import Rules
from flotilla.contracts.stats import RouteKey
from flotilla.routing import probes
from flotilla.routing.candidates import Candidate, gather
from flotilla.routing.compiled import CompiledPolicy
from flotilla.routing.ejections import share
from flotilla.routing.health import Health
from flotilla.routing.one_model import unsettled
from flotilla.routing.strategy import Plan
from flotilla.routing.types import Choice, Decision, Exclusion, FleetView, TaskView

MS_PER_S: Final = 1000.0
NOT_BUSY: Final[Mapping[str, int]] = {}


class _Sorted:
    """Candidates by their health."""

    def __init__(self) -> None:
        self.standing: list[Candidate] = []
        self.passed: list[Candidate] = []
        self.ejected: list[Candidate] = []
        self.half_open: list[Candidate] = []
        self.closed: list[Exclusion] = []


def route(
    task: TaskView,
    policy: CompiledPolicy,
    fleet: FleetView,
    health: Health,
    *,
    now_unix_ms: int,
    rng: random.Random,
    busy: Mapping[str, int] = NOT_BUSY,
) -> Decision:
    """
    Decide where a task may go, in the order to try.

    Restricted data never gets a cloud route, and no task a route that the policy does not list for its capability,
    where it lists any. A decision without routes has a reason. After a decision whose first choice is a probe, the
    caller keeps the health that `probes.noted` returns. `busy` gives the slots taken by pool where the caller knows
    better than the fleet view.
    """
    rules = policy.rules_of(task.capability)
    refusal = _refused(task, rules)
    if refusal:
        return Decision(reason=refusal, policy_revision=policy.revision)
    models = policy.models_of(task.capability)
    candidates, excluded = gather(task, rules, policy.shortlists, fleet, health, busy=busy, rng=rng, models=models)
    if models is not None and not models and (real := [each for each in candidates if not each.pool.stands_in]):
        return _unsettled(task, policy, real, excluded, now_unix_ms)
    sorted_ = _by_health(candidates, rules, health, now_unix_ms, rng)
    excluded += sorted_.closed
    probe = _probe(task, rules, health, sorted_, now_unix_ms=now_unix_ms, rng=rng)
    excluded += [_closed_but_for_probes(candidate) for candidate in sorted_.half_open if candidate is not probe]
    plan = policy.planner_of(task.capability)(sorted_.standing, task, rng) if sorted_.standing else None
    routes = _choices(task, plan, sorted_, probe)
    return Decision(
        routes=routes,
        excluded=tuple(excluded),
        reason="" if routes else _why_none(task, excluded),
        policy_revision=policy.revision,
        escalation=plan.escalation if plan is not None else None,
        panel=plan.panel if plan is not None else None,
    )


def _unsettled(
    task: TaskView, policy: CompiledPolicy, real: list[Candidate], others: list[Exclusion], now_unix_ms: int
) -> Decision:
    """Have the capability held to the model of the first route, as every orchestrator would choose it."""
    listed = policy.rules_of(task.capability).routes is not None

    def order(candidate: Candidate) -> tuple[int, str]:
        route = candidate.route
        return (candidate.place, "") if listed else (int(route.zone != "local"), route.pool)

    excluded = tuple(unsettled(each.pool, task.capability, each.route.model, now_unix_ms) for each in real)
    return Decision(
        excluded=(*excluded, *others),
        reason=excluded[0].reason,
        to_hold=min(real, key=order).route.model,
        policy_revision=policy.revision,
    )


def _refused(task: TaskView, rules: Rules) -> str:
    """What the policy says against the task itself."""
    if task.data_class not in rules.data_classes:
        return f"the policy does not allow {task.data_class} data for {task.capability}"
    for label in rules.task_labels:
        if label not in task.labels:
            return f"the policy asks for the label {label} (header Flotilla-Label-{label}) on {task.capability}"
    return ""


def _by_health(
    candidates: list[Candidate],
    rules: Rules,
    health: Health,
    now_unix_ms: int,
    rng: random.Random,
) -> _Sorted:
    found = _Sorted()
    troubled = bool(health.closures or health.retry_after)
    for candidate in candidates:
        if troubled and _is_closed(candidate, health, found, now_unix_ms):
            continue
        phase = candidate.known.standing.phase
        if phase == "healthy":
            found.standing.append(candidate)
        elif phase == "ejected":
            found.ejected.append(candidate)
        elif rng.random() < share(candidate.known.standing, rules, now_unix_ms):
            found.standing.append(candidate)
        else:
            found.passed.append(candidate)
    return found


def _is_closed(candidate: Candidate, health: Health, found: _Sorted, now_unix_ms: int) -> bool:
    """Sort a closed candidate out: closed for all, or for all but probes."""
    pair = (candidate.route.pool, candidate.route.model)
    asked_until = health.retry_after.get(pair, 0)
    if asked_until > now_unix_ms:
        found.closed.append(_closed(candidate, "rate limited by the provider (Retry-After)", asked_until, now_unix_ms))
        return True
    closure = health.closures.get(pair)
    if closure is None:
        return False
    if closure.half_open or closure.until_unix_ms <= now_unix_ms:
        found.half_open.append(candidate)
    else:
        found.closed.append(_closed(candidate, closure.reason, closure.until_unix_ms, now_unix_ms))
    return True


def _closed(candidate: Candidate, why: str, until_unix_ms: int, now_unix_ms: int) -> Exclusion:
    return Exclusion(
        pool=candidate.route.pool,
        model=candidate.route.model,
        reason=f"{why}: {(until_unix_ms - now_unix_ms) / MS_PER_S:.1f} s to go",
        waits=True,
        until_unix_ms=until_unix_ms,
        figures=candidate.known.figures,
    )


def _closed_but_for_probes(candidate: Candidate) -> Exclusion:
    return Exclusion(
        pool=candidate.route.pool,
        model=candidate.route.model,
        reason="breaker half-open: probes only",
        waits=True,
        figures=candidate.known.figures,
    )


def _probe(
    task: TaskView,
    rules: Rules,
    health: Health,
    found: _Sorted,
    *,
    now_unix_ms: int,
    rng: random.Random,
) -> Candidate | None:
    """The route that this task tries out, if one is due. Without a healthy route, ejected ones get all tasks anyway."""
    healthy = bool(found.standing or found.passed)
    for candidate in (*found.half_open, *(found.ejected if healthy else ())):
        key = RouteKey(candidate.route.pool, candidate.route.model, task.capability)
        if candidate.free > 0 and probes.is_due(
            health,
            candidate.known,
            key,
            rules.probe,
            alone=not healthy,
            now_unix_ms=now_unix_ms,
            rng=rng,
        ):
            return candidate
    return None


def _choices(
    task: TaskView,
    plan: Plan | None,
    found: _Sorted,
    probe: Candidate | None,
) -> tuple[Choice, ...]:
    choices: list[Choice] = []
    if probe is not None:
        choices.append(_choice(probe, "health probe", probe=True))
    if plan is not None:
        _stand(task, plan, choices)
    choices += [_choice(candidate, "returning: not yet its full share") for candidate in found.passed]
    healthy = bool(found.standing or found.passed)
    choices += [
        _choice(candidate, f"last resort, ejected: {candidate.known.standing.why}", last_resort=healthy)
        for candidate in found.ejected
        if candidate is not probe
    ]
    return tuple(choices)


def _stand(task: TaskView, plan: Plan, choices: list[Choice]) -> None:
    """The healthy routes: those with a free slot as the strategy orders them, then the full ones."""
    reason = "asked for by the caller" if task.wanted_pool is not None else plan.first
    full: list[Candidate] = []
    for candidate in plan.candidates:
        if candidate.free > 0:
            # Spelt out: most choices of most decisions are made here.
            choices.append(
                Choice(
                    route=candidate.route,
                    reason=reason,
                    free_slots=candidate.free,
                    figures=candidate.known.figures,
                ),
            )
            reason = plan.behind
        else:
            full.append(candidate)
    choices += [_choice(candidate, "no free slot: behind those that have one") for candidate in full]


def _choice(candidate: Candidate, reason: str, *, probe: bool = False, last_resort: bool = False) -> Choice:
    return Choice(
        route=candidate.route,
        reason=reason,
        free_slots=candidate.free,
        probe=probe,
        last_resort=last_resort,
        figures=candidate.known.figures,
    )


def _why_none(task: TaskView, excluded: list[Exclusion]) -> str:
    if excluded:
        return f"every route for {task.capability} is ruled out"
    return f"no live pool serves {task.capability}"
