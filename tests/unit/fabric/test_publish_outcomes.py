"""What is concluded of a message that its subject holds once, from each answer that the server can give."""

import pytest

from flotilla.fabric.jetstream_api import WRITE_IN_FLIGHT, ApiError, ErrorCode
from flotilla.fabric.publish_outcomes import Stored, Unclear, gives_up, outcome_of, outcome_of_comparison

HELD = ApiError(code=400, err_code=ErrorCode.STREAM_WRONG_LAST_SEQUENCE, description="wrong last sequence: 7")


@pytest.mark.parametrize(
    ("expected", "error", "again"),
    [
        (Stored.NOW, None, False),
        (Stored.NOW, None, True),
        (Stored.BEFORE, HELD, False),
        (Unclear.COMPARE, HELD, True),
        *((Unclear.TRY_AGAIN, ApiError(err_code=code), again) for code in WRITE_IN_FLIGHT for again in (False, True)),
        ("no space (10077)", ApiError(err_code=ErrorCode.STREAM_STORE_FAILED, description="no space"), False),
        ("no space (10077)", ApiError(err_code=ErrorCode.STREAM_STORE_FAILED, description="no space"), True),
    ],
)
def test_what_an_acknowledgement_says(expected: Stored | Unclear | str, error: ApiError | None, again: bool) -> None:  # noqa: FBT001
    """
    Who tries for the first time and finds the subject taken is not its author; after a lost answer he may be.
    """
    assert expected == outcome_of(error, again=again)


@pytest.mark.parametrize(
    ("expected", "found"), [(Unclear.TRY_AGAIN, None), (Stored.NOW, b"mine"), (Stored.BEFORE, b"another's")]
)
def test_what_the_subject_holds_tells_whose_it_is(expected: Stored | Unclear, found: bytes | None) -> None:
    """
    A replica that lags behind shows nothing, and that says nothing.
    """
    assert expected == outcome_of_comparison(found, b"mine")


@pytest.mark.parametrize(
    ("expected", "refusals", "refusals_max", "left_s"),
    [
        (False, 0, None, 0.001),
        (True, 0, None, 0.0),
        (True, 0, None, -1.0),
        (False, 99, None, 0.001),
        (False, 2, 3, 0.001),
        (True, 3, 3, 0.001),
        (True, 0, 3, 0.0),
    ],
)
def test_when_it_is_given_up(expected: bool, refusals: int, refusals_max: int | None, left_s: float) -> None:  # noqa: FBT001
    """
    Time and refusals are bounds of their own.
    """
    assert expected == gives_up(refusals, refusals_max, left_s=left_s)
