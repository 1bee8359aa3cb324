"""
Leaving a route, and coming back to it: one explicit value per route and capability, moved on by a pure function.

    settled ──guard crossed, or breaker opened──▶ left ──well for return_after_s──▶ returning ──ramp_s──▶ settled
                                                   ▲                                    │
                                                   └───────────guard crossed────────────┘

A route that was left must be well for `return_after_s` on the evidence of its probes, so it moves at most once in each
direction in that time. When it has to be left again soon after a return, the time doubles, up to eightfold.
"""

from typing import Final, Literal

from msgspec import Struct

from flotilla.contracts.policy import Rules
from flotilla.contracts.stats import RouteStats
from flotilla.routing.judgement import Recent, crossed, wellness

Phase = Literal["settled", "left", "returning"]

STRIKES_MAX: Final = 3
SHARE_MIN: Final = 0.1


class Move(Struct, frozen=True, kw_only=True):
    """
    Where a route stands for one capability.

    Attributes:
        since_unix_ms: Of the last change of phase.
        why: The guard that was crossed, while it is left.
        well_since_unix_ms: Of a left route: the beginning of its unbroken health; None while it is ill.
        evidence_from_unix_ms: What happened before says nothing any more: it led to the last move.
        strikes: How often in a row it had to be left soon after its return.
    """

    phase: Phase = "settled"
    since_unix_ms: int = 0
    why: str = ""
    well_since_unix_ms: int | None = None
    evidence_from_unix_ms: int = 0
    strikes: int = 0


SETTLED: Final = Move()


def moved(
    move: Move,
    stats: RouteStats,
    recent: Recent,
    rules: Rules,
    *,
    closed_by: str,
    now_unix_ms: int,
) -> Move:
    """
    The next value of a move. `closed_by` says why the route's breaker is not closed; empty when it is.

    `recent` is what `judgement.look` sees from the move's `evidence_from_unix_ms` on.
    """
    if move.phase == "left":
        return _left(move, stats, rules, closed=not closed_by, now_unix_ms=now_unix_ms)
    why = closed_by or crossed(recent, rules.guards)
    if why:
        soon = move.since_unix_ms and now_unix_ms - move.since_unix_ms < _soon_ms(rules)
        strikes = min(STRIKES_MAX, move.strikes + 1) if soon else 0
        return Move(phase="left", since_unix_ms=now_unix_ms, why=why, strikes=strikes)
    if move.phase == "returning" and now_unix_ms - move.since_unix_ms >= rules.ramp_s * 1000:
        return Move(
            phase="settled",
            since_unix_ms=move.since_unix_ms,
            evidence_from_unix_ms=move.evidence_from_unix_ms,
            strikes=move.strikes,
        )
    return move


def share(move: Move, rules: Rules, now_unix_ms: int) -> float:
    """The part of the tasks that a route gets in its place: all, none, or growing with the time since its return."""
    if move.phase == "settled":
        return 1.0
    if move.phase == "left":
        return 0.0
    grown = (now_unix_ms - move.since_unix_ms) / (rules.ramp_s * 1000)
    return min(1.0, SHARE_MIN + (1.0 - SHARE_MIN) * max(0.0, grown))


def _soon_ms(rules: Rules) -> float:
    """Until when after a return another leave counts as the same trouble."""
    return (2 * rules.return_after_s + rules.ramp_s) * 1000


def _left(move: Move, stats: RouteStats, rules: Rules, *, closed: bool, now_unix_ms: int) -> Move:
    well = wellness(
        stats,
        rules.guards,
        left_unix_ms=move.since_unix_ms,
        before=move.well_since_unix_ms,
        now_unix_ms=now_unix_ms,
    )
    wait_ms = rules.return_after_s * 1000 * 2**move.strikes
    if (
        closed
        and well.since_unix_ms is not None
        and well.successes >= rules.probe.successes_min
        and now_unix_ms - max(well.since_unix_ms, move.since_unix_ms) >= wait_ms
    ):
        return Move(
            phase="returning",
            since_unix_ms=now_unix_ms,
            evidence_from_unix_ms=well.since_unix_ms,
            strikes=move.strikes,
        )
    return Move(
        phase="left",
        since_unix_ms=move.since_unix_ms,
        why=move.why,
        well_since_unix_ms=well.since_unix_ms,
        strikes=move.strikes,
    )
