"""Confidences of a recording that has none: by label, from the other half of its rows, and only where none was recorded."""

from flotilla.cli.replay.ratings import rated
from flotilla.cli.replay.recording import Recorded, Recording, Row


def recording(*answers: tuple[str | None, str | None], confidence: float | None = None) -> Recording:
    """What the cheap and the dear model said, row by row."""
    rows = [
        Row(
            input_bytes=1,
            label=None,
            by_model={
                "cheap": Recorded(answer=cheap, confidence=confidence),
                "dear": Recorded(answer=dear),
            },
        )
        for cheap, dear in answers
    ]
    return Recording(models=("cheap", "dear"), rows=rows)


def confidences(found: Recording, model: str = "cheap") -> list[float | None]:
    return [row.by_model[model].confidence for row in found.rows]


def test_a_row_is_rated_by_the_other_half_alone() -> None:
    """
    Even rows agree and odd ones do not: each half has what the other one shows, and the dear model is not rated.
    """
    found = rated(recording(("a", "a"), ("a", "b"), ("a", "a"), ("a", "b")), ["cheap", "dear"])

    assert [0.25, 0.75, 0.25, 0.75] == confidences(found)
    assert [None] * 4 == confidences(found, "dear")


def test_a_label_that_the_other_half_has_not_seen_has_a_half_and_a_failure_none() -> None:
    """
    What a failed attempt would have said is not known, and it rates nothing.
    """
    found = rated(recording(("a", "a"), ("new", "b"), ("a", "a"), (None, "a"), ("a", None)), ["cheap", "dear"])

    assert [0.5, 0.5, 0.5, None, 0.5] == confidences(found)


def test_what_was_recorded_stays() -> None:
    """
    The model's own word counts.
    """
    assert [0.9, 0.9] == confidences(rated(recording(("a", "b"), ("a", "b"), confidence=0.9), ["cheap", "dear"]))
