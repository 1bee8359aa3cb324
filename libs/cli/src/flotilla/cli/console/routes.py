"""What the fleet knows of its routes, as rows of tables and lines."""

from collections.abc import Sequence
from typing import Final

import msgspec

from flotilla.cli.console.pools import Rows
from flotilla.cli.console.readable import milliseconds
from flotilla.contracts.api_routing import ExplainedRoute, Explanation, RouteReport

WELL: Final = "settled"
SHOWN_AS: Final = {"settled": "healthy", "left": "ejected"}
"""What people read for the words of the wire; others stay."""
CLOSED: Final = "closed"
OUT: Final = "-"


def route_rows(reports: Sequence[RouteReport]) -> Rows:
    """A row per route and capability that was used in the last half minute."""
    columns = ("route", "capability", "attempts", "in flight", "p50", "p95", "errors", "standing", "breaker", "why")
    rows = [
        (
            _route(report.pool, report.model),
            report.capability,
            f"{report.attempts:,}",
            f"{report.in_flight:,}",
            _time(report.p50_ms),
            _time(report.p95_ms),
            _share(report.error_rate),
            SHOWN_AS.get(report.standing, report.standing),
            report.breaker,
            report.why,
        )
        for report in reports
    ]
    return columns, rows


def explained_rows(found: Explanation) -> Rows:
    """A row per route: those in order, then those that are out."""
    columns = ("order", "zone", "route", "free", "p50", "p95", "errors", "standing", "reason")
    return columns, [_explained(route) for route in (*found.routes, *found.excluded)]


def explained_steps(found: Explanation) -> Rows:
    """A row per step of a pipeline, with the route that is tried first and those behind it; steps of steps follow them."""
    columns = ("step", "capability", "data", "zone", "first", "behind", "reason")
    return columns, _steps(found, "")


def gate_lines(found: Explanation, step: str = "") -> list[str]:
    """A line per gate at which a person approves the input first; those of steps by their names."""
    lines: list[str] = []
    for gate in found.approval or ():
        who = f"an approver of the group {gate.group}" if gate.group else "an approver"
        other = ", not who submitted it," if gate.four_eyes else ""
        when = ", where its condition holds" if gate.conditional else ""
        zones = f" before it enters {', '.join(gate.zones)}" if gate.zones else ""
        prefix = f"{step}: " if step else ""
        lines.append(
            f"{prefix}{who}{other} grants it first{zones}, within {gate.expires_s:,} s (by the {gate.by}{when})"
        )
    for each in found.steps or ():
        lines += gate_lines(each.explanation, f"{step}.{each.step}" if step else each.step)
    return lines


def goes_nowhere(found: Explanation) -> bool:
    """Whether a task like this, or a step of it, has no route now."""
    if isinstance(found.steps, msgspec.UnsetType):
        return not found.routes
    return any(goes_nowhere(each.explanation) for each in found.steps)


def _steps(found: Explanation, prefix: str) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for each in found.steps or ():
        step, inner = f"{prefix}{each.step}", each.explanation
        behind = ", ".join(_route(route.pool, route.model) for route in inner.routes[1:])
        if inner.routes:
            first = inner.routes[0]
            way = (first.zone or "", _route(first.pool, first.model), behind, first.reason)
        else:
            way = ("", "" if inner.steps else OUT, "", inner.reason or _why_out(inner))
        rows.append((step, inner.capability, inner.data_class, *way))
        rows.extend(_steps(inner, f"{step}."))
    return rows


def _why_out(found: Explanation) -> str:
    return "; ".join(dict.fromkeys(route.reason for route in found.excluded))


def change_line(report: RouteReport) -> str:
    """Where a route stands now, on one line."""
    breaker = "" if report.breaker == CLOSED else f"breaker {report.breaker.replace('_', '-')}"
    figures = (f"p95 {_time(report.p95_ms)}" if report.p95_ms is not None else "", _errors(report.error_rate))
    parts = (
        _route(report.pool, report.model),
        report.capability,
        SHOWN_AS.get(report.standing, report.standing),
        breaker,
        report.why,
        *figures,
    )
    return "  ".join(part for part in parts if part)


class RouteChanges:
    """Remembers where every route stood, to tell of those that moved."""

    def __init__(self) -> None:
        self._stood: dict[tuple[str, str, str], tuple[str, str]] = {}

    def since_last(self, reports: Sequence[RouteReport]) -> list[RouteReport]:
        """The routes that stand elsewhere than the last time; at first those that are not well."""
        moved: list[RouteReport] = []
        stood, self._stood = self._stood, {}
        for report in reports:
            key = (report.pool, report.model, report.capability)
            stands = (report.standing, report.breaker)
            self._stood[key] = stands
            if stands != stood.get(key, (WELL, CLOSED)):
                moved.append(report)
        return moved


def _explained(route: ExplainedRoute) -> tuple[str, ...]:
    figures = route.figures
    standing = str(figures.get("standing", WELL))
    return (
        str(route.in_order) if route.in_order else OUT,
        route.zone or "",
        _route(route.pool, route.model),
        str(route.free_slots) if route.in_order else "",
        _time(figures.get("p50_ms")),
        _time(figures.get("p95_ms")),
        _share(figures.get("error_rate")),
        "" if standing == WELL else SHOWN_AS.get(standing, standing),
        route.reason,
    )


def _route(pool: str, model: str) -> str:
    return f"{pool}/{model}" if model else pool


def _time(elapsed_ms: float | None) -> str:
    return "" if elapsed_ms is None else milliseconds(elapsed_ms)


def _share(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"


def _errors(share: float | None) -> str:
    return f"{share:.1%} errors" if share else ""
