"""What tasks have cost and how experiments stand, as who asks may know it."""

import asyncio
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from flotilla.client.fleet import Fleet
from flotilla.contracts.api_spend import PLAIN_GROUPS
from flotilla.contracts.experiments import ArmTotals, experiment_of
from flotilla.contracts.policy_rules import rules_for
from portal.access.fleets import Fleets
from portal.live.asking import POLICY_KEY
from portal.live.view import FleetView
from portal.web import parameters
from portal.web.errors import as_json, bad_request
from portal.web.who import Doors

LINES_SHOWN_MAX: Final = 100
EXPERIMENTS_MAX: Final = 32
AT_ONCE_MAX: Final = 8
GROUPS: Final = (*PLAIN_GROUPS, "capability")


class EconomyAnswers:
    """Answers `/api/spend` and `/api/experiments`, with the credentials of who asks."""

    def __init__(self, doors: Doors, view: FleetView, fleets: Fleets) -> None:
        self._doors = doors
        self._view = view
        self._fleets = fleets

    async def spend(self, request: Request) -> Response:
        """What the tasks of one's scope have cost, by what is asked for, and how the budgets stand."""
        session = self._doors.person(request)
        by = parameters.text(request, "by") or "pool"
        if by not in GROUPS:
            raise bad_request(f"by: expected one of {', '.join(GROUPS)}")
        async with self._fleets.of(session.person) as fleet:
            found = await fleet.spend(by=(by,))
        return as_json(
            {
                "by": by,
                "lines": [
                    {"key": line.key[0] if line.key else "", "usd": line.usd_micros / 1e6, "entries": line.entries}
                    for line in found.lines[:LINES_SHOWN_MAX]
                ],
                "more": max(0, len(found.lines) - LINES_SHOWN_MAX),
                "usd": found.usd_micros / 1e6,
                "entries": found.entries,
                "unpriced": found.unpriced,
                "complete": found.complete,
                "budgets": [
                    {
                        "name": budget.name,
                        "period": budget.period,
                        "usd": budget.usd_micros / 1e6,
                        "used_usd": None if budget.used_usd_micros is None else budget.used_usd_micros / 1e6,
                        "mode": budget.mode,
                    }
                    for budget in found.budgets
                ],
            }
        )

    async def experiments(self, request: Request) -> Response:
        """The arms of every split in force whose shares stay; of more than EXPERIMENTS_MAX the first."""
        session = self._doors.person(request)
        names = self._split()
        room = asyncio.Semaphore(AT_ONCE_MAX)

        async def report(fleet: Fleet, capability: str) -> dict[str, object]:
            async with room:
                found = await fleet.experiment(capability)
            return {
                "capability": capability,
                "experiment": found.experiment,
                "began_unix_ms": found.began_unix_ms,
                "arms": [_arm(arm) for arm in found.arms],
            }

        shown = names[:EXPERIMENTS_MAX]
        if not shown:
            return as_json({"experiments": [], "more": 0})
        async with self._fleets.of(session.person) as fleet:
            reports = await asyncio.gather(*(report(fleet, name) for name in shown))
        return as_json({"experiments": reports, "more": len(names) - len(shown)})

    def _split(self) -> list[str]:
        """The capabilities that the policy in force splits, of those that it names and those that a replica serves."""
        policy = self._view.policy.values.get(POLICY_KEY)
        if policy is None:
            return []
        served = {name for seen in self._view.replicas.all() for name in seen.card.capabilities}
        rules = {name: rules_for(policy, name) for name in {*policy.capabilities, *served}}
        return sorted(name for name, found in rules.items() if found is not None and experiment_of(name, found))


def _arm(arm: ArmTotals) -> dict[str, object]:
    tasks = arm.ok + arm.failed
    return {
        "pool": arm.pool,
        "model": arm.model,
        "tasks": tasks,
        "ok_share": arm.ok / tasks if tasks else None,
        "latency_ms": arm.latency_ms.mean,
        "cost_usd": arm.cost_usd.mean,
        "score": arm.score.mean,
        "scored": arm.score.count,
    }
