"""A backend that serves capabilities by asking a model."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Final

from flotilla.capabilities.capability import Capability
from flotilla.capabilities.catalogue import Catalogue
from flotilla.capabilities.errors import AttemptError
from flotilla.contracts.capabilities import EmbedInput, EmbedOutput
from flotilla.contracts.failures import FailureKind
from flotilla.inference.backend import Answer, Embedding, Model, Work
from flotilla.inference.conversation import CALL_TIMEOUT_MIN_S, Conversation
from flotilla.inference.model_habits import ModelHabits
from flotilla.inference.prompts import has_prompt, prompt_of
from flotilla.inference.provider_sentences import explained

EMBED: Final = "embed"
EMBEDDING_MODELS_MAX: Final = 256
"""Models remembered by the name and length of the vectors that came first."""


class PromptedBackend:
    """
    Turns a capability into calls of one provider's models.

    The output is validated before anyone sees it as a result, and numbers that are right but for their form are mended.
    When it is not valid the model is told why and asked once more; after that, or once a piece has been streamed, the
    attempt fails as `invalid_output` with the usage of all rounds. An answer that was cut at the bound on its length
    fails the same way at once (asking again meets the same bound), except for a `chat` whose caller set the bound, and
    for a model that was cut in its thoughts: it is asked again, with room for them.
    """

    def __init__(
        self,
        model: Model,
        catalogue: Catalogue,
        *,
        default_model: str,
        default_embedding_model: str = "",
        capabilities: frozenset[str] | None = None,
        output_tokens_max: Mapping[str, int] | None = None,
        secrets: Sequence[str] = (),
    ) -> None:
        """
        Serve `capabilities`; by default everything of the catalogue that has a prompt, and `embed` when there is a
        `default_embedding_model`. `output_tokens_max` is as in `ModelHabits`. No word of `secrets`, the key and the
        headers of the model's provider, is told of what the provider says.

        Raises:
            ValueError: One of `capabilities` is not in the catalogue, or nothing in it tells a model what to do.
        """
        self._model = model
        self._default_model = default_model
        self._default_embedding_model = default_embedding_model or default_model
        self._habits = ModelHabits(output_tokens_max)
        self._secrets = secrets
        self._spaces: dict[str, tuple[str, int]] = {}
        servable = {name for name in catalogue.names() if (known := catalogue.get(name)) and has_prompt(known)}
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
        prompt = prompt_of(capability, work.input, streaming=work.emit is not None)
        name = work.model or self._default_model
        conversation = Conversation(
            self._model, self._habits, work, capability, prompt, name=name, secrets=self._secrets
        )
        return await conversation.run()

    async def _embed(self, work: Work, capability: Capability) -> Answer:
        given: EmbedInput = work.input
        asked = work.model or self._default_embedding_model
        began = time.perf_counter()
        try:
            embedding = await self._model.embed(
                given.texts, model=asked, timeout_s=max(work.deadline_s, CALL_TIMEOUT_MIN_S)
            )
        except AttemptError as error:
            raise explained(error, request=given.texts, model=asked, secrets=self._secrets) from error
        provider_ms = (time.perf_counter() - began) * 1000
        dimensions = len(embedding.vectors[0]) if embedding.vectors else 0
        self._check_space(asked, embedding, dimensions)
        output = EmbedOutput(vectors=embedding.vectors, dimensions=dimensions)
        try:
            raw = await asyncio.to_thread(capability.check_output, given, output)
        except AttemptError as error:
            raise error.with_usage(embedding.usage) from error
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
