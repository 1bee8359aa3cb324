"""
The routes that a task may take at all, before any strategy puts them in order.

What is worked out depends on the policy, the fleet and the health, and on a task's capability, data class and wishes.
The first three change a few times a second at most, so the work is kept in a `Shortlist` while they are the same objects.
"""

import random
from collections.abc import Mapping
from functools import lru_cache
from typing import Final, NamedTuple

from msgspec import Struct

from flotilla.contracts.policy import RouteEntry
from flotilla.contracts.policy_rules import Rules
from flotilla.contracts.subjects import Zone
from flotilla.routing.default import pools_by_default, shuffled
from flotilla.routing.eligibility import barred, missing, model_for, named_model, open_zones, wish
from flotilla.routing.health import NOTHING, UNSEEN, Health, RouteHealth
from flotilla.routing.one_model import absent, base_name, model_within, other_model
from flotilla.routing.stand_ins import Listed, without_stand_ins
from flotilla.routing.types import Exclusion, FleetView, PoolView, Route, TaskView

ROUTES_CACHED_MAX: Final = 4096
SHORTLISTS_MAX: Final = 1024

ByModel = dict[tuple[str, str], RouteHealth]


class Candidate(Struct, frozen=True, gc=False):
    """
    A route that a task may take.

    Attributes:
        place: Where the policy lists it, from 0; by default routing where chance put it.
        busy: Slots of its pool that are taken, as far as this orchestrator knows.
        free: Those that are not.
    """

    place: int
    route: Route
    entry: RouteEntry
    pool: PoolView
    known: RouteHealth
    busy: int
    free: int


class Row(NamedTuple):
    """A candidate without what changes from one decision to the next."""

    route: Route
    entry: RouteEntry
    pool: PoolView
    known: RouteHealth


class Shortlist(NamedTuple):
    """The candidates for all tasks of a kind, valid for one fleet view and one health. `listed` is their order's."""

    fleet: FleetView
    by_model: ByModel
    rows: list[Row]
    excluded: list[Exclusion]
    listed: bool


Shortlists = dict[tuple[str, tuple[Zone, ...]], Shortlist]
"""By capability and the zones that are open to the data."""


def gather(
    task: TaskView,
    rules: Rules,
    shortlists: Shortlists,
    fleet: FleetView,
    health: Health,
    *,
    busy: Mapping[str, int],
    rng: random.Random,
    models: frozenset[str] | None = None,
) -> tuple[list[Candidate], list[Exclusion]]:
    """
    What may serve the task, in the policy's order, and why the rest may not. Never a route that is not listed.

    `models` are those that may serve the capability, by `base_name`: None for any, none while it is held to no model.

    `shortlists` belongs to the rules' policy and is filled here. `busy` overrides what the fleet view says of pools.
    """
    by_model = health.routes.get(task.capability, NOTHING)
    open_to = open_zones(task)
    shortlist = shortlists.get((task.capability, open_to)) if open_to else None
    if shortlist is None or shortlist.fleet is not fleet or shortlist.by_model is not by_model:
        shortlist = _shortlisted(task, rules, fleet, by_model, models)
        if open_to:
            if len(shortlists) >= SHORTLISTS_MAX:
                shortlists.clear()
            shortlists[task.capability, open_to] = shortlist
    rows = shortlist.rows if shortlist.listed else _by_zone(shortlist.rows, rng)
    candidates: list[Candidate] = []
    for place, (route, entry, pool, known) in enumerate(rows):
        taken = busy.get(route.pool, pool.busy)
        candidates.append(Candidate(place, route, entry, pool, known, taken, max(0, pool.slots - taken)))
    return candidates, list(shortlist.excluded)


def expected_cost_usd(entry: RouteEntry, zone: Zone, known: RouteHealth) -> float | None:
    """What a task is expected to cost: the mean of late, else the policy's hint, else 0 at home; None is unknown."""
    if known.cost_usd is not None:
        return known.cost_usd
    if entry.cost_usd_hint is not None:
        return entry.cost_usd_hint
    return 0.0 if zone == "local" else None


@lru_cache(maxsize=ROUTES_CACHED_MAX)
def _unlisted_entry(pool: str) -> RouteEntry:
    """What the policy would say of a pool that it does not list: nothing."""
    return RouteEntry(pool=pool)


