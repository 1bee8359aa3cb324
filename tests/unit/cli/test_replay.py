"""`flotilla replay`: its figures are those that a few lines compute from the file."""

import csv
import json
import tracemalloc
from collections import Counter
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from rich.cells import cell_len

from flotilla.cli.command import main
from flotilla.cli.console import terminal
from flotilla.cli.replay import reading
from flotilla.cli.replay.errors import ReplayError
from flotilla.cli.replay.figures import nearest_rank
from flotilla.cli.replay.reading import read_recording
from flotilla.cli.replay.scatter import Point, mark_of, scatter
from flotilla.cli.replay.trials import BY_LABEL, consensus, play
from flotilla.testkit.recorded_traffic import complaints

PNG = b"\x89PNG\r\n\x1a\n"
SMALL = (
    # small: right and sure, right and unsure, wrong and unsure, wrong and sure; large is right but once.
    ("a", "a", 0.1, 0.95, "a", 2.0),
    ("a", "a", 0.2, 0.60, "b", 3.0),
    ("b", "a", 0.3, 0.40, "b", 4.0),
    ("b", "a", 0.4, 0.90, "b", 5.0),
)


@pytest.fixture(name="traffic")
def small_traffic(tmp_path: Path) -> Path:
    """Four rows as JSON lines, as they would be written from results."""
    lines = [
        {
            "input": "x" * 40,
            "label": label,
            "models": {
                "near/small": {"output": {"label": small, "confidence": sure}, "seconds": small_s, "cost_usd": 0.001},
                "large": {"output": large, "seconds": large_s, "cost_usd": 0.1},
            },
        }
        for label, small, small_s, sure, large, large_s in SMALL
    ]
    file = tmp_path / "traffic.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


def replayed(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, dict[str, Any]]:
    """What the command prints, by policy."""
    assert 0 == main(["replay", *arguments, "--json"])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return {line["policy"]: line for line in lines}


def test_figures_of_real_traffic_equal_those_computed_from_the_file():
    """
    Of every model alone, and of two that are asked at once with a third behind them, to the last digit.
    """
    file = complaints()
    if file is None:
        pytest.skip("shared/data/complaints/complaints.csv is not beside this checkout")
    with file.open(newline="", encoding="utf-8") as opened:
        rows = list(csv.DictReader(opened))
    one, other, behind = "gemini-2.0-flash-lite", "gemini-2.0-flash", "o1"
    recording = read_recording(file, label_name="product")
    both = [(row[f"{one}.label"], row[f"{other}.label"]) for row in rows]
    right = [
        (first if first == second else row[f"{behind}.label"]) == row["product"]
        for row, (first, second) in zip(rows, both, strict=True)
    ]
    apart = sum(first != second for first, second in both)
    seconds = sorted(
        max(float(row[f"{one}.seconds"]), float(row[f"{other}.seconds"]))
        + (0.0 if first == second else float(row[f"{behind}.seconds"]))
        for row, (first, second) in zip(rows, both, strict=True)
    )

    found = play(consensus(f"{one},{other},{behind}", recording, "classify"), recording, "classify")

    assert fmean(right) == found.accuracy
    assert {one: 600, other: 600, behind: apart} == found.calls
    assert (apart, 0) == (found.escalated, found.failed)
    assert (seconds[299], seconds[569]) == (found.p50_s, found.p95_s)
    assert 0.778 < fmean(right) < 0.779
    assert 0.136 < apart / 600 < 0.137


def test_a_single_model_is_as_accurate_and_as_fast_as_it_was(capsys: pytest.CaptureFixture[str]):
    """
    All fourteen; the costs are estimates, and say so.
    """
    file = complaints()
    if file is None:
        pytest.skip("shared/data/complaints/complaints.csv is not beside this checkout")
    with file.open(newline="", encoding="utf-8") as opened:
        rows = list(csv.DictReader(opened))

    found = replayed(capsys, str(file), "--label", "product")

    assert 14 == len(found)
    for model, figures in found.items():
        assert fmean(row[f"{model}.label"] == row["product"] for row in rows) == figures["accuracy"]
        assert sorted(float(row[f"{model}.seconds"]) for row in rows)[569] == figures["p95_s"]
        assert "estimated" == figures["costs"]
        assert figures["cost_usd"] > 0


