"""
Real traffic through a real fleet: 600 complaints, with the answers and latencies of real models, under several policies.

Run it by itself: `python tests/bench/bench_routing_traffic.py [--file CSV] [--scale 0.02] [--rows 600]`. Stand-ins speak
Ollama's, Anthropic's and OpenAI's protocol; outages, 429s and torn answers come on a schedule, and workers and an
orchestrator are killed on one too. It fails when an answer is not the one that was recorded, or a policy's accuracy or its
share of calls of the dear model is not the one that is computed from the file, to the last digit. Then single models,
failover, split, cascades and the consensus are plotted by accuracy and cost (`--plot PNG` too), as `flotilla replay` has
them. Skips where the file is absent.
"""

import argparse
import asyncio
import csv
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from flotilla.cli.replay.figures import nearest_rank
from flotilla.cli.replay.pictures import TASKS_PER_COST, draw
from flotilla.cli.replay.prices import priced
from flotilla.cli.replay.reading import read_recording
from flotilla.cli.replay.recording import Recording, Row
from flotilla.cli.replay.scatter import Point, mark_of, scatter
from flotilla.cli.replay.trials import Trial, cascades, consensus, play, single_models
from flotilla.contracts.policy import CapabilityPolicy, Policy, RouteEntry
from flotilla.testkit.recorded_provider import End, PlayedFleet, Served, Trouble, recorded_fleet
from flotilla.testkit.recorded_traffic import complaints

CHEAP, OTHER, DEAR = "gemini-2.0-flash-lite", "gemini-2.0-flash", "o1"
SERVED = (Served("cheap", "ollama", CHEAP), Served("other", "anthropic", OTHER), Served("dear", "openai", DEAR))
THRESHOLDS = (0.8, 0.85, 0.9, 0.95)
"""Of the cascades in the plot. The file has no confidences: they are told by label (`cli/replay/ratings.py`)."""
SCALE = 0.02


class Played(NamedTuple):
    """
    A policy, what happens on the way, and what is computed from the file; None where that depends on the mix.

    Attributes:
        accuracy: The share of right answers.
        dear_rows: Of how many rows the dear model gives an answer.
        kills: Two orchestrators, two workers of the cheap and of the other model; one of each is killed on the way.
    """

    name: str
    strategy: str
    pools: tuple[str, ...]
    troubles: tuple[Trouble, ...] = ()
    accuracy: float | None = None
    dear_rows: int | None = None
    kills: bool = False


def said(row: Row, model: str) -> str | None:
    """What a model answered."""
    return row.by_model[model].answer


def accuracy_of(recording: Recording, answer: Callable[[Row], str | None]) -> float:
    """The share of rows of which an answer is right, computed from the file alone."""
    return sum(answer(row) == row.label for row in recording.rows) / len(recording.rows)


