"""
The noop engine: announces everything, answers at once, and means nothing by it.

For tests, benchmarks and chaos runs. What it answers is valid against the capability's output schema and made in
advance where it can be. With no latency it never yields to the event loop, so a benchmark measures the fleet.
"""

import asyncio
import random
from collections.abc import Callable
from typing import Any, Final

import msgspec

from flotilla.capabilities.capability import Capability
from flotilla.capabilities.catalogue import Catalogue
from flotilla.capabilities.errors import AttemptError, CatalogueError
from flotilla.capabilities.inputs import label_name
from flotilla.capabilities.json_schema import JsonSchema, encode_json
from flotilla.contracts.capabilities import ClassifyInput, EmbedInput, GenerateCodeInput, TranslateInput
from flotilla.contracts.failures import FailureKind
from flotilla.contracts.presence import ModelCard
from flotilla.contracts.redaction import LOCAL_CAPABILITIES
from flotilla.inference.backend import Answer, Work
from flotilla.inference.engines.instances import instance_of

PROVIDER: Final = "noop"
MODEL: Final = "noop-1"
TEXT: Final = "This text was made by the noop engine."
VECTOR: Final = b"[1.0,0.0,0.0,0.0]"
VECTOR_DIMENSIONS: Final = 4
RATE_LIMITED_SHARE: Final = 0.2
"""Of the failures, this share is RATE_LIMITED with RETRY_AFTER_S; the others are UNAVAILABLE."""

RETRY_AFTER_S: Final = 0.05

_Output = Callable[[Any], tuple[bytes, tuple[str, ...]]]


class NoopEngine:
    """Serves every capability of a catalogue with meaningless, valid output."""

    def __init__(
        self,
        *,
        capabilities: Catalogue,
        latency_ms: float = 0.0,
        jitter: float = 0.0,
        failure_rate: float = 0.0,
        seed: int | None = None,
    ) -> None:
        """
        Prepare the outputs.

        Args:
            capabilities: Everything in it is announced, except what redacts and restores.
            latency_ms: Time of one answer; a streamed one is spread over it.
            jitter: The latency varies by this fraction of it, evenly, to both sides; 0 to 1.
            failure_rate: The fraction of work that fails; 0 to 1. Of streamed work, half fails after the first piece.
            seed: For the same luck again; None for new luck each time.

        Raises:
            ValueError: A number is out of its bounds.
            CatalogueError: No valid output was found for a capability of the user's own; says what its file needs.
        """
        if latency_ms < 0 or not 0 <= jitter <= 1 or not 0 <= failure_rate <= 1:
            raise ValueError("expected latency_ms >= 0, and jitter and failure_rate from 0 to 1")
        self._latency_s = latency_ms / 1000
        self._jitter = jitter
        self._failure_rate = failure_rate
        self._random = random.Random(seed)
        self._outputs: dict[str, _Output] = {}
        # A document that only looks redacted would be taken for one.
        for name in sorted(capabilities.names() - LOCAL_CAPABILITIES.keys()):
            if known := capabilities.get(name):
                self._outputs[name] = _output_of(known)

    @property
    def provider(self) -> str:
        """`noop`."""
        return PROVIDER

    @property
    def never_waits(self) -> bool:
        """Whether it answers at once."""
        return not self._latency_s

    def capabilities(self) -> frozenset[str]:
        """Everything in the catalogue, except what redacts and restores."""
        return frozenset(self._outputs)

    def model_cards(self) -> list[ModelCard]:
        """One model for everything, for the replica's card."""
        return [ModelCard(name=MODEL, capabilities=sorted(self._outputs))]

    async def answer(self, work: Work) -> Answer:
        """
        Answer with JSON (`msgspec.Raw`), as any model that the work names.

        Raises:
            AttemptError: UNAVAILABLE or RATE_LIMITED, at the failure rate; REFUSED for a capability not announced.
        """
        make = self._outputs.get(work.capability)
        if make is None:
            raise AttemptError(FailureKind.REFUSED, f"the capability {work.capability} is not served here")
        output, pieces = make(work.input)
        fails = self._failure_rate > 0 and self._random.random() < self._failure_rate
        if work.emit is None:
            await self._pause(1)
            if fails:
                raise self._failure()
        else:
            # Half of the failing streams break before the first piece, where the task may still move elsewhere.
            fails_at = self._random.randint(0, 1) if fails else -1
            for index, piece in enumerate(pieces):
                await self._pause(len(pieces))
                if index == fails_at:
                    raise self._failure()
                await work.emit(piece)
            if fails_at >= len(pieces):
                raise self._failure()
        return Answer(output=msgspec.Raw(output), provider=PROVIDER, model=work.model or MODEL)

    async def _pause(self, shares: int) -> None:
        if self._latency_s:
            spread = 1 + self._jitter * self._random.uniform(-1, 1)
            await asyncio.sleep(self._latency_s * spread / shares)

    def _failure(self) -> AttemptError:
        if self._random.random() < RATE_LIMITED_SHARE:
            return AttemptError(FailureKind.RATE_LIMITED, "the noop engine failed as told", retry_after_s=RETRY_AFTER_S)
        return AttemptError(FailureKind.UNAVAILABLE, "the noop engine failed as told")

    async def aclose(self) -> None:
        """Nothing is held."""


