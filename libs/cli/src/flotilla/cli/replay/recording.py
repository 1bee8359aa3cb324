"""Recorded traffic: what several models answered to the same inputs, how long it took, and what it cost. Values only."""

import json
from hashlib import blake2b
from typing import Any, Final, cast

from msgspec import Struct

from flotilla.contracts.failures import FailureKind

ROWS_MAX: Final = 100_000
MODELS_MAX: Final = 100
"""As many as a policy may list routes."""
RECORDED_MAX: Final = 2_000_000
"""Rows times models: some 300 bytes each are held."""
ANSWER_LENGTH_MAX: Final = 128
"""Longer answers are kept as a digest: only whether two are equal is asked of them."""


class Recorded(Struct, frozen=True, kw_only=True, gc=False):
    """
    What one model did with one input.

    Attributes:
        answer: As `answer_of` gives it; None where the attempt failed.
        answer_bytes: Of the output as it was recorded.
        seconds: From the request to the answer or the failure.
        cost_usd: None where it is not known.
        confidence: 0 to 1; None where the model gave none.
        failure: Why there is no answer.
    """

    answer: str | None
    answer_bytes: int = 0
    seconds: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = None
    confidence: float | None = None
    failure: FailureKind | None = None


class Row(Struct, frozen=True, kw_only=True):
    """
    One task.

    Attributes:
        input_bytes: Of its text, which is not kept.
        label: What is right, as `answer_of` gives it; None where nobody knows.
        by_model: Every model of the recording is in it.
    """

    input_bytes: int
    label: str | None
    by_model: dict[str, Recorded]


class Recording(Struct, frozen=True, kw_only=True):
    """
    A file's rows in its order.

    Attributes:
        models: As the file names them, in its order.
        costs: `recorded`: of the file itself; `priced`: its tokens at list prices; `estimated`: list prices of tokens that
            were guessed from lengths; `unknown`: some are not known at all.
    """

    models: tuple[str, ...]
    rows: list[Row]
    costs: str = "recorded"


def answer_of(output: object) -> str:
    """
    An output in the one form in which outputs are compared: two are the same answer when these are equal.

    Of an object with a `label`, as `classify` gives it, the label; of other JSON its text with sorted keys; of a text what
    is left without the spaces around it.
    """
    if isinstance(output, dict) and "label" in output:
        output = cast("dict[str, Any]", output)["label"]
    text = output.strip() if isinstance(output, str) else json.dumps(output, sort_keys=True, ensure_ascii=False)
    if len(text) <= ANSWER_LENGTH_MAX:
        return text
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=32).hexdigest()
