"""
What servers answer in OpenAI's protocol, and in what they take for it.

One shape reads a whole answer and a chunk of a stream, since servers send one for the other. Everything but the frame is
taken as it comes and judged here: texts in parts, errors inside a success, counts in any form.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final, cast

from msgspec import Struct

from flotilla.capabilities.errors import AttemptError
from flotilla.contracts.attempts import Usage
from flotilla.contracts.failures import FailureKind
from flotilla.inference.adapters.errors_told import failure_inside, says_an_error
from flotilla.inference.adapters.failures import misshapen, refused
from flotilla.inference.adapters.finish_reasons import Protocol, foreign_end, is_complete, says_cut, settled
from flotilla.inference.adapters.streams import Gathered, model_name
from flotilla.inference.adapters.token_counts import token_count, unknown_usage, usage_of
from flotilla.inference.lenient_json import Joined, lenient_decoder

TEXT_PARTS: Final = frozenset({"text", "output_text", None})
"""Of a text in parts; others are thoughts, citations, pictures."""


class _Message(Struct):
    content: Any = None
    refusal: Any = None
    tool_calls: Any = None
    function_call: Any = None


class _Choice(Struct):
    message: _Message | None = None
    delta: _Message | None = None
    index: Any = 0
    finish_reason: Any = None
    native_finish_reason: Any = None
    usage: Any = None
    error: Any = None


class Answer(Struct):
    """A whole answer, or a chunk of one."""

    choices: list[_Choice] | None = None
    model: Any = None
    usage: Any = None
    error: Any = None
    errors: Any = None
    object: Any = None
    message: Any = None
    code: Any = None
    type: Any = None
    base_resp: Any = None
    x_groq: Any = None


decode_answer: Final[Callable[[bytes], Answer | list[Any]]] = lenient_decoder(Answer | list[Any])


class Reading:
    """
    Reads one answer, whole or chunk by chunk, into `gathered`.

    Args:
        provider: For messages and the price list.
        asked: The model that was asked for.
        gathered: Gets what the server says about it; the text comes from `take` and `end`.

    Attributes:
        streamed: Whether it came in chunks, so that one without any broke off.
    """

    def __init__(self, provider: str, asked: str, gathered: Gathered) -> None:
        self._provider = provider
        self._asked = asked
        self._gathered = gathered
        self._joined = Joined()
        self._reason: Any = None
        self._native: Any = None
        self._called_a_tool = False
        self._any_choice = False
        self._counted = False
        self.streamed = False

    def take(self, answer: Answer | list[Any]) -> str:
        """
        Take a chunk, or the whole; give the text in it, possibly "".

        Raises:
            AttemptError: It is an error, or holds one; or it is of no shape that the protocol has.
        """
        if not isinstance(answer, Answer):
            # Gemini puts its errors into a list.
            raise (
                failure_inside(answer, self._provider, self._gathered.usage)
                if any(isinstance(item, dict) and "error" in item for item in answer)
                else misshapen(self._provider)
            )
        if (error := _error_of(answer)) is not None:
            raise failure_inside(error, self._provider, self._gathered.usage)
        if answer.model is not None:
            self._gathered.model = model_name(answer.model) or self._gathered.model
        if answer.usage is not None:
            self._count(answer.usage)
        for choice in answer.choices or ():
            if not isinstance(choice.index, int) or choice.index == 0:
                return self._taken(choice)
        return ""

    def end(self) -> str:
        """
        Say that the answer is over; give the text that was withheld.

        Raises:
            AttemptError: It was none: refused, broken off, or not what was asked for.
        """
        gathered = self._gathered
        if not self._any_choice and not self.streamed:
            raise misshapen(self._provider)
        if gathered.declined:
            raise refused(self._provider, "refusal", gathered.usage)
        if self._called_a_tool:
            raise AttemptError(
                FailureKind.INVALID_OUTPUT,
                f"{self._provider}: the model called a tool, and has none",
                usage=gathered.usage,
            )
        whole = is_complete(Protocol.OPENAI, self._reason, provider=self._provider, usage=gathered.usage)
        # Gateways say `stop` beside the vendor's own MAX_TOKENS.
        gathered.complete = whole and not says_cut(self._native)
        if (error := foreign_end(self._native, provider=self._provider, usage=gathered.usage)) is not None:
            raise error
        return self._joined.end()

    def _count(self, said: Any) -> None:
        """Counts come in a last chunk (OpenAI), or grow from chunk to chunk (Gemini); a smaller one behind is none."""
        usage, before = usage_in(said, self._provider, self._gathered.model, self._asked), self._gathered.usage
        if not self._counted or usage.input_tokens + usage.output_tokens >= before.input_tokens + before.output_tokens:
            self._counted = True
            self._gathered.usage = usage

    def _taken(self, choice: _Choice) -> str:
        if says_an_error(choice.error):
            raise failure_inside(choice.error, self._provider, self._gathered.usage)
        self._any_choice = True
        if choice.usage is not None:
            # Where Moonshot says it.
            self._count(choice.usage)
        if not self._counted:
            # It may be paid for, whatever becomes of it.
            self._counted = True
            self._gathered.usage = unknown_usage(self._provider)
        self._reason = settled(self._reason, choice.finish_reason)
        self._native = settled(self._native, choice.native_finish_reason)
        text = self._text(choice.delta) if choice.delta is not None else ""
        if not text and choice.message is not None and not self._gathered.begun:
            text = self._text(choice.message)
        return text

    def _text(self, message: _Message) -> str:
        self._gathered.declined = self._gathered.declined or bool(message.refusal)
        self._called_a_tool = self._called_a_tool or _calls(message)
        text = message.content if isinstance(message.content, str) else "".join(self._parts(message.content))
        return self._joined.feed(text)

    def _parts(self, content: Any) -> Iterator[str]:
        if content is None:
            return
        if isinstance(content, str):
            yield content
            return
        for part in cast("list[Any]", content) if isinstance(content, list) else [content]:
            if isinstance(part, str):
                yield part
            elif isinstance(part, dict):
                named = cast("dict[str, Any]", part)
                self._gathered.declined = self._gathered.declined or named.get("type") == "refusal"
                text = named.get("text")
                if isinstance(text, str) and named.get("type") in TEXT_PARTS:
                    yield text
            else:
                raise misshapen(self._provider)


def usage_in(usage: Any, provider: str, model: str, asked: str, *, embedding: bool = False) -> Usage:
    """What a `usage` says, in whatever form; `model` is named in the answer, `asked` in the request."""
    if not isinstance(usage, dict):
        return unknown_usage(provider)
    tokens = cast("dict[str, Any]", usage)
    details = tokens.get("prompt_tokens_details")
    # DeepSeek's and Moonshot's fields stand beside the others.
    places = (cast("dict[str, Any]", details) if isinstance(details, dict) else {}, tokens)
    said = (place.get(name) for place in places for name in ("cached_tokens", "prompt_cache_hit_tokens"))
    cached = next((value for value in said if value is not None), None)
    output_tokens = token_count(tokens.get("completion_tokens"))
    input_tokens = token_count(tokens.get("prompt_tokens"))
    total_tokens = token_count(tokens.get("total_tokens"))
    if input_tokens is None and output_tokens is None:
        # Of embeddings some servers say the total alone.
        input_tokens = total_tokens
    elif not embedding and input_tokens is not None and total_tokens is not None and total_tokens > input_tokens:
        # xAI and Gemini leave thoughts out of the completion, and bill them: what is missing from the total was output.
        output_tokens = max(output_tokens or 0, total_tokens - input_tokens)
    return usage_of(
        provider,
        model,
        asked,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cache_read_tokens=token_count(cached),
        embedding=embedding,
    )


def _error_of(answer: Answer) -> Any:
    if says_an_error(answer.error):
        return answer.error
    # Why Groq stopped a stream early.
    groq: Any = answer.x_groq
    early = cast("dict[str, Any]", groq).get("error") if isinstance(groq, dict) else None
    if says_an_error(early):
        return early
    if answer.choices:
        return None
    if answer.object == "error" or (answer.message and answer.code):
        return {"message": answer.message, "code": answer.code, "type": answer.type}
    base: Any = answer.base_resp
    if isinstance(base, dict) and cast("dict[str, Any]", base).get("status_code"):
        # MiniMax's.
        return {"message": cast("dict[str, Any]", base).get("status_msg")}
    return answer.errors if says_an_error(answer.errors) else None


def _calls(message: _Message) -> bool:
    """Whether a tool is called: some servers send the fields of a call always, with nothing in them."""
    tools: Any = message.tool_calls
    calls = [*(cast("list[Any]", tools) if isinstance(tools, list) else [tools]), message.function_call]
    return any(_says_something(_called(call)) for call in calls)


def _called(call: Any) -> Any:
    if not isinstance(call, dict):
        return call
    named = cast("dict[str, Any]", call)
    return next((named[kind] for kind in ("function", "custom") if kind in named), named)


def _says_something(value: Any) -> bool:
    if not isinstance(value, dict):
        return bool(value)
    named = cast("dict[str, Any]", value)
    return "index" in named or any(named.values())
