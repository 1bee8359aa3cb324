"""One work's rounds with a model: the question, the reading of the answer, the one repair."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from flotilla.capabilities.capability import Capability
from flotilla.capabilities.errors import AttemptError
from flotilla.capabilities.json_schema import refuse_output
from flotilla.contracts.attempts import Usage
from flotilla.contracts.capabilities import ExtractEntitiesInput
from flotilla.contracts.failures import FailureKind
from flotilla.inference.backend import Answer, Completion, Emit, Model, ModelCall, Turn, Work
from flotilla.inference.json_answers import json_in
from flotilla.inference.mended_numbers import mended
from flotilla.inference.model_habits import ModelHabits
from flotilla.inference.prompts import Prompt, StructuredReading, TextReading
from flotilla.inference.prompts.text_filters import TextFilter
from flotilla.inference.provider_sentences import explained
from flotilla.inference.thoughts import Thoughts, without_thoughts

REPAIR_ROUNDS_MAX: Final = 1
REPAIR_ECHO_CHARS_MAX: Final = 20_000
"""Of the model's first answer, this much is shown to it again with the complaint."""

CALL_TIMEOUT_MIN_S: Final = 0.001
CHECK_INLINE_CHARS_MAX: Final = 100_000
"""Entities are looked up in documents up to this length on the event loop; in longer ones, in a thread."""


class Conversation:
    """One work's rounds with the model."""

    def __init__(
        self,
        model: Model,
        habits: ModelHabits,
        work: Work,
        capability: Capability,
        prompt: Prompt,
        *,
        name: str,
        secrets: Sequence[str] = (),
    ) -> None:
        self._model = model
        self._habits = habits
        self._work = work
        self._capability = capability
        self._prompt = prompt
        self._model_name = name
        self._secrets = secrets
        self._until = time.perf_counter() + work.deadline_s
        self._usage = Usage()
        self._provider_ms = 0.0
        self._pieces = 0

    async def run(self) -> Answer:
        """
        Ask, check, ask again once if that can help.

        Raises:
            AttemptError: As `PromptedBackend.answer` says.
        """
        turns = self._prompt.turns
        for rounds_left in range(REPAIR_ROUNDS_MAX, -1, -1):
            completion, candidate = await self._round(turns)
            try:
                raw = await self._checked(candidate, completion)
            except AttemptError as error:
                if self._pieces or not rounds_left or not self._can_be_repaired(completion):
                    raise error.with_usage(self._usage) from None
                turns = (*self._prompt.turns, *_repair(completion.text, error.message, self._prompt))
                continue
            return await self._finish(raw, completion)
        raise AssertionError  # the last round returns or raises

    async def _round(self, turns: tuple[Turn, ...]) -> tuple[Completion, Any]:
        asked = await self._asked(turns)
        if not self._exact and not self._pieces and self._habits.cut_in_thoughts(self._model_name, asked[0]):
            asked = await self._asked(turns)
        return asked

    async def _asked(self, turns: tuple[Turn, ...]) -> tuple[Completion, Any]:
        reading = self._prompt.reading
        call = ModelCall(
            model=self._model_name,
            system=self._prompt.system,
            turns=turns,
            output_schema=reading.schema if isinstance(reading, StructuredReading) else None,
            schema_name=self._capability.name,
            max_output_tokens=self._output_tokens(),
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
        thoughts = Thoughts(asked, begins_inside=self._habits.is_leaky(self._model_name))
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
            raise self._leak().with_usage(self._usage)
        await show(read_by.feed(rest) + read_by.end())
        return completion, _wrapped("".join(shown), reading, read_by)

    @property
    def _exact(self) -> bool:
        """Whether the bound on the output is the caller's own: then an answer that reaches it is what was asked for."""
        reading = self._prompt.reading
        return isinstance(reading, TextReading) and reading.cut_allowed

    def _output_tokens(self) -> int:
        return self._habits.output_tokens(self._model_name, self._prompt.max_output_tokens, exact=self._exact)

    def _leak(self) -> AttemptError:
        """Know from now on that this model sends the end of its thoughts without their beginning."""
        self._habits.leaked(self._model_name)
        return AttemptError(FailureKind.INVALID_OUTPUT, "the model's thoughts stood in its answer")

    async def _complete(self, call: ModelCall, emit: Emit | None) -> Completion:
        began = time.perf_counter()
        try:
            completion = await self._model.complete(call, emit)
        except AttemptError as error:
            texts = (call.system, *(turn.content for turn in call.turns))
            told = explained(error, request=texts, model=call.model, secrets=self._secrets)
            raise told.with_usage(self._usage + error.usage) from error
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
        if not completion.complete and not (self._exact and self._output_tokens() >= self._prompt.max_output_tokens):
            raise AttemptError(FailureKind.INVALID_OUTPUT, "the model's answer was cut at its output limit")
        if isinstance(reading, StructuredReading):
            candidate = reading.shape(mended(json_in(completion.text), reading.schema))
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
