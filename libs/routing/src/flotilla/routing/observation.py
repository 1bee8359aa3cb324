"""
How the routes' health moves on: run a few times a second over the merged stats, so that decisions only need to look.

`observe` is a pure function of the last health, the merged stats and the time. Its state (standings and breakers) is part
of the value, so orchestrators that observe the same stats hold the same health to within an update.
"""

from collections.abc import Mapping
from typing import Final

from flotilla.contracts.histogram import mean_ms, quantile_ms
from flotilla.contracts.stats import EMPTY, IN_FLIGHT_BIN_MS, RouteKey, RouteStats, SubWindow, merge_by_model
from flotilla.routing import breakers
from flotilla.routing.breakers import CLOSED, Breaker
from flotilla.routing.compiled import CompiledPolicy
from flotilla.routing.ejections import Phase, Standing, next_standing
from flotilla.routing.health import Closure, Health, RouteHealth
from flotilla.routing.judgement import Recent, look
from flotilla.routing.types import Figures

UPDATE_INTERVAL_MS: Final = 500
"""How often `observe` should run: a route is ejected, and an end of trouble seen, at most so much later."""
TOLD_AS: Final[dict[Phase, str]] = {"healthy": "settled", "ejected": "left", "returning": "returning"}
"""The words of the wire (`flotilla.contracts.api_routing`)."""


def observe(
    last: Health,
    policy: CompiledPolicy,
    merged: Mapping[RouteKey, RouteStats],
    *,
    now_unix_ms: int,
    member: int = 0,
    members: int = 1,
) -> Health:
    """
    Move the health on by what the stats say now; run it every `UPDATE_INTERVAL_MS`, and after a change of policy.

    `merged` holds all writers' stats (`stats.merge_by_route`), this orchestrator's own live ones among them. A route
    that has dropped out of the stats keeps its standing, since silence proves nothing, unless it was healthy anyway.
    """
    by_model = merge_by_model(merged)
    stepped = _breakers(last, policy, by_model, now_unix_ms)
    routes: dict[str, dict[tuple[str, str], RouteHealth]] = {}
    for key in {**merged, **_kept(last)}:
        stats = merged.get(key, EMPTY)
        breaker = stepped.get(key[:2], CLOSED)
        known = _route(last.at(key), policy, key, stats, breaker, now_unix_ms=now_unix_ms)
        routes.setdefault(key.capability, {})[key[:2]] = known
    return Health(
        routes=routes,
        breakers=stepped,
        closures={pair: _closure(breaker) for pair, breaker in stepped.items()},
        retry_after={
            pair: stats.retry_after_until_unix_ms
            for pair, stats in by_model.items()
            if stats.retry_after_until_unix_ms > now_unix_ms
        },
        probed={key: at for key, at in last.probed.items() if key.capability in routes},
        member=member,
        members=members,
    )


def _kept(last: Health) -> dict[RouteKey, None]:
    """Routes whose state must outlive their stats."""
    return {
        RouteKey(pool, model, capability): None
        for capability, by_model in last.routes.items()
        for (pool, model), known in by_model.items()
        if known.standing.phase != "healthy"
    }


def _breakers(
    last: Health,
    policy: CompiledPolicy,
    by_model: Mapping[tuple[str, str], RouteStats],
    now_unix_ms: int,
) -> dict[tuple[str, str], Breaker]:
    """The breakers that are not closed."""
    stepped = {
        pair: breakers.stepped(
            last.breakers.get(pair, CLOSED),
            by_model.get(pair, EMPTY),
            policy.breaker,
            now_unix_ms,
        )
        for pair in {**by_model, **last.breakers}
    }
    return {pair: breaker for pair, breaker in stepped.items() if breaker.phase != "closed"}


def _closure(breaker: Breaker) -> Closure:
    if breaker.phase == "open":
        return Closure(reason="breaker open", until_unix_ms=breaker.until_unix_ms)
    return Closure(reason="breaker half-open: probes only", until_unix_ms=breaker.until_unix_ms, half_open=True)


def _route(
    last: RouteHealth,
    policy: CompiledPolicy,
    key: RouteKey,
    stats: RouteStats,
    breaker: Breaker,
    *,
    now_unix_ms: int,
) -> RouteHealth:
    rules = policy.rules_of(key.capability)
    recent = look(stats, rules.guards, since_unix_ms=last.standing.evidence_from_unix_ms, now_unix_ms=now_unix_ms)
    standing = next_standing(
        last.standing,
        stats,
        recent,
        rules,
        closed_by="" if breaker.phase == "closed" else "its breaker opened",
        now_unix_ms=now_unix_ms,
    )
    total = stats.total
    mean = mean_ms(recent.latency)
    cost_usd = total.mean_cost_usd if total.ok else last.cost_usd
    return RouteHealth(
        standing=standing,
        figures=_figures(stats, recent, standing, breaker, cost_usd=cost_usd, now_unix_ms=now_unix_ms),
        expected_ms=last.expected_ms if mean is None else mean,
        tokens=_tokens(total) or last.tokens,
        cost_usd=cost_usd,
        last_started_unix_ms=max(stats.last_started_unix_ms, last.last_started_unix_ms),
        recently_started=_started_since(stats, standing.well_since_unix_ms or standing.since_unix_ms),
    )


def _figures(
    stats: RouteStats,
    recent: Recent,
    standing: Standing,
    breaker: Breaker,
    *,
    cost_usd: float | None,
    now_unix_ms: int,
) -> Figures:
    return Figures(
        p50_ms=quantile_ms(recent.latency, 0.5),
        p95_ms=recent.p95_ms,
        error_rate=recent.window.error_rate,
        samples=recent.samples,
        in_flight=stats.in_flight_count,
        oldest_in_flight_ms=stats.oldest_in_flight_ms(now_unix_ms),
        cost_usd=cost_usd,
        standing=TOLD_AS[standing.phase],
        why=standing.why,
        breaker=breaker.phase,
    )


def _tokens(total: SubWindow) -> float:
    return (total.input_tokens + total.output_tokens) / total.ok if total.ok else 0.0


def _started_since(stats: RouteStats, since_unix_ms: int) -> int:
    first = since_unix_ms // IN_FLIGHT_BIN_MS
    return sum(count for start, count in stats.in_flight.items() if start >= first)
