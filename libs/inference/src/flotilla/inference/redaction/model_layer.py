"""A layer of detection that asks the pool's model: what it finds is added to what patterns and lists find."""

import asyncio
import concurrent.futures
from collections.abc import Iterator
from typing import Final

import msgspec

from flotilla.capabilities.errors import AttemptError
from flotilla.contracts.capabilities import ExtractEntitiesInput, ExtractEntitiesOutput
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

_decode: Final = msgspec.json.Decoder(ExtractEntitiesOutput).decode


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
            LayerFailedError: It failed; says the failure's kind.
        """
        for start, piece in _pieces(text):
            for entity in self._asked(piece).entities:
                name = TYPES.get(entity.type.strip().casefold(), "PERSON")
                yield Span(start=start + entity.start, end=start + entity.end, type=name, layer=NAME, score=0.8)

    def _asked(self, piece: str) -> ExtractEntitiesOutput:
        if self._loop is None:
            raise LayerFailedError(NAME, "is not there yet")
        work = Work(
            task="redact",
            capability=CAPABILITY,
            input=ExtractEntitiesInput(document=piece, types=list(TYPES)),
            model="",
            deadline_s=self._timeout_s,
        )
        asked = asyncio.run_coroutine_threadsafe(self._answer(work), self._loop)
        try:
            return asked.result(self._timeout_s)
        except concurrent.futures.TimeoutError:
            asked.cancel()
            raise LayerTimeoutError(NAME, f"did not answer within {self._timeout_s:g} s") from None
        except AttemptError as error:
            raise LayerFailedError(NAME, f"failed: {error.kind.value}") from None

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
