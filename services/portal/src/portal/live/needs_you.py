"""What a person should look at, worst first. Pure."""

from collections.abc import Sequence
from typing import Final

from portal.live.snapshot import BacklogView, NeedsYou, PoolView, RouteView

NEEDS_MAX: Final = 20
_RANK: Final = {"bad": 0, "warn": 1, "info": 2}


def needs_you(
    *,
    connected: bool,
    orchestrators: int | None,
    pools: Sequence[PoolView],
    routes: Sequence[RouteView],
    backlog: Sequence[BacklogView],
    dead: int,
) -> list[NeedsYou]:
    """At most NEEDS_MAX things; empty when all is well. `orchestrators` is None until they were looked for."""
    if not connected:
        return [NeedsYou(severity="bad", text="The connection to NATS is lost; what is shown is old", href="#/")]
    found: list[NeedsYou] = []
    if orchestrators == 0:
        found.append(NeedsYou(severity="bad", text="No orchestrator answers: nothing is served", href="#/"))
    live = [pool for pool in pools if pool.status not in ("gone", "silent")]
    if not live:
        found.append(NeedsYou(severity="bad", text="No worker is there: tasks wait until one is", href="#/"))
    found += [
        NeedsYou(severity="bad", text=f"Pool {pool.name}: {pool.words}", href="#/")
        for pool in pools
        if live and pool.status in ("gone", "silent")
    ]
    found += [
        NeedsYou(
            severity="bad" if route.status == "open" else "warn",
            text=f"{route.capability} on {route.pool}/{route.model}: {route.words}",
            href="#/routes",
        )
        for route in routes
        if route.status in ("open", "ejected")
    ]
    # Of pools alone: what no pool ever served may be a pipeline, which orchestrators run.
    served = {name for pool in live for name in pool.capabilities}
    served_before = {name for pool in pools for name in pool.capabilities} - served
    found += [
        NeedsYou(
            severity="warn", text=f"{entry.pending} {entry.capability} wait, and no pool serves it now", href="#/tasks"
        )
        for entry in backlog
        if entry.pending and entry.capability in served_before
    ]
    if dead:
        found.append(NeedsYou(severity="info", text=f"{dead} dead letter{'' if dead == 1 else 's'}", href="#/dead"))
    found.sort(key=lambda need: _RANK[need.severity])
    return found[:NEEDS_MAX]
