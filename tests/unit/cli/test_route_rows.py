"""How the command shows routes: rows, and a line when one moves."""

from msgspec import UNSET

from flotilla.cli.console.routes import (
    RouteChanges,
    change_line,
    explained_rows,
    explained_steps,
    goes_nowhere,
    route_rows,
)
from flotilla.contracts.api_routing import ExplainedRoute, ExplainedStep, Explanation, RouteReport


def report(standing: str = "settled", breaker: str = "closed", why: str = "") -> RouteReport:
    """A route of which a little is known."""
    return RouteReport(
        pool="local",
        model="m",
        capability="classify",
        attempts=1200,
        outcomes={"ok": 1140, "timeout": 60},
        in_flight=3,
        p50_ms=48.2,
        p95_ms=2100.0,
        error_rate=0.05,
        input_tokens=0,
        output_tokens=0,
        cost_usd=0.0,
        standing=standing,
        breaker=breaker,
        why=why,
    )


def test_a_route_is_a_row_with_its_figures():
    """
    A cell for each column.
    """
    columns, rows = route_rows([report("left", "half_open", "p95 2100 ms over 500 ms")])

    assert [
        (
            "local/m",
            "classify",
            "1,200",
            "3",
            "48 ms",
            "2.1 s",
            "5.0%",
            "ejected",
            "half_open",
            "p95 2100 ms over 500 ms",
        )
    ] == rows
    assert len(columns) == len(rows[0])


def test_a_move_is_told_once():
    """
    First those that are not well; then whatever stands elsewhere than before, back where it was included.
    """
    moves = RouteChanges()
    left = report("left", why="stalled")

    assert [] == moves.since_last([report()])
    assert [left] == moves.since_last([left])
    assert [] == moves.since_last([left])
    assert [report()] == moves.since_last([report()])
    assert [left] == RouteChanges().since_last([left])


def test_a_move_is_a_line():
    """
    Where it stands, why, and its figures.
    """
    assert "local/m  classify  ejected  breaker half-open  stalled  p95 2.1 s  5.0% errors" == change_line(
        report("left", "half_open", "stalled")
    )


def test_an_explanation_lists_the_routes_in_order_and_then_those_that_are_out():
    """
    A route that is out has no place.
    """
    found = Explanation(
        capability="classify",
        data_class="restricted",
        strategy="failover",
        policy_revision=3,
        routes=[ExplainedRoute(pool="local", model="m", zone="local", reason="first healthy route", in_order=1)],
        excluded=[ExplainedRoute(pool="cloud", model="", reason="restricted data never enters the cloud zone")],
    )

    _, rows = explained_rows(found)

    assert ("1", "local", "local/m", "0") == rows[0][:4]
    assert ("-", "", "cloud", "") == rows[1][:4]
    assert "restricted data never enters the cloud zone" == rows[1][-1]


def explained(capability: str, *routes: ExplainedRoute, steps: list[ExplainedStep] | None = None) -> Explanation:
    """Where a task would go."""
    out = ExplainedRoute(pool="claude", model="m", reason="restricted data stays in the local zone")
    return Explanation(
        capability=capability,
        data_class="restricted",
        strategy="failover",
        policy_revision=1,
        routes=[*routes],
        excluded=[] if steps else [out],
        steps=steps or UNSET,
    )


def test_the_steps_of_a_pipeline_are_rows_and_those_of_a_step_follow_it():
    """
    With the first route, those behind it, or why there is none; one step without a route is enough to fail.
    """
    home = ExplainedRoute(pool="ollama", model="m", zone="local", reason="first in the list", in_order=1)
    spare = ExplainedRoute(pool="vllm", model="n", zone="local", reason="behind", in_order=2)
    served = ExplainedStep(step="sort", explanation=explained("classify", home, spare))
    stuck = ExplainedStep(step="write", explanation=explained("synthesize"))

    _, rows = explained_steps(
        explained("outer", steps=[served, ExplainedStep(step="in", explanation=explained("inner", steps=[stuck]))])
    )

    assert [
        ("sort", "classify", "restricted", "local", "ollama/m", "vllm/n", "first in the list"),
        ("in", "inner", "restricted", "", "", "", ""),
        ("in.write", "synthesize", "restricted", "", "-", "", "restricted data stays in the local zone"),
    ] == rows
    assert not goes_nowhere(explained("outer", steps=[served]))
    assert goes_nowhere(explained("outer", steps=[served, stuck]))
