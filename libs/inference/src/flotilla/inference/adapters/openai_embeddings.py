"""
Embedding texts in as many calls as the provider's limit on one call takes.

Gemini takes 100 texts, OpenAI 2,048, servers of one's own what they were started with; a limit that a refusal tells is
remembered for the model.
"""

import base64
import binascii
import re
import struct
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

from msgspec import Struct

from flotilla.contracts.providers import provider_named
from flotilla.inference.adapters.errors_told import failure_inside
from flotilla.inference.adapters.failures import misshapen
from flotilla.inference.adapters.openai_answers import usage_in
from flotilla.inference.adapters.streams import model_name
from flotilla.inference.backend import Embedding
from flotilla.inference.lenient_json import lenient_decoder

TEXTS_MAX: Final = 2048
"""Of one call, where the provider's record says nothing else."""
MODELS_REMEMBERED_MAX: Final = 256
REFUSAL_CHARS_MAX: Final = 10_000

_REFUSING: Final = frozenset(
    {HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNPROCESSABLE_ENTITY}
)
_OF_THE_BATCH: Final = re.compile(
    r"batch|per (?:request|call)|(?:inputs?|array|items?|texts?|requests|elements|strings|embeddings)\b", re.IGNORECASE
)
_TOO_MANY: Final = re.compile(
    r"too (?:many|large|long|big)|at most|maximum|\bmax\b|exceed|limit|not more|up to|batch", re.IGNORECASE
)
_NUMBER: Final = re.compile(r"(?<![\w.\-])\d{1,6}(?![\w.]\d)")


class _Vector(Struct):
    embedding: list[float] | str
    index: Any = None


class _Vectors(Struct):
    data: list[_Vector] | None = None
    model: Any = None
    usage: Any = None
    error: Any = None


class BatchLimits:
    """How many texts one call takes, by model."""

    def __init__(self, provider: str) -> None:
        known = provider_named(provider)
        self._most = (known and known.embed_texts_max) or TEXTS_MAX
        self._learned: dict[str, int] = {}

    def most(self, model: str) -> int:
        """At most so many texts in one call."""
        return self._learned.get(model, self._most)

    def learn(self, model: str, most: int) -> None:
        """Remember what went well; an error that only quotes a text cannot teach anything."""
        if most != self.most(model):
            if len(self._learned) >= MODELS_REMEMBERED_MAX:
                self._learned.clear()
            self._learned[model] = most


def smaller_batch(texts: int, status: int, refusal: str) -> int | None:
    """
    How many texts to try instead of so many that were refused; None when the refusal is about something else.

    The largest number in it that is smaller than the batch is taken for the limit, else half of the batch is tried.
    """
    text = refusal[:REFUSAL_CHARS_MAX]
    if status not in _REFUSING or texts < 2 or not _OF_THE_BATCH.search(text):  # noqa: PLR2004
        return None
    numbers = [number for found in _NUMBER.findall(text) if 1 < (number := int(found)) < texts]
    if numbers:
        return max(numbers)
    return texts // 2 if _TOO_MANY.search(text) else None


_decode: Final[Callable[[bytes], _Vectors | list[Any]]] = lenient_decoder(_Vectors | list[Any])


def vectors_in(body: bytes, texts: int, *, provider: str, asked: str) -> Embedding:
    """
    Read the answer to one call with so many texts.

    Raises:
        AttemptError: It is an error, or does not hold one vector of one length for each text.
        msgspec.MsgspecError: It is no JSON, or of another shape.
    """
    answer = _decode(body)
    if not isinstance(answer, _Vectors):
        raise failure_inside(answer, provider)
    if answer.error:
        raise failure_inside(answer.error, provider)
    vectors: dict[int, list[float]] = {}
    for position, vector in enumerate(answer.data or ()):
        index = position if vector.index is None else vector.index
        if not isinstance(index, int) or not 0 <= index < texts or index in vectors:
            raise misshapen(provider)
        vectors[index] = _numbers(vector.embedding, provider)
    if len(vectors) != texts or len({len(vector) for vector in vectors.values()}) > 1:
        raise misshapen(provider)
    named = model_name(answer.model)
    return Embedding(
        vectors=[vectors[index] for index in range(texts)],
        model=named or asked,
        usage=usage_in(answer.usage, provider, named, asked, embedding=True),
    )


def joined(parts: list[Embedding], *, provider: str) -> Embedding:
    """
    The vectors of several calls as those of one.

    Raises:
        AttemptError: They are of different models, or of different lengths, which no one could compare.
    """
    first = parts[0]
    if any(part.model != first.model or len(part.vectors[0]) != len(first.vectors[0]) for part in parts):
        raise misshapen(provider)
    usage = sum((part.usage for part in parts[1:]), first.usage)
    return Embedding(vectors=[vector for part in parts for vector in part.vectors], model=first.model, usage=usage)


def _numbers(given: list[float] | str, provider: str) -> list[float]:
    if isinstance(given, str):
        # Some servers send base64 whatever was asked for: 32-bit floats, least significant byte first.
        try:
            raw = base64.b64decode(given, validate=True)
            given = list(struct.unpack(f"<{len(raw) // 4}f", raw))
        except (binascii.Error, struct.error, ValueError):
            raise misshapen(provider) from None
    if not given:
        raise misshapen(provider)
    return given
