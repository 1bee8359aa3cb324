"""`flotilla replay`: policies tried on recorded traffic, before anything is spent."""

from pathlib import Path
from typing import Annotated, Final

import msgspec
from cyclopts import Parameter
from cyclopts.validators import Number

from flotilla.cli.console import exits, terminal
from flotilla.cli.console.readable import dollars
from flotilla.cli.console.tables import table
from flotilla.cli.replay.errors import ReplayError
from flotilla.cli.replay.figures import PolicyFigures
from flotilla.cli.replay.pictures import TASKS_PER_COST, draw
from flotilla.cli.replay.prices import Price, priced
from flotilla.cli.replay.reading import read_recording
from flotilla.cli.replay.recording import Recording
from flotilla.cli.replay.scatter import WIDTH_MIN, Point, mark_of, scatter
from flotilla.cli.replay.simulation import RATE_PER_S_DEFAULT, SEED_DEFAULT
from flotilla.cli.replay.trials import (
    BY_LABEL,
    CAPABILITY_DEFAULT,
    Trial,
    cascades,
    consensus,
    of_file,
    outage,
    play,
    single_models,
)

Flag = Annotated[bool, Parameter(negative="")]
Paths = Annotated[list[Path] | None, Parameter(name="--policy", negative="", consume_multiple=True)]
Texts = Annotated[list[str] | None, Parameter(negative="")]
Shares = Annotated[
    list[Annotated[float, Parameter(validator=Number(gte=0.0, lte=1.0))]] | None,
    Parameter(negative="", consume_multiple=True),
]
TRIALS_MAX: Final = 200
CONFIDENCE_DEFAULT: Final = 0.8
USD_MAX: Final = 10_000.0

NAME_LENGTH_SHOWN: Final = 29
"""Of a policy beside its figures, on a terminal of 80 columns."""
_BY_LABEL_SAID: Final = (
    f"{BY_LABEL}: no confidences were recorded. An answer's is how often those",
    "with its label agreed with the model behind, in the other half of the rows",
)

_COSTS: Final = {
    "priced": "costs: the recorded tokens at public list prices",
    "estimated": "~ is an estimate: list prices, a token for 4 bytes of input and answer",
    "unknown": "unknown costs: record cost_usd, or give --price MODEL=INPUT/OUTPUT",
}


def replay(
    file: Path,
    /,
    *,
    policies: Paths = None,
    cascade: Texts = None,
    consensus_of: Annotated[list[str] | None, Parameter(name="--consensus", negative="")] = None,
    confidence_min: Shares = None,
    only: Flag = False,
    capability: str = CAPABILITY_DEFAULT,
    input: str | None = None,  # noqa: A002  (the option's name)
    label: str | None = None,
    price: Texts = None,
    outages: Annotated[list[str] | None, Parameter(name="--outage", negative="")] = None,
    rate_per_s: Annotated[float, Parameter(validator=Number(gt=0.0, lte=1e6))] = RATE_PER_S_DEFAULT,
    seed: int = SEED_DEFAULT,
    plot: Path | None = None,
    json: Flag = False,
) -> int:
    """
    Try policies on recorded traffic: accuracy, cost, latency and calls of each. Needs no fleet, and calls no model.

    Parameters
    ----------
    file
        CSV with `<model>.output`, `.seconds`, `.input_tokens`, `.output_tokens`, `.confidence`; or JSON lines.
    policies
        Policies (TOML) whose routes name recorded models. May be repeated.
    cascade
        Recorded models in order, cheap ones first: CHEAP,DEAR. May be repeated.
    consensus_of
        Two models that are asked at once, and those behind: ONE,OTHER,BEHIND. May be repeated.
    confidence_min
        Thresholds at which each cascade is tried.
    only
        Leave out the single models.
    capability
        Which entry of the policies counts.
    input
        The column or key of the input.
    label
        The column or key of what is right.
    price
        MODEL=INPUT/OUTPUT in US dollars for a million tokens, for what is on no price list. May be repeated.
    outages
        MODEL:FROM-TO, shares of the recording in which a model is away. May be repeated.
    rate_per_s
        How fast tasks arrive: what guards and breakers see depends on it.
    seed
        Of what strategies leave to chance.
    plot
        A picture of accuracy against cost (.png, .svg, .pdf).
    json
        One JSON object a policy.
    """
    recording = read_recording(file, input_name=input, label_name=label)
    recording = priced(recording, dict(_price(each, recording) for each in price or ()))
    away = tuple(outage(each, recording) for each in outages or ())
    trials = [] if only else single_models(recording, capability)
    for path in policies or ():
        trials += of_file(path, capability, confidence_min or ())
    for each in cascade or ():
        trials += cascades(each, recording, capability, confidence_min or (CONFIDENCE_DEFAULT,))
    trials += [consensus(each, recording, capability) for each in consensus_of or ()]
    if not trials or len(trials) > TRIALS_MAX:
        raise ReplayError(f"{len(trials)} policies to try; expected 1 to {TRIALS_MAX}")
    figures = [play(trial, recording, capability, rate_per_s=rate_per_s, seed=seed, outages=away) for trial in trials]
    if plot is not None:
        draw(plot, figures)
    if json:
        for each in figures:
            terminal.json_line(_encoded(each, recording))
        return exits.OK
    _print(figures, recording, trials)
    return exits.OK


