"""Asks a model through its adapter, whole or streamed, and gives what it said or how it failed."""

import pytest

from flotilla.capabilities.errors import AttemptError
from flotilla.inference.backend import Completion, Model, ModelCall

both_ways = pytest.mark.parametrize("streams", [False, True], ids=["whole", "streamed"])
"""Gives a test the argument `streams`."""


async def completion(model: Model, call: ModelCall, *, streams: bool) -> Completion:
    """
    What the model said; where it streams, its pieces are the whole.

    Raises:
        AttemptError: It failed.
    """
    pieces: list[str] = []

    async def emit(text: str) -> None:
        pieces.append(text)

    done = await model.complete(call, emit if streams else None)
    if streams and "".join(pieces) != done.text:
        raise AssertionError(f"the pieces {pieces} are not the whole: {done.text!r}")
    return done


async def failure(model: Model, call: ModelCall, *, streams: bool) -> AttemptError:
    """How the model failed; the text of the error quotes nothing of what was asked."""
    with pytest.raises(AttemptError) as caught:
        await completion(model, call, streams=streams)
    if call.turns[-1].content.split()[-1] in str(caught.value):
        raise AssertionError(f"the error quotes what was asked: {caught.value}")
    return caught.value
