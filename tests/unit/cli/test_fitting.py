"""What of a table fits on a terminal."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from flotilla.cli.console import terminal
from flotilla.cli.console.drawing import drawn
from flotilla.cli.console.fitting import COLUMN_MIN, FIRST_TO_GO, GAP, fit, shortened
from flotilla.cli.console.outcomes import COLUMNS
from flotilla.cli.console.pools import pool_rows, replica_rows
from flotilla.cli.console.routes import explained_rows, route_rows
from flotilla.contracts.api import PoolStatus
from flotilla.contracts.api_routing import ExplainedRoute, Explanation, RouteReport

POOL = "anthropic-production"
MODELS = ["llama3.2:latest", "qwen2.5-coder:32b-instruct-q4_K_M", "nomic-embed-text:latest", "smollm2"]
WHY = "p95 2,200 ms over 2,000 ms, for 12 s now"
POOLS = [
    PoolStatus(
        zone="cloud",
        pool=POOL,
        provider="anthropic",
        replicas=12,
        slots=96,
        busy=7,
        models=MODELS,
        capabilities=["chat"] * 9,
    ),
    PoolStatus(
        zone="local",
        pool="ollama",
        provider="ollama",
        replicas=1,
        slots=8,
        busy=0,
        models=MODELS[:1],
        capabilities=["chat"],
    ),
]
REPORTS = [
    RouteReport(
        pool=pool,
        model=MODELS[1],
        capability="extract-entities",
        attempts=12_345,
        outcomes={},
        in_flight=12,
        p50_ms=120.0,
        p95_ms=2200.0,
        error_rate=0.31,
        input_tokens=0,
        output_tokens=0,
        cost_usd=0.1,
        standing="returning",
        breaker="half_open",
        why=WHY,
    )
    for pool in (POOL, "ollama")
]
EXPLAINED = Explanation(
    capability="chat",
    data_class="internal",
    strategy="failover",
    policy_revision=1,
    routes=[ExplainedRoute(pool=POOL, model=MODELS[1], reason="first healthy route", in_order=1, zone="cloud")],
    excluded=[ExplainedRoute(pool="ollama", model=MODELS[1], reason="breaker open: 12 of 20 attempts failed in a row")],
)
TABLES = {
    "pools": pool_rows(POOLS),
    "routes": route_rows(REPORTS),
    "explained": explained_rows(EXPLAINED),
    "replicas": replica_rows([]),
}


def lines_of(columns: tuple[str, ...], rows: list[tuple[str, ...]], width: int, *, one_line: bool = False) -> list[str]:
    """A table as a terminal of this width shows it."""
    out = io.StringIO()
    terminal.console(file=out, width=width).print(drawn(columns, rows, width=width, one_line=one_line))
    return out.getvalue().splitlines()


@pytest.mark.parametrize("width", [60, 80, 100, 200])
@pytest.mark.parametrize("name", ["pools", "routes", "explained"])
def test_pool_and_zone_are_never_lost_and_nothing_is_wrapped_letter_by_letter(name: str, width: int) -> None:
    """
    On every terminal that is in use; a line is no wider, and words stay whole.
    """
    columns, rows = TABLES[name]
    lines = lines_of(columns, rows, width)
    text = "\n".join(lines)

    assert max(cell_len(line) for line in lines) <= width
    for pool in (POOL, "ollama"):
        assert pool in text
    if name == "pools":
        assert any(line.split()[:2] == ["cloud", POOL] for line in lines)
        assert len(lines) == 2 + len(rows)
    else:
        reasons = [WHY] if name == "routes" else [route.reason for route in (*EXPLAINED.routes, *EXPLAINED.excluded)]
        for word in " ".join(reasons).split():
            assert word in text


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_list_of_models_is_shortened_by_whole_entries(width: int) -> None:
    """
    With how many more there are.
    """
    line = next(line for line in lines_of(*TABLES["pools"], width) if POOL in line)

    assert "+" in line
    assert MODELS[0][:8] in line


def test_where_there_is_room_everything_is_shown_whole() -> None:
    """
    Columns that are empty throughout are not.
    """
    columns, rows = TABLES["pools"]
    lines = lines_of(columns, rows, 400)

    assert ", ".join(MODELS) in "\n".join(lines)
    assert "anthropic" in lines[2]
    assert "cost" not in lines_of(COLUMNS, [("a.txt", "ok", "yes", "local", "m", "1 ms", "", "")], 400)[0]


CELLS = st.text(st.characters(categories=("L", "N", "P", "S"), include_characters=" "), max_size=60)
NAMES = st.sampled_from([*FIRST_TO_GO, "zone", "pool", "route", "task", "file", "reason", "status", "key", "order"])


@given(data=st.data(), width=st.integers(20, 200))
def test_a_table_is_never_wider_than_its_terminal(data: st.DataObject, width: int) -> None:
    """
    Whatever stands in it: as wide as the terminal at most, and each cell as wide as its column.
    """
    columns = tuple(data.draw(st.lists(NAMES, min_size=1, max_size=10, unique=True)))
    row = st.tuples(*[CELLS] * len(columns))
    rows = data.draw(st.lists(row, min_size=1, max_size=4))

    shown = fit(columns, rows, width)

    fits = sum(column.width for column in shown) + GAP * (len(shown) - 1) <= width
    assert fits or all(column.width <= COLUMN_MIN for column in shown)
    kept = [name for name in columns if name not in FIRST_TO_GO and any(row[columns.index(name)] for row in rows)]
    assert set(kept) <= {column.name for column in shown}
    for column in shown:
        assert column.width > 0
        for each in rows:
            cell = shortened(each[column.place], column)
            assert cell_len(cell) <= column.width or cell == each[column.place]
    if fits:
        assert all(cell_len(line) <= width for line in lines_of(columns, rows, width, one_line=True))


@pytest.mark.parametrize("width", [60, 80])
@pytest.mark.parametrize(
    ("columns", "row", "whole"),
    [
        (
            ("id", "status", "step", "capability", "class", "expires", "run"),
            (
                "3f9a" * 8,
                "pending",
                "report",
                "synthesize",
                "internal",
                "2026-11-30 17:21",
                "c-79f480204c39f6c79d2da184",
            ),
            "id",
        ),
        (
            ("at", "status", "who", "capability", "id", "run", "comment"),
            (
                "2026-11-29 17:21",
                "denied",
                "ada",
                "synthesize",
                "3f9a" * 8,
                "c-79f480204c39",
                "page 2 names the patient",
            ),
            "id",
        ),
        (
            ("vault", "age", "entries", "until"),
            ("vu5ebtfydul3rxlt32wasaehca", "17 h", "20000", "2026-11-30 17:21"),
            "vault",
        ),
    ],
    ids=["approvals", "audit", "vault"],
)
def test_what_a_further_command_takes_stays_whole(
    columns: tuple[str, ...], row: tuple[str, ...], whole: str, width: int
) -> None:
    """
    `approvals show` takes an id, `restore` a vault: shortened, they are of no use.
    """
    shown = {column.name: shortened(row[column.place], column) for column in fit(columns, [row], width)}

    assert row[columns.index(whole)] == shown[whole]