def plays(recording: Recording) -> list[Played]:
    """What is played."""
    rows = len(recording.rows)
    alone = {model: accuracy_of(recording, lambda row, model=model: said(row, model)) for model in (CHEAP, DEAR)}
    both = accuracy_of(recording, lambda row: said(row, CHEAP if said(row, CHEAP) == said(row, OTHER) else DEAR))
    differ = sum(said(row, CHEAP) != said(row, OTHER) for row in recording.rows)
    panel = Played("consensus, o1 behind", "consensus", ("cheap", "other", "dear"), accuracy=both, dear_rows=differ)
    troubles = (
        Trouble(CHEAP, "away", rows // 4, rows // 2),
        Trouble(CHEAP, "rate_limited", 3 * rows // 4, 3 * rows // 4 + 1, times=1),
        Trouble(OTHER, "cut", rows // 4, rows, every=20, times=1),
    )
    return [
        Played(f"{CHEAP} alone", "failover", ("cheap",), accuracy=alone[CHEAP]),
        Played(f"{DEAR} alone", "failover", ("dear",), accuracy=alone[DEAR]),
        panel,
        panel._replace(name=f"{panel.name}, kills", kills=True),
        Played(f"{CHEAP} alone, kills", "failover", ("cheap",), accuracy=alone[CHEAP], kills=True),
        Played("failover with troubles", "failover", ("cheap", "other", "dear"), troubles),
    ]


def said_otherwise(ends: Sequence[End], recording: Recording) -> int:
    """Answers that are not what the model that gave them had said of that row."""
    return sum(
        end.answer is not None and end.answer.output["label"] != row.by_model[end.answer.result.model].answer
        for end, row in zip(ends, recording.rows, strict=True)
    )


def report(played: Played, ends: Sequence[End], recording: Recording, calls: Counter[str]) -> bool:
    """Print a policy's line; whether it is as it should be."""
    rows = len(ends)
    pairs = list(zip(ends, recording.rows, strict=True))
    correct = sum(end.answer is not None and end.answer.output["label"] == row.label for end, row in pairs)
    costs = [
        row.by_model[attempt.model].cost_usd or 0.0
        for end, row in pairs
        if end.answer is not None
        for attempt in end.answer.attempts
        if attempt.outcome == "ok"
    ]
    seconds = sorted(end.seconds for end in ends)
    failed = sum(end.answer is None for end in ends)
    lost = sum(any(each.outcome != "ok" for each in end.answer.attempts) for end in ends if end.answer is not None)
    other = said_otherwise(ends, recording)
    accuracy = correct / rows
    # Where a policy has troubles on the way, that of the mix of models that answered.
    mix = sum(end.answer is not None and said(row, end.answer.result.model) == row.label for end, row in pairs) / rows
    expected = mix if played.accuracy is None else played.accuracy
    dear_rows = sum(
        any(each.model == DEAR and each.outcome == "ok" for each in end.answer.attempts)
        for end in ends
        if end.answer is not None
    )
    shown = ", ".join(f"{model} {calls[model]}" for model in (CHEAP, OTHER, DEAR) if calls[model])
    sys.stdout.write(
        f"{played.name:28} {accuracy:.4f} {expected:9.4f}  ~${sum(costs):<7.4f} {nearest_rank(seconds, 0.5) * 1000:5.0f} ms"
        f" {nearest_rank(seconds, 0.95) * 1000:5.0f} ms  {failed} failed, {other} mixed up, {lost} with failed attempts\n"
        f"{'':28} calls: {shown}; {DEAR} answered {dear_rows / rows:.2%} of the rows\n"
    )
    return not failed and not other and expected == accuracy and played.dear_rows in (None, dear_rows)


def killing(played: Played, fleet: PlayedFleet, rows: int) -> Callable[[int], None] | None:
    """What kills a worker of each model of which there are two, and an orchestrator, as their rows are asked."""
    if not played.kills:
        return None
    workers = [each for each in fleet.fleet.workers if each.name.endswith("-w0") and not each.name.startswith("dear")]
    ends_of = {(place + 1) * rows // 5: each for place, each in enumerate([*workers, fleet.fleet.orchestrators[0]])}

    def kill(row: int) -> None:
        if row in ends_of:
            ends_of[row].kill()

    return kill


async def run(recording: Recording, texts: Sequence[str], labels: Sequence[str], scale: float) -> bool:
    """Play every policy; whether all are as they should be."""
    well = True
    sys.stdout.write(f"{'policy':28} accuracy of file  cost     p50      p95 (scaled by {scale:g})\n")
    for played in plays(recording):
        routes = ", ".join(f'{{ pool = "{pool}" }}' for pool in played.pools)
        policy = f'[capabilities.classify]\nstrategy = "{played.strategy}"\nroutes = [{routes}]\n'
        served = [
            each._replace(replicas=2 if played.kills and each.model != DEAR else 1)
            for each in SERVED
            if each.pool in played.pools
        ]
        with tempfile.TemporaryDirectory() as directory:
            async with recorded_fleet(
                Path(directory),
                recording,
                served,
                policy=policy,
                scale=scale,
                troubles=played.troubles,
                orchestrators=2 if played.kills else 1,
            ) as fleet:
                ends = await fleet.ask_all(
                    texts, labels, durable=played.kills, while_asking=killing(played, fleet, len(texts))
                )
                calls = Counter({model: each.calls.total() for model, each in fleet.answers.items()})
        well = report(played, ends, recording, calls) and well
    return well


def plot(recording: Recording, picture: Path | None) -> None:
    """Accuracy against cost of many policies, in simulated time."""
    trials = single_models(recording, "classify")
    for strategy in ("failover", "split"):
        routes = [RouteEntry(pool="recorded", model=model) for model in (OTHER, DEAR)]
        entry = CapabilityPolicy(strategy=strategy, routes=routes)
        trials.append(Trial(name=f"{strategy} {OTHER}, {DEAR}", policy=Policy(capabilities={"classify": entry})))
    trials += cascades(f"{CHEAP},{DEAR}", recording, "classify", THRESHOLDS)
    trials.append(consensus(f"{CHEAP},{OTHER},{DEAR}", recording, "classify"))
    figures = [play(trial, recording, "classify") for trial in trials]
    points: list[Point] = []
    for place, each in enumerate(figures):
        cost_usd = (each.cost_usd or 0.0) / each.tasks * TASKS_PER_COST
        points.append(Point(mark_of(place), cost_usd, each.accuracy or 0.0))
        sys.stdout.write(f"{mark_of(place)} {each.policy:58} {each.accuracy or 0.0:.4f} ~${cost_usd:.4f}\n")
    sys.stdout.write("".join(f"{line}\n" for line in scatter(points, width=100)))
    if picture is not None:
        draw(picture, figures)


def main() -> int:
    """Print the figures; 1 when one is not as it should be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--file", type=Path, default=complaints())
    parser.add_argument("--scale", type=float, default=SCALE)
    parser.add_argument("--rows", type=int, default=600)
    parser.add_argument("--plot", type=Path)
    given = parser.parse_args()
    if given.file is None:
        sys.stdout.write(
            "recorded traffic: skipped, shared/data/complaints/complaints.csv is not beside this checkout\n"
        )
        return 0
    found = priced(read_recording(given.file, label_name="product"), {})
    recording = Recording(models=found.models, rows=found.rows[: given.rows], costs=found.costs)
    with given.file.open(newline="", encoding="utf-8") as opened:
        texts = [row["narrative"] for row in csv.DictReader(opened)][: given.rows]
    labels = sorted(
        {row.by_model[each.model].answer or "" for row in recording.rows for each in SERVED}
        | {row.label or "" for row in recording.rows}
    )
    plot(recording, given.plot)
    return 0 if asyncio.run(run(recording, texts, labels, given.scale)) else 1


if __name__ == "__main__":
    sys.exit(main())
