"""Answers as people read them."""

import json
from datetime import UTC, datetime
from typing import Any, Final

from msgspec import UNSET

from flotilla.client.answers import Answer
from flotilla.contracts.capabilities import ClassifyOutput, EmbedOutput, ExtractEntitiesOutput
from flotilla.contracts.redaction import RedactOutput, RestoreOutput
from flotilla.contracts.results import StepMessage, StepReport

BRIEF_LENGTH_MAX: Final = 60
STEP_LENGTH_MAX: Final = 20
COLUMNS_MAX: Final = 80


def full(answer: Answer) -> str:
    """The whole output as text; JSON when nothing reads better."""
    match answer.capability:
        case "classify":
            return _classified(answer)
        case "extract-entities":
            return _entities(answer)
        case "embed":
            found = answer.output_as(EmbedOutput)
            return f"{counted(len(found.vectors), 'vector')} of {counted(found.dimensions, 'dimension')} (--json writes them)"
        case "redact":
            return _document(answer.output_as(RedactOutput).document)
        case "restore":
            return _document(answer.output_as(RestoreOutput).document)
        case _:
            return answer.text or _json(answer.output)


def beside(answer: Answer, told: str) -> list[str]:
    """What a pipeline gave beside the text that was streamed: a field on each line."""
    if not isinstance(answer.result.steps, list):
        return []
    return [
        _shortened(f"{name}: {value}" if isinstance(value, str) else f"{name}: {json.dumps(value, ensure_ascii=False)}")
        for name, value in answer.output.items()
        if value != told
    ]


def brief(answer: Answer) -> str:
    """One short line of it, or of the error."""
    error = answer.error
    text = f"{error.kind.value}: {error.message}" if error else full(answer)
    return _shortened(text, BRIEF_LENGTH_MAX)


def _shortened(text: str, length_max: int = COLUMNS_MAX) -> str:
    line = " ".join(text.split())
    return line if len(line) <= length_max else line[: length_max - 1] + "…"


def origin(answer: Answer) -> str:
    """Where it ran and what it took, on one line."""
    result = answer.result
    steps = result.steps
    if isinstance(steps, list):
        parts = [counted(len(steps), "step")]
    else:
        parts = [f"{answer.zone or '?'}: {result.pool}/{result.model}"]
    if result.provider and result.provider not in (result.pool, result.model):
        parts.append(result.provider)
    parts += [milliseconds(result.latency_ms), tokens(answer), cost(answer)]
    if len(result.attempts) > 1:
        parts.append(f"{len(result.attempts)} attempts")
    return " · ".join(part for part in (*parts, result.task) if part)


def steps(answer: Answer) -> list[str]:
    """Of a pipeline's run: a line for each step, with where it ran, what it took and what it cost; at most 80 columns."""
    found = answer.result.steps
    reports = found if isinstance(found, list) else []
    width = max((min(len(each.name), STEP_LENGTH_MAX) for each in reports), default=0)
    return [_step(each, width) for each in reports]


def _step(step: StepReport, width: int) -> str:
    place = f"{'' if step.zone is UNSET else step.zone}: {step.pool}/{step.model}" if step.pool else "-"
    parts = [milliseconds(step.latency_ms)]
    if step.tasks != 1:
        parts.append(counted(step.tasks, "task"))
    parts += [f"{count:,} {what}" for count, what in ((step.kept, "kept"), (step.cached, "cached")) if count]
    parts.append(dollars(step.usage.cost_usd))
    if step.status != "succeeded":
        parts.append(f"{step.status} {step.error}".rstrip())
    took = " · ".join(part for part in parts if part)
    name = _cut(step.name, width).ljust(width)
    room = max(8, COLUMNS_MAX - width - len(took) - 4)
    return f"{name}  {_cut(place, room)}  {took}"


def _cut(text: str, length_max: int) -> str:
    return text if len(text) <= length_max else f"{text[: length_max - 1]}…"


def redaction(found: RedactOutput) -> str:
    """What was replaced, by type, and the vault that has it."""
    types = ", ".join(f"{each.type} {each.count:,}" for each in found.found) or "nothing"
    return f"replaced: {types}\nvault {found.vault} until {moment(found.expires_unix_ms)}"


def counted(number: int, noun: str) -> str:
    """A number of things: `1 task`, `2,000 tasks`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def milliseconds(elapsed_ms: float) -> str:
    """A duration, in the unit that suits it."""
    return f"{elapsed_ms / 1000:.1f} s" if elapsed_ms >= 1000 else f"{elapsed_ms:.0f} ms"  # noqa: PLR2004


def step_as_it_goes(step: StepMessage) -> str:
    """A step of a run that is under way, on one line."""
    name = step.step if step.index is None else f"{step.step}.{step.index}"
    if step.status == "started":
        return f"{name} ..."
    where = f"{step.zone}: {step.pool}/{step.model}" if step.pool else ""
    return " · ".join(part for part in (name, step.error or step.status, where, milliseconds(step.latency_ms)) if part)


def moment(unix_ms: int) -> str:
    """A time of day, here."""
    return datetime.fromtimestamp(unix_ms / 1000, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def tokens(answer: Answer) -> str:
    """Tokens in and out; empty for engines that do not count."""
    usage = answer.usage
    if not usage.input_tokens and not usage.output_tokens:
        return ""
    return f"{usage.input_tokens:,} → {usage.output_tokens:,} tokens"


def cost(answer: Answer) -> str:
    """US dollars; empty when it cost nothing, and said when it is not known, or was saved."""
    if answer.cached:
        saved = dollars(answer.saved_usd or 0.0)
        return f"cached, saved {saved}" if saved else "cached"
    known, unpriced = dollars(answer.usage.cost_usd), answer.usage.unpriced
    if not unpriced:
        return known
    calls = f"{unpriced:,} {'call' if unpriced == 1 else 'calls'} of unknown cost"
    return f"{known} and {calls}" if known else calls


def dollars(cost_usd: float | None) -> str:
    """US dollars to the hundredth of a cent; empty for none."""
    if cost_usd is None:
        return "cost unknown"
    if not cost_usd:
        return ""
    return f"${cost_usd:.4f}" if cost_usd >= 0.00005 else "<$0.0001"  # noqa: PLR2004


def _document(document: Any) -> str:
    return document if isinstance(document, str) else _json(document)


def _classified(answer: Answer) -> str:
    found = answer.output_as(ClassifyOutput)
    label = found.label if found.label is not None else ", ".join(found.labels or ()) or "(none)"
    line = f"{label}  ({found.confidence:.0%})"
    return f"{line}\n{found.rationale}" if found.rationale else line


def _entities(answer: Answer) -> str:
    entities = answer.output_as(ExtractEntitiesOutput).entities
    if not entities:
        return "(no entities)"
    width = max(len(entity.type) for entity in entities)
    return "\n".join(f"{entity.type:<{width}}  {entity.text}  [{entity.start}:{entity.end}]" for entity in entities)


def _json(output: Any) -> str:
    return json.dumps(output, indent=2, ensure_ascii=False)
