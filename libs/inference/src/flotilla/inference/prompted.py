"""A backend that serves capabilities by asking a model."""

import asyncio
import time
from typing import Any, Final

import msgspec

from flotilla.contracts.attempts import Usage
from flotilla.contracts.capabilities import EmbedInput, EmbedOutput, ExtractEntitiesInput
from flotilla.contracts.failures import FailureKind
from flotilla.inference.backend import Answer, Completion, Embedding, Emit, Model, ModelCall, Turn, Work
from flotilla.inference.capability import Capability
from flotilla.inference.catalogue import Catalogue
from flotilla.inference.errors import AttemptError
from flotilla.inference.prompts import Prompt, StructuredReading, TextReading
from flotilla.inference.prompts.text_filters import TextFilter
from flotilla.inference.structured import json_in, refuse_output
from flotilla.inference.thoughts import Thoughts, without_thoughts

EMBED: Final = "embed"
REPAIR_ROUNDS_MAX: Final = 1
REPAIR_ECHO_CHARS_MAX: Final = 20_000
"""Of the model's first answer, this much is shown to it again with the complaint."""

EMBEDDING_MODELS_MAX: Final = 256
"""Models remembered by the name and length of the vectors that came first."""
LEAKY_MODELS_MAX: Final = 256
"""Models remembered for ending thoughts that they never began."""

CALL_TIMEOUT_MIN_S: Final = 0.001
CHECK_INLINE_CHARS_MAX: Final = 100_000
"""Entities are looked up in documents up to this length on the event loop; in longer ones, in a thread."""


class PromptedBackend:
    """
    Turns a capability into calls of one provider's models.

    The output is validated before anyone sees it as a result. When it is not valid the model is told why and asked once
    more; after that, or once a piece has been streamed, the attempt fails as `invalid_output` with the usage of all
    rounds. An answer that the provider cut at its output limit fails the same way at once (asking again meets the same
    limit), except for `chat`, whose caller sets the limit.
    """

    def __init__(
        self,
        model: Model,
        catalogue: Catalogue,
        *,
        default_model: str,
        default_embedding_model: str = "",
        capabilities: frozenset[str] | None = None,
    ) -> None:
        """
        Serve `capabilities`; by default everything of the catalogue that has a prompt, and `embed` when there is a
        `default_embedding_model`.

        Raises:
            ValueError: One of `capabilities` is not in the catalogue, or nothing in it tells a model what to do.
        """
        self._model = model
        self._default_model = default_model
        self._default_embedding_model = default_embedding_model or default_model
        self._leaky: set[str] = set()
        self._spaces: dict[str, tuple[str, int]] = {}
        servable = {name for name in catalogue.names() if (known := catalogue.get(name)) and known.has_prompt}
        if capabilities is None:
            capabilities = frozenset(servable | ({EMBED} if default_embedding_model else set()))
        if unknown := capabilities - servable - {EMBED}:
            raise ValueError(f"no capability with a prompt in the catalogue: {', '.join(sorted(unknown))}")
        self._capabilities: dict[str, Capability] = {
            name: known for name in sorted(capabilities) if (known := catalogue.get(name))
        }

    @property
    def provider(self) -> str:
        """The model's provider."""
        return self._model.provider

    def capabilities(self) -> frozenset[str]:
        """What this backend was made to serve."""
        return frozenset(self._capabilities)

    async def answer(self, work: Work) -> Answer:
        """
        Ask the model; `output` is JSON (`msgspec.Raw`) that has been validated.

        Raises:
            AttemptError: As the adapter says; INVALID_OUTPUT for what does not hold; REFUSED for a capability that
                this backend was not made for.
        """
        capability = self._capabilities.get(work.capability)
        if capability is None:
            raise AttemptError(FailureKind.REFUSED, f"the capability {work.capability} is not served here")
        if work.capability == EMBED:
            return await self._embed(work, capability)
        prompt = capability.prompt(work.input, streaming=work.emit is not None)
        conversation = _Conversation(self._model, work, capability, prompt, self._default_model)
        conversation.leaky = self._leaky
        return await conversation.run()

    async def _embed(self, work: Work, capability: Capability) -> Answer:
        given: EmbedInput = work.input
        asked = work.model or self._default_embedding_model
        began = time.perf_counter()
        embedding = await self._model.embed(
            given.texts, model=asked, timeout_s=max(work.deadline_s, CALL_TIMEOUT_MIN_S)
        )
        provider_ms = (time.perf_counter() - began) * 1000
        dimensions = len(embedding.vectors[0]) if embedding.vectors else 0
        self._check_space(asked, embedding, dimensions)
        output = EmbedOutput(vectors=embedding.vectors, dimensions=dimensions)
        try:
            raw = await asyncio.to_thread(capability.check_output, given, output)
        except AttemptError as error:
            raise _with_usage(error, embedding.usage) from error
        if work.emit is not None:
            await work.emit(bytes(raw).decode())
        return Answer(
            output=raw,
            provider=self._model.provider,
            model=embedding.model,
            usage=embedding.usage,
            provider_ms=provider_ms,
        )

    def _check_space(self, asked: str, embedding: Embedding, dimensions: int) -> None:
        """Refuse what another model embedded than the first time: a gateway may have one stand in for the other."""
        if len(self._spaces) >= EMBEDDING_MODELS_MAX:
            self._spaces.clear()
        first = self._spaces.setdefault(asked, (embedding.model, dimensions))
        if first != (embedding.model, dimensions):
            text = f"the vectors are of another model than before ({first[0]}, {first[1]} dimensions)"
            raise AttemptError(FailureKind.INVALID_OUTPUT, text, usage=embedding.usage)

    async def aclose(self) -> None:
        """Close the model's HTTP client."""
        await self._model.aclose()


