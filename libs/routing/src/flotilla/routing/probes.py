"""
Health probes of an ejected or half-open route: enough tasks to see that it has recovered, too few to matter if not.

Whether a task is a probe follows from the health and the time: no attempt on the route by any orchestrator for an
interval, not too many unfinished, and this orchestrator's turn. Turns go round by the clock; a member that has no
tasks misses its turn, so after three silent intervals anyone may probe.
"""

import random
import zlib
from typing import Final

import msgspec

from flotilla.contracts.policy_rules import Probe
from flotilla.contracts.stats import RouteKey
from flotilla.routing.health import Health, RouteHealth
from flotilla.routing.types import Decision

SILENT_INTERVALS: Final = 3
STUCK_INTERVALS: Final = 3


def is_due(
    health: Health,
    known: RouteHealth,
    key: RouteKey,
    probe: Probe,
    *,
    alone: bool,
    now_unix_ms: int,
    rng: random.Random,
) -> bool:
    """
    Whether the task at hand should try a route that gets no tasks otherwise.

    `alone` says that the task has no healthy route: then no share of the tasks needs to be spared.
    """
    interval_ms = probe.interval_s * 1000
    silent_ms = now_unix_ms - max(known.last_started_unix_ms, health.probed.get(key, 0))
    if silent_ms < interval_ms:
        return False
    if known.recently_started >= probe.in_flight_max and silent_ms < STUCK_INTERVALS * interval_ms:
        return False
    if silent_ms < SILENT_INTERVALS * interval_ms and not _is_my_turn(health, key, interval_ms, now_unix_ms):
        return False
    return alone or rng.random() < probe.share_max


def noted(health: Health, decision: Decision, capability: str, now_unix_ms: int) -> Health:
    """The health after a decision: it remembers the probe, if the decision has one, so that the next waits its time."""
    if not decision.routes or not decision.routes[0].probe:
        return health
    route = decision.routes[0].route
    key = RouteKey(route.pool, route.model, capability)
    return msgspec.structs.replace(health, probed={**health.probed, key: now_unix_ms})


def _is_my_turn(health: Health, key: RouteKey, interval_ms: float, now_unix_ms: int) -> bool:
    if health.members <= 1:
        return True
    turn = int(now_unix_ms // interval_ms) + zlib.crc32("/".join(key).encode())
    return turn % health.members == health.member
