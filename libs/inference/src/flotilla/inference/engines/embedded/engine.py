"""The backend around the engine's parts: a bounded pool of threads, and pieces for callers who want a stream."""

import asyncio
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import msgspec

from flotilla.capabilities.errors import AttemptError
from flotilla.capabilities.inputs import label_name, source_text
from flotilla.capabilities.json_schema import encode_json
from flotilla.contracts.capabilities import (
    ClassifyInput,
    EmbedInput,
    EmbedOutput,
    ExtractEntitiesInput,
    ExtractEntitiesOutput,
    NamedLabel,
    Source,
    SummarizeInput,
    SummarizeOutput,
    SynthesizeInput,
    SynthesizeOutput,
)
from flotilla.contracts.failures import FailureKind
from flotilla.contracts.presence import ModelCard
from flotilla.inference.backend import Answer, Work
from flotilla.inference.engines.embedded.classification import classify
from flotilla.inference.engines.embedded.embedding import DIMENSIONS, embed
from flotilla.inference.engines.embedded.entities import extract
from flotilla.inference.engines.embedded.summaries import summarize
from flotilla.inference.engines.embedded.synthesis import synthesize

PROVIDER: Final = "embedded"
MODELS: Final[dict[str, tuple[str, ...]]] = {
    "embedded-extractive-1": ("summarize", "synthesize"),
    "embedded-lexical-1": ("classify",),
    "embedded-patterns-1": ("extract-entities",),
    "embedded-hashing-1": ("embed",),
}
"""Every model of the engine, and what it serves."""

THREADS_MAX: Final = 4

_MODEL_OF: Final = {capability: model for model, served in MODELS.items() for capability in served}

_Computed = tuple[bytes, list[str]]


class EmbeddedEngine:
    """
    Serves classify, extract-entities, summarize, synthesize and embed on the CPU.

    The same input always gives the same output. Work runs in threads of its own, one per core and THREADS_MAX at the
    most. A thread cannot be interrupted: cancelled work runs to its end unheard, which every part bounds.
    """

    def __init__(self, *, threads: int | None = None) -> None:
        """
        Make the threads.

        Raises:
            ValueError: `threads` is less than 1.
        """
        count = threads if threads is not None else min(os.cpu_count() or 1, THREADS_MAX)
        self._threads = ThreadPoolExecutor(max_workers=count, thread_name_prefix="embedded")

    @property
    def provider(self) -> str:
        """`embedded`."""
        return PROVIDER

    def capabilities(self) -> frozenset[str]:
        """What it really does."""
        return frozenset(_MODEL_OF)

    def model_cards(self) -> list[ModelCard]:
        """The models, for the replica's card."""
        return [ModelCard(name=model, capabilities=list(served)) for model, served in MODELS.items()]

    async def answer(self, work: Work) -> Answer:
        """
        Compute; `output` is JSON (`msgspec.Raw`), valid by construction.

        Raises:
            AttemptError: REFUSED for other capabilities; UNKNOWN_MODEL for a model that does not serve this one.
        """
        compute = _COMPUTE.get(work.capability)
        if compute is None:
            raise AttemptError(FailureKind.REFUSED, f"the embedded engine does not serve {work.capability}")
        model = _MODEL_OF[work.capability]
        if work.model not in ("", model):
            raise AttemptError(FailureKind.UNKNOWN_MODEL, f"the embedded engine serves {work.capability} with {model}")
        began = time.perf_counter()
        output, pieces = await asyncio.get_running_loop().run_in_executor(self._threads, compute, work.input)
        provider_ms = (time.perf_counter() - began) * 1000
        if work.emit is not None:
            for piece in pieces:
                await work.emit(piece)
        return Answer(output=msgspec.Raw(output), provider=PROVIDER, model=model, provider_ms=provider_ms)

    async def aclose(self) -> None:
        """Drop what has not begun; what runs in a thread ends by itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _whole(output: msgspec.Struct) -> _Computed:
    encoded = encode_json(output)
    return encoded, [encoded.decode()]


def _summarize(given: SummarizeInput) -> _Computed:
    chosen = summarize(given.document, max_words=given.max_words, style=given.style)
    between = "\n" if chosen[0].startswith("- ") else " "
    pieces = [f"{sentence}{between}" for sentence in chosen[:-1]] + chosen[-1:]
    return encode_json(SummarizeOutput(summary="".join(pieces))), pieces


def _titled(source: str | Source) -> tuple[str, str]:
    return ("" if isinstance(source, str) else source.title), source_text(source)


def _synthesize(given: SynthesizeInput) -> _Computed:
    lines = synthesize([_titled(source) for source in given.sources], given.instruction)
    return encode_json(SynthesizeOutput(report="".join(lines))), lines


def _described(label: str | NamedLabel) -> tuple[str, str]:
    return label_name(label), ("" if isinstance(label, str) else label.description)


def _classify(given: ClassifyInput) -> _Computed:
    return _whole(classify(given.document, [_described(label) for label in given.labels], multi=given.multi))


def _extract(given: ExtractEntitiesInput) -> _Computed:
    return _whole(ExtractEntitiesOutput(entities=extract(given.document, given.types)))


def _embed(given: EmbedInput) -> _Computed:
    return _whole(EmbedOutput(vectors=[embed(text) for text in given.texts], dimensions=DIMENSIONS))


_COMPUTE: Final[dict[str, Callable[[Any], _Computed]]] = {
    "summarize": _summarize,
    "synthesize": _synthesize,
    "classify": _classify,
    "extract-entities": _extract,
    "embed": _embed,
}