def _print(figures: list[PolicyFigures], recording: Recording, trials: list[Trial]) -> None:
    about = "~" if recording.costs == "estimated" else ""
    columns = ("", "policy", "accuracy", "cost", "p50", "p95", "escalated", "failed", "calls by model")
    rows = [
        (
            mark_of(place),
            each.policy,
            "" if each.accuracy is None else f"{each.accuracy:.4f}",
            "unknown" if each.cost_usd is None else f"{about}{dollars(each.cost_usd) or '$0'}",
            f"{each.p50_s:.2f} s",
            f"{each.p95_s:.2f} s",
            f"{each.escalated / each.tasks:.1%}" if each.escalated else "",
            f"{each.failed:,}" if each.failed else "",
            ", ".join(f"{model} {count:,}" for model, count in each.calls.items()),
        )
        for place, each in enumerate(figures)
    ]
    if not terminal.out_is_terminal():
        table(columns, rows)
    else:
        table(columns[:-1], [row[:-1] for row in rows])
        if any(len(each.policy) > NAME_LENGTH_SHOWN for each in figures):
            terminal.write("\n")
            table(("", "policy in full"), [(mark_of(place), each.policy) for place, each in enumerate(figures)])
        mixed = [(mark_of(place), each) for place, each in enumerate(figures) if len(each.calls) > 1]
        if mixed:
            terminal.write("\n")
            calls = [
                (mark, model, f"{count:,}", f"{count / each.tasks:.1%}")
                for mark, each in mixed
                for model, count in each.calls.items()
            ]
            table(("", "model", "calls", "of tasks"), calls)
        lines = scatter(_points(figures), width=max(WIDTH_MIN, terminal.console().width))
        terminal.write("".join(f"{line}\n" for line in ("", *lines)) if lines else "")
    terminal.aside(f"{len(recording.rows):,} tasks, {len(trials):,} policies; no model was called")
    if any(each.policy.endswith(BY_LABEL) for each in figures):
        for line in _BY_LABEL_SAID:
            terminal.aside(line)
    if recording.costs in _COSTS:
        terminal.aside(_COSTS[recording.costs])


def _points(figures: list[PolicyFigures]) -> list[Point]:
    return [
        Point(mark_of(place), each.cost_usd / each.tasks * TASKS_PER_COST, each.accuracy)
        for place, each in enumerate(figures)
        if each.cost_usd is not None and each.accuracy is not None
    ]


def _encoded(each: PolicyFigures, recording: Recording) -> bytes:
    return msgspec.json.encode({**msgspec.structs.asdict(each), "accuracy": each.accuracy, "costs": recording.costs})


def _price(text: str, recording: Recording) -> tuple[str, Price]:
    model, _, given = text.rpartition("=")
    first, _, second = given.partition("/")
    try:
        usd = float(first), float(second or first)
    except ValueError:
        usd = (-1.0, -1.0)
    if model not in recording.models or not all(0.0 <= each <= USD_MAX for each in usd):
        raise ReplayError(
            f"--price {text}: expected a recorded model and dollars for a million tokens, MODEL=INPUT/OUTPUT"
        )
    return model, Price(input_usd=usd[0], output_usd=usd[1])