def _output_of(capability: Capability) -> _Output:
    if not capability.built_in:
        return _instance(capability)
    if capability.name in _BY_INPUT:
        return _BY_INPUT[capability.name]
    if capability.name == "extract-entities":
        return _fixed(b'{"entities":[]}', None)
    if capability.name == "chat":
        return _fixed(encode_json({"message": {"role": "assistant", "content": TEXT}}), TEXT)
    return _fixed(encode_json({capability.text_field: TEXT}), TEXT)


def _pieces(text: str) -> tuple[str, ...]:
    words = text.split(" ")
    return (*(f"{word} " for word in words[:-1]), words[-1])


def _fixed(output: bytes, text: str | None) -> _Output:
    made = (output, _pieces(text) if text else (output.decode(),))
    return lambda _given: made


def _instance(capability: Capability) -> _Output:
    try:
        data = instance_of(JsonSchema(capability.output_schema))
    except ValueError as error:
        raise CatalogueError(f"the noop engine cannot serve {capability.name}: output: {error}") from None
    text = data.get(capability.text_field) if capability.text_field else None
    if capability.text_field and not text:
        raise CatalogueError(f"the noop engine cannot serve {capability.name}: output: its text field would be empty")
    return _fixed(encode_json(data), text)


def _classify(given: ClassifyInput) -> tuple[bytes, tuple[str, ...]]:
    label = encode_json(label_name(given.labels[0]))
    form = b'{"labels":[%s],"confidence":1.0}' if given.multi else b'{"label":%s,"confidence":1.0}'
    output = form % label
    return output, (output.decode(),)


def _embed(given: EmbedInput) -> tuple[bytes, tuple[str, ...]]:
    vectors = b",".join([VECTOR] * len(given.texts))
    output = b'{"vectors":[%s],"dimensions":%d}' % (vectors, VECTOR_DIMENSIONS)
    return output, (output.decode(),)


_translate_pieces: Final = _pieces(TEXT)


def _translate(given: TranslateInput) -> tuple[bytes, tuple[str, ...]]:
    source = encode_json(given.source or "und")
    return b'{"text":"%s","source":%s}' % (TEXT.encode(), source), _translate_pieces


_CODE: Final = "pass"


def _generate_code(given: GenerateCodeInput) -> tuple[bytes, tuple[str, ...]]:
    return b'{"code":"%s","language":%s}' % (_CODE.encode(), encode_json(given.language)), (_CODE,)


_BY_INPUT: Final[dict[str, _Output]] = {
    "classify": _classify,
    "embed": _embed,
    "translate": _translate,
    "generate-code": _generate_code,
}
"""Those whose valid output depends on the input."""
