"""
The two ports of the worker kit.

`Backend` is what a worker serves: given a task's work it gives an answer. The engines (embedded, noop), a user's handler
and `PromptedBackend` are backends. `Model` is what an adapter provides: one chat completion or embedding of one
provider; `PromptedBackend` turns a capability into calls of a model, validates the output and repairs it once.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final, Literal, Protocol, runtime_checkable

from msgspec import Struct

from flotilla.contracts.attempts import Usage
from flotilla.contracts.redaction import EVERY_TYPE, RedactionPolicy

OUTPUT_TOKENS_DEFAULT: Final = 8192
"""Of a call whose prompt says nothing else."""

Emit = Callable[[str], Awaitable[None]]
"""Takes one piece of a streamed answer: text, never empty."""


class Work(Struct, frozen=True, kw_only=True):
    """
    One attempt as a backend sees it.

    Attributes:
        input: A capability's input Struct for the built-in ones, plain JSON data for a user's own.
        model: The model of the route; "" lets the backend choose.
        scope: Whose task it is; "" where the orchestrator does not say (see `AttemptOptions.scope`).
        redaction: Which types of personal data are replaced, by the operator's policy.
        deadline_s: Seconds left, for the provider's timeout; the kit cancels the work itself when they are over.
        emit: Where pieces go when the caller wants a stream, else None.
    """

    task: str
    capability: str
    input: Any
    model: str
    deadline_s: float
    emit: Emit | None = None
    scope: str = ""
    redaction: RedactionPolicy = EVERY_TYPE


class Answer(Struct, frozen=True, kw_only=True):
    """
    What a backend gives back.

    Attributes:
        output: A Struct or plain JSON data; the kit validates it against the capability's output schema.
        provider: Who computed it: `ollama`, `openai`, `anthropic`, `embedded`, ...
        model: The model that the provider says it used.
        provider_ms: Spent in calls to the provider.
    """

    output: Any
    provider: str
    model: str
    usage: Usage = Usage()
    provider_ms: float = 0.0


class Backend(Protocol):
    """
    Answers the work of one worker. Called concurrently, once per taken slot; cancelled when nobody waits any more.

    `answer` raises `flotilla.capabilities.errors.AttemptError` with a failure kind; any other exception counts as
    `crashed`. It must not block the event loop: CPU-bound work goes to a thread or a process.
    """

    @property
    def provider(self) -> str:
        """The provider's name, for the replica's card."""
        ...

    def capabilities(self) -> frozenset[str]:
        """What this backend can really do."""
        ...

    async def answer(self, work: Work) -> Answer:
        """Work on a task to its answer; raises AttemptError with the kind of failure."""
        ...

    async def aclose(self) -> None:
        """Release connections, threads and processes."""
        ...


@runtime_checkable
class NeverWaits(Protocol):
    """A backend that may be able to answer without waiting for anything; it then costs no task of its own."""

    @property
    def never_waits(self) -> bool:
        """Whether it does not wait, as it was made."""
        ...


class Turn(Struct, frozen=True, kw_only=True):
    """One message of a conversation."""

    role: Literal["user", "assistant"]
    content: str


class ModelCall(Struct, frozen=True, kw_only=True):
    """
    One chat completion.

    Attributes:
        output_schema: JSON Schema that the text must satisfy, when structured output is wanted; None for plain text.
            Adapters pass it on in the provider's own way (Ollama `format`, OpenAI `response_format`, Anthropic output
            format); the kit validates whatever comes back.
        schema_name: A short identifier for it, `[a-zA-Z0-9_-]{1,64}`.
        max_output_tokens: Sent with every call: servers' own default is often no bound, and small models do repeat
            themselves for ever.
        timeout_s: For the whole call; a provider that is slower fails as `timeout`.
    """

    model: str
    system: str
    turns: tuple[Turn, ...]
    output_schema: dict[str, Any] | None = None
    schema_name: str = "output"
    max_output_tokens: int = OUTPUT_TOKENS_DEFAULT
    temperature: float | None = None
    top_p: float | None = None
    stop: tuple[str, ...] = ()
    timeout_s: float = 60.0


class Completion(Struct, frozen=True, kw_only=True):
    """
    The text of one completion.

    Attributes:
        complete: False when the provider stopped at the output limit: the text is cut.
    """

    text: str
    model: str
    usage: Usage
    complete: bool = True


class Embedding(Struct, frozen=True, kw_only=True):
    """One vector per text, in order."""

    vectors: list[list[float]]
    model: str
    usage: Usage


class Model(Protocol):
    """
    One provider's models. Raises `AttemptError`; every SDK error is translated, `from error`, in the adapter.

    SDKs run with no retries of their own: only the dispatcher retries.
    """

    @property
    def provider(self) -> str:
        """`ollama`, `openai`, `anthropic`, ...: also the key into the price list."""
        ...

    async def complete(self, call: ModelCall, emit: Emit | None = None) -> Completion:
        """
        Run one completion; with `emit`, stream it: each piece as it comes, and the whole text at the end.

        A stream that ends without the provider's own end marker raises AttemptError(UNAVAILABLE): a cut answer is
        never returned as a complete one.
        """
        ...

    async def embed(self, texts: list[str], *, model: str, timeout_s: float) -> Embedding:
        """Embed texts; AttemptError(REFUSED) when the provider has no embeddings."""
        ...

    async def aclose(self) -> None:
        """Close the HTTP client."""
        ...