@pytest.mark.parametrize(
    ("confidence", "expected"),
    [("0", (0, 2, 0.004)), ("0.5", (1, 3, 0.104)), ("0.7", (2, 2, 0.204)), ("1", (4, 3, 0.404))],
)
def test_a_cascade_escalates_what_is_not_sure_enough(
    traffic: Path, capsys: pytest.CaptureFixture[str], confidence: str, expected: tuple[int, int, float]
):
    """
    At each threshold, by hand: calls of the dear model, right answers, and the cost.
    """
    calls, correct, cost_usd = expected
    arguments = ("--cascade", "near/small,large", "--confidence-min", confidence, "--only")

    found = replayed(capsys, str(traffic), *arguments)[f"near/small > large at {confidence}"]

    assert calls == found["calls"].get("large", 0) == found["escalated"]
    assert (4, correct) == (found["calls"]["near/small"], found["correct"])
    assert cost_usd == pytest.approx(found["cost_usd"])


def test_a_policy_file_is_followed_and_its_thresholds_are_varied(
    traffic: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """
    Routes name recorded models by pool and model, or by the model; seconds of attempts one after the other add up.
    """
    policy = tmp_path / "mine.toml"
    policy.write_text(
        '[default]\nstrategy = "cascade"\nstrategy_options = { confidence_min = 0.7 }\n'
        'routes = [{ pool = "near", model = "small" }, { pool = "far", model = "large" }]\n'
    )

    found = replayed(capsys, str(traffic), "--policy", str(policy), "--only")
    varied = replayed(capsys, str(traffic), "--policy", str(policy), "--only", "--confidence-min", "0.5", "0.92")

    assert {"near/small": 4, "large": 2} == found["mine"]["calls"]
    assert 0.3 + 4.0 == found["mine"]["p95_s"]
    assert [1, 3] == [varied[f"mine at {each}"]["calls"]["large"] for each in ("0.5", "0.92")]


def test_a_consensus_of_a_policy_is_the_first_that_enough_agree_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """
    Two of three: it ends with the second that says the same; without agreement, and nobody behind, the first answer counts
    unless the policy says that it does not.
    """
    file = tmp_path / "three.csv"
    file.write_text(
        "input,label,a.output,a.seconds,b.output,b.seconds,c.output,c.seconds\n"
        "x,1,1,1,2,2,1,4\n"  # a and c agree when c is there
        "x,1,1,3,1,2,2,9\n"  # a and b agree before c is there
        "x,1,1,1,2,2,3,5\n"  # nobody agrees
    )
    options = "ask = 3, agree = 2"
    found: list[dict[str, Any]] = []
    for more in ("", ", answer_anyway = false"):
        policy = tmp_path / "panel.toml"
        policy.write_text(
            f'[default]\nstrategy = "consensus"\nstrategy_options = {{ {options}{more} }}\n'
            'routes = [{ pool = "p", model = "a" }, { pool = "p", model = "b" }, { pool = "p", model = "c" }]\n'
        )
        found.append(replayed(capsys, str(file), "--policy", str(policy), "--only")["panel"])

    assert [(3, 0, 1), (2, 1, 1)] == [(each["correct"], each["failed"], each["escalated"]) for each in found]
    assert [(4.0, 5.0)] * 2 == [(each["p50_s"], each["p95_s"]) for each in found]
    assert {"a": 3, "b": 3, "c": 3} == found[0]["calls"]


def test_an_outage_moves_tasks_to_the_route_behind(traffic: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """
    Of a failover; the model alone fails them.
    """
    policy = tmp_path / "both.toml"
    policy.write_text('[default]\nroutes = [{ pool = "near", model = "small" }, { pool = "x", model = "large" }]\n')

    found = replayed(capsys, str(traffic), "--policy", str(policy), "--outage", "near/small:0.5-1")

    assert (2, 0) == (found["both"]["calls"]["large"], found["both"]["failed"])
    assert (2, 2) == (found["near/small"]["failed"], found["near/small"]["correct"])


def test_a_breaker_spares_a_model_that_is_away(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """
    It is the router of the fleet that decides: after some failures it calls the model only to probe it.
    """
    file = tmp_path / "many.csv"
    file.write_text("input,label,one.output,two.output\n" + "text,a,a,a\n" * 200)
    policy = tmp_path / "both.toml"
    policy.write_text('[default]\nroutes = [{ pool = "p", model = "one" }, { pool = "p", model = "two" }]\n')

    found = replayed(capsys, str(file), "--policy", str(policy), "--only", "--outage", "one:0-1")["both"]

    assert (200, 0) == (found["correct"], found["failed"])
    assert 5 <= found["calls"]["one"] < 50


def test_a_split_shares_the_tasks_by_weight(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """
    The same seed draws the same.
    """
    file = tmp_path / "many.csv"
    file.write_text("input,one.output,two.output\n" + "text,a,a\n" * 1000)
    policy = tmp_path / "shares.toml"
    policy.write_text(
        '[default]\nstrategy = "split"\n'
        'routes = [{ pool = "p", model = "one", weight = 9 }, { pool = "p", model = "two" }]\n'
    )

    found, again = (replayed(capsys, str(file), "--policy", str(policy), "--only")["shares"] for _ in range(2))

    assert 70 < found["calls"]["two"] < 130
    assert found == again
    assert found["accuracy"] is None


def test_prices_are_recorded_given_or_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """
    A model that is on no list has no cost until one is given, and the sum with it none either.
    """
    file = tmp_path / "t.csv"
    file.write_text(
        "input,gpt-4o.output,gpt-4o.input_tokens,gpt-4o.output_tokens,mine.output,mine.input_tokens,mine.output_tokens\n"
        + "text,a,1000,10,a,1000,10\n" * 3
    )

    found = replayed(capsys, str(file))
    given = replayed(capsys, str(file), "--price", "mine=1/2")

    assert pytest.approx(3 * 0.0026) == found["gpt-4o"]["cost_usd"]
    assert (None, "unknown") == (found["mine"]["cost_usd"], found["mine"]["costs"])
    assert pytest.approx(3 * (1000 + 20) / 1e6) == given["mine"]["cost_usd"]
    assert "priced" == given["mine"]["costs"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no column <model>.output"),
        ("input,label\nx,a\n", "no column <model>.output"),
        ("input,m.output,m.output\nx,a,a\n", "twice"),
        ("input,m.output\nx\n", ":2: 1 cells, and the header has 2"),
        ("input,m.output\n", "no rows"),
        ("m.output\na\n", "there is no input"),
        ("input,m.output,m.seconds\nx,a,-1\n", ":2: m: "),
        ("input,m.output,m.seconds\nx,a,nan\n", ":2: m: "),
        ("input,m.output,m.seconds\nx,a,1e30\n", ":2: m: "),
        ("input,m.output,m.input_tokens\nx,a,1000000000000000\n", ":2: m: "),
        ("input,m.output,m.confidence\nx,a,2\n", ":2: m: "),
        ("input,m\x1b[2J.output\nx,a\n", "not printable"),
        (f"input,{'m' * 200}.output\nx,a\n", "too long"),
        ('input,m.output\nx,"a\n', "not CSV"),
        ('input,m.output\nx,"a"b\n', ":2: not CSV"),
        ("input," + ",".join(f"m{index}.output" for index in range(101)) + "\nx" + ",a" * 101 + "\n", "1 to 100"),
    ],
)
def test_a_recording_that_does_not_fit_is_refused_with_its_line(tmp_path: Path, text: str, says: str):
    """
    Nothing of an input stands in the message.
    """
    file = tmp_path / "bad.csv"
    file.write_text(text)

    with pytest.raises(ReplayError) as refused:
        read_recording(file)

    assert says in str(refused.value)


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_csv_may_be_written_as_spreadsheets_write_it(tmp_path: Path, delimiter: str, mark: str):
    """
    With another delimiter, which may then stand in a text as the comma does, lines within a text, and a byte order mark.
    """
    header = delimiter.join(("input", "label", '"m.output"', "m.seconds"))
    texts = ("a; b, c", 'said "no"', "two\r\nlines", "tab\tin it")
    rows = "".join(delimiter.join(('"' + text.replace('"', '""') + '"', "x", "y", "0.5")) + "\r\n" for text in texts)
    file = tmp_path / "t.csv"
    file.write_text(f"{mark}{header}\r\n{rows}", encoding="utf-8", newline="")

    found = read_recording(file)

    assert [len(text) for text in texts] == [row.input_bytes for row in found.rows]
    assert [("x", "y", 0.5)] * 4 == [
        (row.label, row.by_model["m"].answer, row.by_model["m"].seconds) for row in found.rows
    ]


def test_a_model_of_a_later_line_is_not_dropped_in_silence(tmp_path: Path):
    """
    The first line names every model; the message names the line.
    """
    file = tmp_path / "t.jsonl"
    lines = [{"input": "x", "models": {model: {"output": "a"}}} for model in ("m", "other")]
    file.write_text("\n".join(json.dumps(line) for line in lines))

    with pytest.raises(ReplayError, match=":2: a model that the first line does not name"):
        read_recording(file)


@pytest.mark.parametrize(
    "line", ["[1]", '{"input": "secret"}', '{"models": {"m": 7}, "input": "secret"}', "secret", "[" * 100_000]
)
def test_json_lines_that_do_not_fit_are_refused(tmp_path: Path, line: str):
    """
    Whatever their shape.
    """
    file = tmp_path / "bad.jsonl"
    file.write_text(line + "\n")

    with pytest.raises(ReplayError) as refused:
        read_recording(file)

    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--consensus", "near/small"),
        ("--consensus", "near/small,other"),
        ("--cascade", "large,large"),
        ("--outage", "large:0.5"),
        ("--outage", "other:0-1"),
        ("--price", "large=-1"),
        ("--price", "large=nan"),
        ("--plot", "picture.gif"),
        ("--only",),
        ("--capability", "classify", "--policy", "no-such.toml"),
    ],
)
def test_options_that_do_not_fit_end_with_the_code_of_usage(
    traffic: Path, arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
):
    """
    In one line that says what was expected.
    """
    assert 2 == main(["replay", str(traffic), *arguments])
    assert 1 == len(capsys.readouterr().err.splitlines())


def test_a_route_that_was_not_recorded_is_named(traffic: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """
    With those that were.
    """
    policy = tmp_path / "p.toml"
    policy.write_text('[default]\nroutes = [{ pool = "far", model = "huge" }]\n')

    assert 2 == main(["replay", str(traffic), "--policy", str(policy)])
    assert "far/huge was not recorded; recorded are near/small, large" in capsys.readouterr().err


def test_a_picture_is_written(traffic: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """
    As PNG.
    """
    picture = tmp_path / "accuracy.png"

    assert 0 == main(["replay", str(traffic), "--plot", str(picture)])
    assert picture.read_bytes().startswith(PNG)
    assert "no model was called" in capsys.readouterr().err


def test_the_complaints_are_plotted_under_many_policies(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    """
    Fourteen single models, a failover, a split, cascades at three thresholds and a consensus: as PNG and in a terminal. The
    recording has no confidences, so those of the cascades are told by label: the higher the threshold, the more o1 is asked.
    """
    file = complaints()
    if file is None:
        pytest.skip("shared/data/complaints/complaints.csv is not beside this checkout")
    routes = '[{ pool = "x", model = "gemini-2.0-flash" }, { pool = "x", model = "o1" }]'
    for strategy in ("failover", "split"):
        (tmp_path / f"{strategy}.toml").write_text(f'[default]\nstrategy = "{strategy}"\nroutes = {routes}\n')
    picture = tmp_path / "accuracy.png"
    arguments = [
        *("--label", "product", "--policy", str(tmp_path / "failover.toml"), "--policy", str(tmp_path / "split.toml")),
        *("--cascade", "gemini-2.0-flash-lite,o1", "--confidence-min", "0.8", "0.85", "0.95"),
        *("--consensus", "gemini-2.0-flash-lite,gemini-2.0-flash,o1", "--plot", str(picture)),
    ]

    found = replayed(capsys, str(file), *arguments)

    assert 20 == len(found)
    assert picture.read_bytes().startswith(PNG)
    alone = [found[model]["accuracy"] for model in ("gemini-2.0-flash", "o1")]
    assert found["failover"]["accuracy"] == alone[0]
    assert alone[0] <= found["split"]["accuracy"] <= alone[1]
    assert 0.2 < found["split"]["calls"]["o1"] / 600 < 0.8
    cascades = {name: figures for name, figures in found.items() if " at " in name}
    assert all(name.endswith(BY_LABEL) for name in cascades)
    assert [149, 258, 600] == [figures["calls"]["o1"] for figures in cascades.values()]
    assert alone[1] == [figures["accuracy"] for figures in cascades.values()][-1]
    monkeypatch.setattr(terminal, "out_is_terminal", lambda: True)
    assert 0 == main(["replay", str(file), *arguments])
    plot = [line.partition("┤")[2] for line in capsys.readouterr().out.splitlines() if "┤" in line]
    assert {mark_of(place) for place in range(20)} == {mark for line in plot for mark in line if mark.isalpha()}


def test_the_plot_of_a_terminal_has_every_point_within_its_width():
    """
    Also those that fall on one place, and one alone.
    """
    points = [
        Point(mark, *at)
        for mark, at in zip("ABCDF", [(0.1, 0.7), (9.0, 0.8), (0.1, 0.7), (3.0, 0.75), (9.0, 0.8)], strict=True)
    ]

    for shown in (points, points[:1], [*points, Point("E", 0.0, 0.9)]):
        lines = scatter(shown, width=80)
        marks = Counter(letter for line in lines[1:-2] for letter in line.partition("┤")[2] if letter.isalpha())
        assert {point.mark: 1 for point in shown} == marks
        assert max(cell_len(line) for line in lines) <= 80
    assert [] == scatter([], width=80)


def test_nearest_rank_is_a_value_that_was_there():
    """
    The least that so great a share does not exceed.
    """
    assert (1, 2, 4, 4) == tuple(nearest_rank([1, 2, 3, 4], share) for share in (0.25, 0.5, 0.95, 1.0))


def test_calibrate_finds_a_threshold_to_paste(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """
    Or says that there is none; with too few pairs nothing is said.
    """
    file = tmp_path / "pairs.csv"
    header = "input,small.output,small.confidence,large.output\n"
    sure, unsure = "x,a,0.9,a\n" * 300, "x,a,0.4,b\n" * 100
    command = ["experiment", "calibrate", str(file), "--cheap", "small", "--dear", "large"]

    file.write_text(header + sure + unsure)
    assert 0 == main(command)
    out, err = capsys.readouterr()
    assert "strategy_options = { confidence_min = 0.9 }\n" == out
    assert "large is asked for 25.0% of 400 tasks" in err
    assert 0 == main([*command, "--json"])
    assert 0.25 == json.loads(capsys.readouterr().out)["escalated"]

    file.write_text(header + unsure)
    assert 1 == main(command)
    file.write_text(header + "x,a,0.9,a\n" * 3)
    assert 2 == main(command)
    assert 2 == main([*command[:-1], "huge"])


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_a_large_recording_is_read_line_by_line(tmp_path: Path, suffix: str):
    """
    What is held of it is what models answered, however long the inputs are.
    """
    file = tmp_path / f"large.{suffix}"
    text = "x" * 1_000_000
    csv_row = f'"{text}\n{text}",a,a\n'
    json_row = json.dumps({"input": text, "label": "a", "models": {"m": {"output": "a"}}}) + "\n"
    with file.open("w") as opened:
        opened.write("input,label,m.output\n" if suffix == "csv" else "")
        for _ in range(48):
            opened.write(csv_row if suffix == "csv" else json_row)
    tracemalloc.start()
    try:
        found = read_recording(file)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert 48 == len(found.rows)
    assert peak < file.stat().st_size / 2, f"{peak / 1e6:.1f} MB"


@pytest.mark.parametrize(("suffix", "begins"), [("jsonl", '{"input": "'), ("csv", 'input,m.output\n"')])
def test_a_row_without_an_end_is_refused(tmp_path: Path, suffix: str, begins: str, monkeypatch: pytest.MonkeyPatch):
    """
    Before it is all in memory.
    """
    monkeypatch.setattr(reading, "ROW_CHARS_MAX", 100_000)
    file = tmp_path / f"endless.{suffix}"
    file.write_text(begins + "x\\n" * 100_000 + ("\n" * 100_000 if suffix == "csv" else ""))
    with pytest.raises(ReplayError, match="a row of more than 100,000 characters"):
        read_recording(file)
