"""
Outlier ejection: when a route gets no more tasks but probes, and how it comes back. One value per route and capability.

    healthy ──guard crossed, or breaker opened──▶ ejected ──well for return_after_s──▶ returning ──ramp_s──▶ healthy
                                                     ▲                                     │
                                                     └────────────guard crossed────────────┘

An ejected route must be well for `return_after_s` on the evidence of its health probes, so it is ejected, and returns, at
most once in that time. When it is ejected again soon after a return, the time doubles, up to eightfold.

Breakers (`breakers.py`) are a second machine on purpose. A breaker is about a backend: failures in a row of one model of
a pool, whatever the capability; it lets nothing through but one probe at a time, and opens within one failure. An
ejection is about a service level: latency and error rates of one capability, over many samples; an ejected route still
takes what has failed everywhere else, and returns by a growing share. An open breaker ejects the pool's routes.
"""

from typing import Final, Literal

from msgspec import Struct

from flotilla.contracts.policy_rules import Rules
from flotilla.contracts.stats import RouteStats
from flotilla.routing.judgement import Recent, crossed, wellness

Phase = Literal["healthy", "ejected", "returning"]

STRIKES_MAX: Final = 3
SHARE_MIN: Final = 0.1


class Standing(Struct, frozen=True, kw_only=True):
    """
    Where a route stands for one capability.

    Attributes:
        since_unix_ms: Of the last change of phase.
        why: The guard that was crossed, while it is ejected.
        well_since_unix_ms: Of an ejected route: the beginning of its unbroken health; None while it is ill.
        evidence_from_unix_ms: What happened before does not count: it led to the last change of phase.
        strikes: How often in a row it was ejected soon after its return.
    """

    phase: Phase = "healthy"
    since_unix_ms: int = 0
    why: str = ""
    well_since_unix_ms: int | None = None
    evidence_from_unix_ms: int = 0
    strikes: int = 0


HEALTHY: Final = Standing()


def next_standing(
    standing: Standing,
    stats: RouteStats,
    recent: Recent,
    rules: Rules,
    *,
    closed_by: str,
    now_unix_ms: int,
) -> Standing:
    """
    The next standing of a route. `closed_by` says why the route's breaker is not closed; empty when it is.

    `recent` is what `judgement.look` sees from its `evidence_from_unix_ms` on.
    """
    if standing.phase == "ejected":
        return _still_ejected(standing, stats, rules, closed=not closed_by, now_unix_ms=now_unix_ms)
    why = closed_by or crossed(recent, rules.guards)
    if why:
        soon = standing.since_unix_ms and now_unix_ms - standing.since_unix_ms < _soon_ms(rules)
        strikes = min(STRIKES_MAX, standing.strikes + 1) if soon else 0
        return Standing(phase="ejected", since_unix_ms=now_unix_ms, why=why, strikes=strikes)
    if standing.phase == "returning" and now_unix_ms - standing.since_unix_ms >= rules.ramp_s * 1000:
        return Standing(
            phase="healthy",
            since_unix_ms=standing.since_unix_ms,
            evidence_from_unix_ms=standing.evidence_from_unix_ms,
            strikes=standing.strikes,
        )
    return standing


def share(standing: Standing, rules: Rules, now_unix_ms: int) -> float:
    """The part of the tasks that a route gets in its place: all, none, or growing with the time since its return."""
    if standing.phase == "healthy":
        return 1.0
    if standing.phase == "ejected":
        return 0.0
    grown = (now_unix_ms - standing.since_unix_ms) / (rules.ramp_s * 1000)
    return min(1.0, SHARE_MIN + (1.0 - SHARE_MIN) * max(0.0, grown))


def _soon_ms(rules: Rules) -> float:
    """Until when after a return another ejection counts as the same trouble."""
    return (2 * rules.return_after_s + rules.ramp_s) * 1000


def _still_ejected(standing: Standing, stats: RouteStats, rules: Rules, *, closed: bool, now_unix_ms: int) -> Standing:
    well = wellness(
        stats,
        rules.guards,
        ejected_unix_ms=standing.since_unix_ms,
        before=standing.well_since_unix_ms,
        now_unix_ms=now_unix_ms,
    )
    wait_ms = rules.return_after_s * 1000 * 2**standing.strikes
    if (
        closed
        and well.since_unix_ms is not None
        and well.successes >= rules.probe.successes_min
        and now_unix_ms - max(well.since_unix_ms, standing.since_unix_ms) >= wait_ms
    ):
        return Standing(
            phase="returning",
            since_unix_ms=now_unix_ms,
            evidence_from_unix_ms=well.since_unix_ms,
            strikes=standing.strikes,
        )
    return Standing(
        phase="ejected",
        since_unix_ms=standing.since_unix_ms,
        why=standing.why,
        well_since_unix_ms=well.since_unix_ms,
        strikes=standing.strikes,
    )
