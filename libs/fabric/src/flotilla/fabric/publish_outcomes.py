"""What each answer of the server says of a message that its subject holds once, and when to give up. Pure."""

from enum import Enum

from flotilla.fabric.jetstream_api import WRITE_IN_FLIGHT, ApiError, ErrorCode


class Stored(Enum):
    """
    What became of a message.

    Attributes:
        NOW: It is what the subject holds.
        BEFORE: The subject holds another one.
        NOT: Not stored, or nobody could say so in time.
    """

    NOW = "now"
    BEFORE = "before"
    NOT = "not"


class Unclear(Enum):
    """
    What an answer leaves open.

    Attributes:
        TRY_AGAIN: Whether it was stored.
        COMPARE: Whether what the subject holds is an earlier try of this one, whose acknowledgement was lost.
    """

    TRY_AGAIN = "try_again"
    COMPARE = "compare"


def outcome_of(error: ApiError | None, *, again: bool) -> Stored | Unclear | str:
    """
    What an acknowledgement says; the reason, where it is a refusal of another kind.

    Args:
        error: Of the acknowledgement; None where the message was stored.
        again: Whether it was sent before.
    """
    if error is None:
        return Stored.NOW
    if error.err_code == ErrorCode.STREAM_WRONG_LAST_SEQUENCE:
        return Unclear.COMPARE if again else Stored.BEFORE
    return Unclear.TRY_AGAIN if error.err_code in WRITE_IN_FLIGHT else f"{error.description} ({error.err_code})"


def outcome_of_comparison(found: bytes | None, sent: bytes) -> Stored | Unclear:
    """What the subject says that is known to hold something; of a replica that lags behind it holds nothing yet."""
    if found is None:
        return Unclear.TRY_AGAIN
    return Stored.NOW if found == sent else Stored.BEFORE


def gives_up(refusals: int, refusals_max: int | None, *, left_s: float) -> bool:
    """Whether it is not tried again: it was refused as often as may be, or no time is left."""
    return refusals == refusals_max or left_s <= 0.0