def _shortlisted(
    task: TaskView, rules: Rules, fleet: FleetView, by_model: ByModel, models: frozenset[str] | None
) -> Shortlist:
    rows: list[Row] = []
    found, excluded = _unlisted(task, fleet) if rules.routes is None else _listed(task, rules.routes, fleet)
    found = without_stand_ins(task, fleet, rules.routes, found, excluded)
    if models is not None:
        found = _of_one_model(task, found, excluded, models)
    for entry, pool, model in found:
        route = Route(zone=pool.zone, pool=pool.pool, model=model)
        row = Row(route, entry, pool, by_model.get((pool.pool, model), UNSEEN))
        out = ruled_out(rules, row)
        if out is None:
            rows.append(row)
        else:
            excluded.append(out)
    return Shortlist(fleet, by_model, rows, excluded, rules.routes is not None)


def _by_zone(rows: list[Row], rng: random.Random) -> list[Row]:
    """Where the policy lists no routes: the local zone first, the pools of a zone in random order."""
    return [
        *shuffled([row for row in rows if row.route.zone == "local"], rng),
        *shuffled([row for row in rows if row.route.zone != "local"], rng),
    ]


Found = tuple[list[Listed], list[Exclusion]]


def _unlisted(task: TaskView, fleet: FleetView) -> Found:
    found, excluded = pools_by_default(task, fleet)
    return [(_unlisted_entry(pool.pool), pool, model) for pool, model in found], excluded


def _listed(task: TaskView, routes: tuple[RouteEntry, ...], fleet: FleetView) -> Found:
    """Each entry that stands for a live route at this moment; one without a model may stand for another's route."""
    found: list[Listed] = []
    excluded: list[Exclusion] = []
    seen: set[tuple[str, str]] = set()
    for entry in routes:
        pool = fleet.pools.get(entry.pool)
        if pool is None:
            excluded.append(missing(task, entry.pool, entry.model or ""))
            continue
        model = _model(task, entry, pool)
        out = _unserved(task, entry, pool) if model is None else barred(task, pool, model)
        if out is not None:
            excluded.append(out)
        elif model is not None and (pool.pool, model) not in seen:
            seen.add((pool.pool, model))
            found.append((entry, pool, model))
    if task.wanted_pool is not None and not any(entry.pool == task.wanted_pool for entry in routes):
        reason = f"the policy lists no route {wish(task)} for {task.capability}"
        excluded.append(Exclusion(pool=task.wanted_pool, model=task.wanted_model or "", reason=reason))
    return found, excluded


def _of_one_model(
    task: TaskView, found: list[Listed], excluded: list[Exclusion], models: frozenset[str]
) -> list[Listed]:
    """
    What is left of live routes when these models alone may serve the capability; the rest goes to `excluded`.

    While it is held to none, all with a real model are left, to be chosen from; where there are only engines that stand
    in, one model of theirs.
    """
    if not models and found:
        real = [each for each in found if not each[1].stands_in]
        if real:
            return real
        models = frozenset({min(base_name(model) for _, _, model in found)})
    left: list[Listed] = []
    for entry, pool, model in found:
        fixed = entry.model is not None or task.wanted_model is not None
        chosen = model_within(pool, task.capability, model, models, fixed=fixed)
        if chosen is not None:
            left.append((entry, pool, chosen))
        else:
            excluded.append(other_model(pool, task.capability, model, models))
    if models and not left and not any(each.waits for each in excluded):
        excluded.append(absent(task.capability, models))
    return left


def _model(task: TaskView, entry: RouteEntry, pool: PoolView) -> str | None:
    """The model that an entry stands for at this moment; None when no live replica serves the task with it."""
    if entry.model is None:
        return model_for(task, pool)
    return named_model(task.capability, pool, entry.model)


def _unserved(task: TaskView, entry: RouteEntry, pool: PoolView) -> Exclusion:
    """A live pool without a model for the task."""
    model = entry.model or ""
    refused = barred(task, pool, model)
    if refused is not None and not refused.waits:
        return refused
    reason = f"no live replica serves {task.capability}" + (f" with {model}" if model else "")
    return Exclusion(pool=pool.pool, model=model, reason=reason, waits=True)


def ruled_out(rules: Rules, row: Row) -> Exclusion | None:
    """What the policy itself says against a route that is live and open to the task's data."""
    route = row.route
    for name, value in rules.pool_labels.items():
        if row.pool.labels.get(name) != value:
            reason = f"the policy asks for a pool with the label {name} = {value}"
            return Exclusion(pool=route.pool, model=route.model, reason=reason)
    if rules.cost_usd_max is not None:
        cost_usd = expected_cost_usd(row.entry, route.zone, row.known)
        if cost_usd is not None and cost_usd > rules.cost_usd_max:
            reason = f"expected to cost {cost_usd:.4g} USD, over {rules.cost_usd_max:.4g}"
            return Exclusion(pool=route.pool, model=route.model, reason=reason, figures=row.known.figures)
    return None
