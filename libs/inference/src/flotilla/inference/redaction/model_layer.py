"""A layer of detection that asks the pool's model: what it finds is added to what patterns and lists find."""

import asyncio
import concurrent.futures
import math
import time
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Final

import msgspec

from flotilla.capabilities.errors import AttemptError
from flotilla.contracts.capabilities import ExtractEntitiesInput, ExtractEntitiesOutput
from flotilla.contracts.failures import FailureKind
from flotilla.inference.backend import Backend, Work
from flotilla.privacy import Span
from flotilla.privacy.errors import LayerFailedError, LayerTimeoutError

NAME: Final = "model"
CAPABILITY: Final = "extract-entities"
TIMEOUT_S: Final = 120.0
"""Of one piece of a document."""
PIECE_LENGTH_MAX: Final = 8_000
TYPES: Final = {
    "person": "PERSON",
    "organization": "ORG",
    "place": "PLACE",
    "address": "ADDRESS",
    "date": "DATE",
    "age": "AGE",
    "e-mail": "EMAIL",
    "phone number": "PHONE",
    "identifier": "ID",
    "account number": "ACCOUNT",
    "nationality or religion": "GROUP",
}
"""What a model is asked for, and what the library calls it."""

GIVES_UP_AT: Final[ContextVar[float]] = ContextVar("GIVES_UP_AT", default=math.inf)
"""When nobody waits any more for what this thread works on, by `time.monotonic`: a model that hangs holds it no longer."""

_decode: Final = msgspec.json.Decoder(ExtractEntitiesOutput).decode


class ModelFailedError(LayerFailedError):
    """
    The model did not give the entities of a text.

    Attributes:
        kind: Why not.
    """

    def __init__(self, kind: FailureKind) -> None:
        super().__init__(NAME, f"failed: {kind.value}")
        self.kind = kind

    def bare(self) -> "ModelFailedError":
        """See `LayerError.bare`."""
        return ModelFailedError(self.kind)


class ModelLayer:
    """Entities that a backend extracts with its model. `find` is called in a thread, never on the event loop."""

    name = NAME

    def __init__(self, backend: Backend, *, timeout_s: float = TIMEOUT_S) -> None:
        self._backend = backend
        self._timeout_s = timeout_s
        self._loop: asyncio.AbstractEventLoop | None = None

    def open(self, loop: asyncio.AbstractEventLoop) -> None:
        """Ask on this loop: the backend's."""
        self._loop = loop

    def find(self, text: str, language: str) -> Iterator[Span]:  # noqa: ARG002  (a model reads every language)
        """
        The entities of a text.

        Raises:
            LayerTimeoutError: The model did not answer in time.
            ModelFailedError: It failed; has the failure's kind.
        """
        for start, piece in _pieces(text):
            for entity in self._asked(piece).entities:
                name = TYPES.get(entity.type.strip().casefold(), "PERSON")
                yield Span(start=start + entity.start, end=start + entity.end, type=name, layer=NAME, score=0.8)

    def _asked(self, piece: str) -> ExtractEntitiesOutput:
        if self._loop is None:
            raise LayerFailedError(NAME, "is not there yet")
        left_s = min(self._timeout_s, GIVES_UP_AT.get() - time.monotonic())
        if left_s <= 0:
            raise LayerTimeoutError(NAME, "did not answer before the task's deadline")
        work = Work(
            task="redact",
            capability=CAPABILITY,
            input=ExtractEntitiesInput(document=piece, types=list(TYPES)),
            model="",
            deadline_s=left_s,
        )
        asked = asyncio.run_coroutine_threadsafe(self._answer(work), self._loop)
        try:
            return asked.result(left_s)
        except concurrent.futures.TimeoutError:
            asked.cancel()
            raise LayerTimeoutError(NAME, f"did not answer within {left_s:.3g} s") from None
        except AttemptError as error:
            raise ModelFailedError(error.kind) from None

    async def _answer(self, work: Work) -> ExtractEntitiesOutput:
        output = (await self._backend.answer(work)).output
        if isinstance(output, ExtractEntitiesOutput):
            return output
        return _decode(output if isinstance(output, msgspec.Raw) else msgspec.json.encode(output))


def _pieces(text: str) -> Iterator[tuple[int, str]]:
    """Pieces that a model reads at once, cut between words where there are any, with their offsets; none blank."""
    start = 0
    while start < len(text):
        end = min(len(text), start + PIECE_LENGTH_MAX)
        if end < len(text):
            between = max(text.rfind(mark, start + PIECE_LENGTH_MAX // 2, end) for mark in ("\n", " "))
            end = between + 1 if between > 0 else end
        piece = text[start:end]
        if not piece.isspace():
            yield start, piece
        start = end
