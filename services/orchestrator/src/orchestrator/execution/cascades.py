"""
What follows an answer of a cascade: it is the result, or it is kept and asked for again on the routes behind.

Pure, as all that `next_action` is made of. Nothing is taken back that a caller has seen: a streamed answer of which pieces
were passed on is the result.
"""

from typing import Final

import msgspec
from msgspec import Struct

from flotilla.contracts.attempts import Finished
from flotilla.contracts.errors import TaskError
from flotilla.contracts.failures import ErrorKind
from flotilla.contracts.results import Result
from flotilla.routing.types import Choice
from orchestrator.execution.run_state import RunState, UnsureAnswer
from orchestrator.execution.run_steps import AttemptEnded, Escalate, Finish

_FINISH: Final = Finish()
_ESCALATE: Final = Escalate()
_NOBODY_ANSWERED: Final = "no route behind it answered"


class _Rated(Struct):
    """The one field of an output that is looked at."""

    confidence: float | None = None


_decode_rated: Final = msgspec.json.Decoder(_Rated).decode


def confidence_of(output: msgspec.Raw) -> float | None:
    """What an output says of its own confidence; None when it says nothing that is a number."""
    try:
        return _decode_rated(output).confidence
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def after_answer(run: RunState, event: AttemptEnded, finished: Finished) -> Finish | Escalate:
    """Whether an answer is the result; without a confidence it is, and so is the last route's."""
    escalation = run.escalation
    if escalation is None or run.pieces:
        return _FINISH
    confidence = confidence_of(finished.output)
    behind = escalation.behind(event.choice.route)
    if confidence is None or confidence >= escalation.confidence_min or not behind:
        return _FINISH
    why = f"confidence {confidence:.4g} is below {escalation.confidence_min:.4g}"
    run.kept = UnsureAnswer(event.report, behind, why, escalation.answer_anyway)
    return _ESCALATE


def routes_behind(kept: UnsureAnswer, choices: tuple[Choice, ...]) -> tuple[Choice, ...]:
    """Those of a decision's routes that are escalated to, with the reason."""
    reason = f"escalated: {kept.why}"
    return tuple(msgspec.structs.replace(each, reason=reason) for each in choices if each.route in kept.behind)


def nobody_behind(kept: UnsureAnswer) -> TaskError:
    """Every route to escalate to is out, or has failed for good."""
    return TaskError(ErrorKind.NO_ROUTE, f"no route behind {kept.report.pool} answered: {kept.why}")


def answers_anyway(run: RunState, error: TaskError) -> bool:
    """Whether the answer that was kept is the result in place of an error; its attempt then says so."""
    kept = run.kept or (run.consensus.kept if run.consensus is not None else None)
    if kept is None or not kept.answer_anyway or run.pieces or error.kind is ErrorKind.CANCELLED:
        return False
    reason = f"{kept.report.reason}; {kept.why}, and {_NOBODY_ANSWERED}"
    run.attempts[:] = [
        msgspec.structs.replace(each, reason=reason) if each is kept.report else each for each in run.attempts
    ]
    return True


def is_makeshift(result: Result) -> bool:
    """Whether a result that went well is an answer that was not sure enough, and stands since nobody answered behind it."""
    return any(attempt.reason.endswith(_NOBODY_ANSWERED) for attempt in result.attempts)
