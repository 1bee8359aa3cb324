"""`flotilla experiment`: what may be concluded from recorded pairs and from live arms."""

import textwrap
from pathlib import Path
from typing import Annotated, Final

import msgspec
from cyclopts import App, Parameter
from cyclopts.validators import Number

from flotilla.cli.console import exits, terminal
from flotilla.cli.console.arguments import NO_WHERE, Where
from flotilla.cli.console.examples import examples_of
from flotilla.cli.console.exits import UsageError
from flotilla.cli.console.readable import dollars, milliseconds, moment
from flotilla.cli.console.tables import table
from flotilla.cli.replay.errors import ReplayError
from flotilla.cli.replay.reading import read_recording
from flotilla.cli.replay.recording import Recording
from flotilla.contracts.experiments import CALLER, ArmTotals
from flotilla.routing.calibration import ERROR_DEFAULT, PAIRS_MIN, Calibration, Pair
from flotilla.routing.calibration import calibrate as calibrated
from flotilla.routing.conclusions import Comparison, comparisons, conclusion, name_of

experiment: Final = App(name="experiment", help_format="plaintext", help_epilogue=examples_of("experiment"))
ARM_COLUMNS: Final = ("arm", "tasks", "success", "latency", "cost", "score")
DIFFERENCE_COLUMNS: Final = ("arm", "quantity", "by", "interval", "differs")
SENTENCE_WIDTH: Final = 80
Share = Annotated[float, Parameter(validator=Number(gt=0.0, lt=1.0))]


@experiment.command
def calibrate(
    file: Path,
    /,
    *,
    cheap: str,
    dear: str,
    agreement: Share = 0.97,
    error: Share = ERROR_DEFAULT,
    input: str | None = None,  # noqa: A002  (the option's name)
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """
    Find the threshold of a cascade from recorded pairs. Exits with 1 when no threshold keeps the agreement.

    Parameters
    ----------
    file
        A recording as `flotilla replay` reads it, with the confidence of the cheap model.
    cheap
        The recorded model that is asked first.
    dear
        The one that is asked where the first is not sure enough.
    agreement
        The share of results that must be the dear model's, 0 to 1.
    error
        How probable it may be that further traffic agrees less.
    input
        The column or key of the input.
    json
        One JSON object.
    """
    pairs = _pairs(read_recording(file, input_name=input, label_name=None), cheap, dear)
    if len(pairs) < PAIRS_MIN:
        raise UsageError(f"{len(pairs)} rows with a confidence of {cheap} and both answers; {PAIRS_MIN} are needed")
    found = calibrated(pairs, agreement, error=error)
    if json:
        terminal.json_line(msgspec.json.encode(found))
    else:
        _say(found, cheap, dear, agreement, error)
    return exits.OK if found.is_met else exits.FAILED


@experiment.command
async def report(  # noqa: D417  (groups of options say it themselves)
    capability: str, /, *, where: Where = NO_WHERE
) -> int:
    """
    Compare the arms of a capability's split: success, latency, cost and scores, and what may be concluded.

    Parameters
    ----------
    capability
        Whose policy is a split over listed routes.
    """
    async with where.fleet() as fleet:
        found = await fleet.experiment(capability)
    compared = comparisons(found.arms)
    sentence = conclusion(found.arms, compared)
    if where.json:
        terminal.json_line(
            msgspec.json.encode(
                {
                    **msgspec.to_builtins(found),
                    "comparisons": [{**msgspec.to_builtins(each), "certain": each.is_certain} for each in compared],
                    "conclusion": sentence,
                }
            )
        )
        return exits.OK
    table(ARM_COLUMNS, [arm_row(arm) for arm in found.arms])
    if terminal.out_is_terminal() and compared:
        terminal.write("\n")
        table(DIFFERENCE_COLUMNS, [difference_row(each) for each in compared])
    since = f"since {moment(found.began_unix_ms)}" if found.began_unix_ms else "no task yet"
    terminal.aside(f"{capability}: experiment {found.experiment}, {since}")
    for line in textwrap.wrap(sentence, SENTENCE_WIDTH):
        terminal.aside(line)
    return exits.OK


@experiment.command
async def feedback(  # noqa: D417  (groups of options say it themselves)
    task: str,
    score: Annotated[float, Parameter(validator=Number(gte=0.0, lte=1.0))],
    /,
    *,
    label: str = "",
    scorer: str = CALLER,
    where: Where = NO_WHERE,
) -> int:
    """
    Say how good the answer to a task was; it counts for the arm that had the task. Once per task and scorer.

    Parameters
    ----------
    task
        Its id.
    score
        0 (of no use) to 1.
    label
        What was right, or why.
    scorer
        Who says so.
    """
    async with where.fleet() as fleet:
        done = await fleet.feedback(task, score, label=label, scorer=scorer)
    if where.json:
        terminal.json_line(msgspec.json.encode(done))
    else:
        terminal.aside(f"{score:g} for {done.pool}/{done.model}, {done.capability}")
    return exits.OK


def arm_row(arm: ArmTotals) -> tuple[str, ...]:
    """An arm's line of the report."""
    tasks = arm.ok + arm.failed
    latency_ms, cost_usd, score = arm.latency_ms.mean, arm.cost_usd.mean, arm.score.mean
    return (
        name_of(arm),
        f"{tasks:,}",
        f"{arm.ok / tasks:.2%}" if tasks else "",
        "" if latency_ms is None else milliseconds(latency_ms),
        "" if cost_usd is None else dollars(cost_usd),
        "" if score is None else f"{score:.3f} ({arm.score.count:,})",
    )


def difference_row(each: Comparison) -> tuple[str, ...]:
    """The line of an arm beside the first, in one quantity: the difference, its interval, and whether it is certain."""
    found = each.difference
    if found is None:
        return (each.arm, each.quantity, "", "", "too few tasks")
    interval = f"{found.low:+.3g} to {found.high:+.3g}"
    return (each.arm, each.quantity, f"{found.estimate:+.3g}", interval, "yes" if found.is_certain else "may be chance")


def _say(found: Calibration, cheap: str, dear: str, agreement: float, error: float) -> None:
    if not found.is_met:
        terminal.aside(
            f"no threshold keeps {agreement:.1%} by {found.pairs:,} pairs: {cheap} is sure and differs too often"
        )
        return
    terminal.write(f"strategy_options = {{ confidence_min = {found.confidence_min:g} }}\n")
    terminal.aside(f"{dear} is asked for {found.escalated:.1%} of {found.pairs:,} tasks")
    terminal.aside(
        f"{found.agreement:.2%} agree with it here, {found.agreement_low:.2%} at least elsewhere ({1 - error:.0%} sure)"
    )


def _pairs(recording: Recording, cheap: str, dear: str) -> list[Pair]:
    for option, model in (("--cheap", cheap), ("--dear", dear)):
        if model not in recording.models:
            raise ReplayError(f"{option} {model}: not recorded; recorded are {', '.join(recording.models)}")
    rows = [(row.by_model[cheap], row.by_model[dear]) for row in recording.rows]
    return [
        Pair(first.confidence, first.answer == second.answer)
        for first, second in rows
        if first.confidence is not None and first.answer is not None and second.answer is not None
    ]