class _Conversation:
    """One work's rounds with the model."""

    def __init__(self, model: Model, work: Work, capability: Capability, prompt: Prompt, default_model: str) -> None:
        self._model = model
        self._work = work
        self._capability = capability
        self._prompt = prompt
        self._model_name = work.model or default_model
        self.leaky: set[str] = set()
        self._until = time.perf_counter() + work.deadline_s
        self._usage = Usage()
        self._provider_ms = 0.0
        self._pieces = 0

    async def run(self) -> Answer:
        turns = self._prompt.turns
        for rounds_left in range(REPAIR_ROUNDS_MAX, -1, -1):
            completion, candidate = await self._round(turns)
            try:
                raw = await self._checked(candidate, completion)
            except AttemptError as error:
                if self._pieces or not rounds_left or not self._can_be_repaired(completion):
                    raise _with_usage(error, self._usage) from None
                turns = (*self._prompt.turns, *_repair(completion.text, error.message, self._prompt))
                continue
            return await self._finish(raw, completion)
        raise AssertionError  # the last round returns or raises

    async def _round(self, turns: tuple[Turn, ...]) -> tuple[Completion, Any]:
        reading = self._prompt.reading
        call = ModelCall(
            model=self._model_name,
            system=self._prompt.system,
            turns=turns,
            output_schema=reading.schema if isinstance(reading, StructuredReading) else None,
            schema_name=self._capability.name,
            max_output_tokens=self._prompt.max_output_tokens,
            temperature=self._prompt.temperature,
            top_p=self._prompt.top_p,
            stop=self._prompt.stop,
            timeout_s=max(self._until - time.perf_counter(), CALL_TIMEOUT_MIN_S),
        )
        if isinstance(reading, StructuredReading):
            return await self._complete(call, None), None
        return await self._read(call, reading)

    async def _read(self, call: ModelCall, reading: TextReading) -> tuple[Completion, Any]:
        read_by = reading.make_filter()
        asked = (call.system, *(turn.content for turn in self._prompt.turns if turn.role == "user"))
        if self._work.emit is None:
            completion = await self._complete(call, None)
            text = read_by.feed(without_thoughts(completion.text, asked)) + read_by.end()
            return completion, _wrapped(text, reading, read_by)
        thoughts = Thoughts(asked, begins_inside=self._model_name in self.leaky)
        shown: list[str] = []

        async def show(text: str) -> None:
            if text:
                shown.append(text)
                await self._emit(text)

        async def pass_on(piece: str) -> None:
            answer = thoughts.feed(piece)
            if thoughts.leaked:
                raise self._leak()
            await show(read_by.feed(answer))

        completion = await self._complete(call, pass_on)
        rest = thoughts.end()
        if thoughts.leaked:
            raise _with_usage(self._leak(), self._usage)
        await show(read_by.feed(rest) + read_by.end())
        return completion, _wrapped("".join(shown), reading, read_by)

    def _leak(self) -> AttemptError:
        """Know from now on that this model sends the end of its thoughts without their beginning."""
        if len(self.leaky) >= LEAKY_MODELS_MAX:
            self.leaky.clear()
        self.leaky.add(self._model_name)
        return AttemptError(FailureKind.INVALID_OUTPUT, "the model's thoughts stood in its answer")

    async def _complete(self, call: ModelCall, emit: Emit | None) -> Completion:
        began = time.perf_counter()
        try:
            completion = await self._model.complete(call, emit)
        except AttemptError as error:
            raise _with_usage(error, self._usage + error.usage) from error
        finally:
            self._provider_ms += (time.perf_counter() - began) * 1000
        self._usage += completion.usage
        return completion

    async def _emit(self, text: str) -> None:
        if self._work.emit is not None:
            self._pieces += 1
            await self._work.emit(text)

    async def _checked(self, candidate: Any, completion: Completion) -> msgspec.Raw:
        reading = self._prompt.reading
        if not completion.complete and not (isinstance(reading, TextReading) and reading.cut_allowed):
            raise AttemptError(FailureKind.INVALID_OUTPUT, "the model's answer was cut at its output limit")
        if isinstance(reading, StructuredReading):
            candidate = reading.shape(json_in(completion.text))
        elif candidate is None:
            refuse_output("$", "expected text that is not blank")
        given = self._work.input
        if isinstance(given, ExtractEntitiesInput) and len(given.document) > CHECK_INLINE_CHARS_MAX:
            return await asyncio.to_thread(self._capability.check_output, given, candidate)
        return self._capability.check_output(given, candidate)

    def _can_be_repaired(self, completion: Completion) -> bool:
        return completion.complete and time.perf_counter() < self._until

    async def _finish(self, raw: msgspec.Raw, completion: Completion) -> Answer:
        if isinstance(self._prompt.reading, StructuredReading):
            await self._emit(bytes(raw).decode())
        return Answer(
            output=raw,
            provider=self._model.provider,
            model=completion.model,
            usage=self._usage,
            provider_ms=self._provider_ms,
        )


def _wrapped(text: str, reading: TextReading, read_by: TextFilter) -> Any:
    """The output candidate; None for a text that says nothing, which is no answer in any capability."""
    return None if not text or text.isspace() else reading.wrap(text, read_by)


def _repair(answered: str, complaint: str, prompt: Prompt) -> tuple[Turn, ...]:
    form = (
        "Answer the first message again, with one JSON object that is right, and nothing else."
        if isinstance(prompt.reading, StructuredReading)
        else "Answer the first message again, with the text alone."
    )
    demand = Turn(role="user", content=f"That answer cannot be used: {complaint}. {form}")
    # Providers refuse an empty turn of the assistant.
    if not answered.strip():
        return (Turn(role="assistant", content="(no answer)"), demand)
    return (Turn(role="assistant", content=answered[:REPAIR_ECHO_CHARS_MAX]), demand)


def _with_usage(error: AttemptError, usage: Usage) -> AttemptError:
    return AttemptError(error.kind, error.message, retry_after_s=error.retry_after_s, usage=usage)
