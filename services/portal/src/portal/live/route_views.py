"""Routes as browsers see them, out of what the orchestrators report. Pure."""

from collections.abc import Iterable, Mapping
from typing import Final

from flotilla.contracts.api_routing import RouteReport
from flotilla.contracts.policy import Policy
from flotilla.contracts.policy_rules import rules_for
from flotilla.contracts.stats import RouteKey
from flotilla.contracts.subjects import Zone
from portal.live.replicas import SeenReplica
from portal.live.snapshot import RouteStatus, RouteView

ROUTES_SHOWN_MAX: Final = 300
WINDOW_S: Final = 30.0
_STANDINGS: Final[Mapping[str, RouteStatus]] = {"settled": "healthy", "left": "ejected", "returning": "half_open"}
_WORDS: Final[Mapping[RouteStatus, str]] = {
    "healthy": "healthy",
    "ejected": "left by routing",
    "half_open": "returning: gets a part of its tasks",
    "open": "circuit breaker open",
    "unavailable": "no live replica serves it",
    "idle": "no task at the moment",
}


def route_views(
    reports: Iterable[RouteReport],
    seen: Iterable[SeenReplica],
    policy: Policy | None,
    zones: Mapping[str, Zone],
) -> list[RouteView]:
    """The routes that were used lately, in trouble first within a capability, then by their share."""
    live = {
        (one.card.pool, model.name, capability)
        for one in seen
        if one.gone_s is None
        for model in one.card.models
        for capability in model.capabilities
    }
    listed = list(reports)
    attempts: dict[str, int] = {}
    for report in listed:
        attempts[report.capability] = attempts.get(report.capability, 0) + report.attempts
    views = [
        _route(report, attempts[report.capability], policy, zones.get(report.pool), live=_is_live(report, live))
        for report in listed
    ]
    return sorted(views, key=_order)[:ROUTES_SHOWN_MAX]


def with_idle(
    views: list[RouteView], used: Iterable[RouteKey], policy: Policy | None, zones: Mapping[str, Zone]
) -> list[RouteView]:
    """The same, and those that were used in the last hour, so that it can be seen how they did."""
    known = {(view.pool, view.model, view.capability) for view in views}
    idle = [
        RouteView(
            capability=key.capability,
            pool=key.pool,
            model=key.model,
            zone=zones.get(key.pool),
            status="idle",
            words=_WORDS["idle"],
            p95_ms_guard=_guard_ms(policy, key.capability),
        )
        for key in used
        if tuple(key) not in known
    ]
    return sorted([*views, *idle], key=_order)[:ROUTES_SHOWN_MAX]


def _order(view: RouteView) -> tuple[str, float, str, str]:
    return (view.capability, -(view.share or 0.0), view.pool, view.model)


def _guard_ms(policy: Policy | None, capability: str) -> float | None:
    rules = None if policy is None else rules_for(policy, capability)
    return None if rules is None else rules.guards.p95_ms


def _is_live(report: RouteReport, live: set[tuple[str, str, str]]) -> bool:
    return (report.pool, report.model, report.capability) in live


def _route(report: RouteReport, attempts: int, policy: Policy | None, zone: Zone | None, *, live: bool) -> RouteView:
    status = _status(report, live=live)
    ok = report.outcomes.get("ok", 0)
    priced = report.attempts - report.unpriced
    return RouteView(
        capability=report.capability,
        pool=report.pool,
        model=report.model,
        zone=zone,
        status=status,
        words=report.why if report.why and status != "unavailable" else _WORDS[status],
        share=round(report.attempts / attempts, 4) if attempts else None,
        p50_ms=_rounded(report.p50_ms),
        p95_ms=_rounded(report.p95_ms),
        error_rate=report.error_rate,
        tokens_per_s=round((report.input_tokens + report.output_tokens) / WINDOW_S, 1),
        cost_usd_task=report.cost_usd / priced if ok and priced > 0 else None,
        in_flight=report.in_flight,
        p95_ms_guard=_guard_ms(policy, report.capability),
    )


def _status(report: RouteReport, *, live: bool) -> RouteStatus:
    if not live:
        return "unavailable"
    if report.breaker == "open":
        return "open"
    if report.breaker == "half_open":
        return "half_open"
    return _STANDINGS.get(report.standing, "healthy")


def _rounded(value_ms: float | None) -> float | None:
    return None if value_ms is None else round(value_ms, 1)
