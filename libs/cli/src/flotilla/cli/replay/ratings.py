"""
A confidence where a recording has none: how often such an answer of a model agreed with the next model of the cascade.

Each row is rated by rows of the other half of the recording alone (even ones by odd ones, and the reverse), so that no row
rates itself. It is what a worker can know that keeps count of its answers by label; it says nothing of the single input.
"""

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import msgspec

from flotilla.cli.replay.recording import Recording, Row

HALVES: Final = 2


def is_rated(recording: Recording, model: str) -> bool:
    """Whether any answer of a model was recorded with a confidence."""
    return any(row.by_model[model].confidence is not None for row in recording.rows)


def rated(recording: Recording, models: Sequence[str]) -> Recording:
    """
    The recording with a confidence on the answers of each of these models that has none, but the last.

    Args:
        recording: Left as it is.
        models: Of a cascade, in order.
    """
    for model, behind in pairwise(models):
        if not is_rated(recording, model):
            recording = _rated(recording, model, behind)
    return recording


def _rated(recording: Recording, model: str, behind: str) -> Recording:
    seen = [Counter[str]() for _ in range(HALVES)]
    agreed = [Counter[str]() for _ in range(HALVES)]
    for place, row in enumerate(recording.rows):
        answer, other = row.by_model[model].answer, row.by_model[behind].answer
        if answer is not None and other is not None:
            seen[place % HALVES][answer] += 1
            agreed[place % HALVES][answer] += answer == other
    rows: list[Row] = []
    for place, row in enumerate(recording.rows):
        by = (place + 1) % HALVES
        each = row.by_model[model]
        if each.answer is not None:
            # One agreement and one disagreement more than were seen: a label that was never seen has a half.
            confidence = (agreed[by][each.answer] + 1) / (seen[by][each.answer] + 2)
            each = msgspec.structs.replace(each, confidence=confidence)
        rows.append(msgspec.structs.replace(row, by_model={**row.by_model, model: each}))
    return msgspec.structs.replace(recording, rows=rows)
