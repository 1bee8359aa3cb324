"""What ran where, in numbers: pure, from the tasks that were done."""

from collections import defaultdict
from typing import Final

from msgspec import Struct

from flotilla.cli.console.readable import counted
from flotilla.cli.demo.work import TITLES, Ran
from flotilla.contracts.attempts import Usage
from flotilla.contracts.subjects import ZONES

FAILURES_SHOWN_MAX: Final = 5


class Row(Struct, frozen=True, kw_only=True):
    """
    The tasks of one kind that one model served.

    Attributes:
        zone: "-" when no route finished.
        latency_ms: The mean, from acceptance to result.
        tokens: In and out together, in the model's own tokens.
        cost_usd: None when the cost of one of them is not known.
    """

    title: str
    zone: str
    model: str
    provider: str
    tasks: int
    failed: int
    latency_ms: float
    tokens: int
    cost_usd: float | None


def rows(ran: list[Ran]) -> list[Row]:
    """One row per kind of work, zone and model; in the order of TITLES."""
    groups: defaultdict[tuple[str, str, str, str], list[Ran]] = defaultdict(list)
    for each in ran:
        answer = each.answer
        groups[each.title, answer.zone or "-", answer.provider, answer.model].append(each)
    return [
        Row(
            title=title,
            zone=zone,
            provider=provider,
            model=model,
            tasks=len(group),
            failed=sum(not each.answer.ok for each in group),
            latency_ms=mean_latency_ms(group),
            tokens=sum(each.answer.usage.input_tokens + each.answer.usage.output_tokens for each in group),
            cost_usd=sum((each.answer.usage for each in group), Usage()).cost_usd,
        )
        for (title, zone, provider, model), group in sorted(groups.items(), key=lambda item: TITLES.index(item[0][0]))
    ]


def summary_line(ran: list[Ran]) -> str:
    """Such as `142 tasks | 100% ok | avg 38 ms local | avg 120 ms cloud`."""
    good = [each for each in ran if each.answer.ok]
    share = 100 * len(good) / len(ran) if ran else 0.0
    # Rounded down: one failure among a thousand is not 100%.
    parts = [counted(len(ran), "task"), f"{int(share)}% ok"]
    for zone in ZONES:
        own = [each for each in good if each.answer.zone == zone]
        if own:
            parts.append(f"avg {milliseconds(mean_latency_ms(own))} {zone}")
    return " | ".join(parts)


def failures(ran: list[Ran]) -> list[str]:
    """What failed and why, the first FAILURES_SHOWN_MAX of them; a last line says how many more there are."""
    failed = [each for each in ran if not each.answer.ok]
    lines = [
        f"{each.title}, {each.item.document}: {each.answer.error.message if each.answer.error else ''}"
        for each in failed[:FAILURES_SHOWN_MAX]
    ]
    more = len(failed) - len(lines)
    return [*lines, f"and {more} more"] if more else lines


def dollars(cost_usd: float | None) -> str:
    """A price for people; models cost fractions of a cent."""
    if cost_usd is None:
        return "?"
    return f"${cost_usd:.4f}" if cost_usd else "$0"


def mean_latency_ms(ran: list[Ran]) -> float:
    """The mean latency; 0 of none."""
    return sum(each.answer.latency_ms for each in ran) / len(ran) if ran else 0.0


def milliseconds(value_ms: float) -> str:
    """A latency for people: 0.8 ms, 38 ms, 2.4 s."""
    if value_ms < 10:  # noqa: PLR2004
        return f"{value_ms:.1f} ms"
    return f"{value_ms:.0f} ms" if value_ms < 10_000 else f"{value_ms / 1000:.1f} s"  # noqa: PLR2004
