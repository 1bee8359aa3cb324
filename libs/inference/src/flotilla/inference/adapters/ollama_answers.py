"""
What Ollama answers, and what servers do that imitate it: a whole answer, or one in chunks.

One shape reads both, since servers send one for the other. Everything but the frame is taken as it comes and judged here.
"""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final, cast

from msgspec import Struct

from flotilla.capabilities.errors import AttemptError
from flotilla.contracts.failures import FailureKind
from flotilla.inference.adapters.errors_told import LABELS, error_object, says_an_error, sentence_of
from flotilla.inference.adapters.failures import failure_of, misshapen
from flotilla.inference.adapters.finish_reasons import Protocol, is_complete
from flotilla.inference.adapters.streams import Gathered, model_name
from flotilla.inference.adapters.token_counts import token_count, unknown_usage, usage_of
from flotilla.inference.lenient_json import Joined, lenient_decoder

PROVIDER: Final = "ollama"
LOOP_PIECES_MIN: Final = 30
"""After some more of the same piece the server takes it that the model goes round in circles, and stops it."""


class Chunk(Struct):
    """A whole answer, or a chunk of one."""

    model: Any = None
    remote_host: Any = None
    message: Any = None
    done: Any = None
    done_reason: Any = None
    prompt_eval_count: Any = None
    eval_count: Any = None
    error: Any = None
    status: Any = None


decode_chunk: Final[Callable[[bytes], Chunk]] = lenient_decoder(Chunk)


class ElsewhereError(AttemptError):
    """The answer comes, or would come, from another server."""

    def __init__(self) -> None:
        super().__init__(FailureKind.REFUSED, "ollama: the model runs on another server, where the data may not go")


class Reading:
    """
    Reads one answer, whole or chunk by chunk, into `gathered`.

    Args:
        asked: The model that was asked for.
        gathered: Gets what the server says about it; the text comes from `take` and `end`.
        stream: Whether one was asked for.

    Attributes:
        done: The last chunk has come.
    """

    def __init__(self, asked: str, gathered: Gathered, *, stream: bool) -> None:
        self._stream = stream
        self._asked = asked
        self._gathered = gathered
        self._gathered.usage = unknown_usage(PROVIDER)
        self._joined = Joined()
        self._reason: Any = None
        self._called_a_tool = False
        self._last = ""
        self._repeated = 0
        self._chunks = 0
        self.done = False

    def take(self, chunk: Chunk) -> str:
        """
        Take a chunk, or the whole; give the text in it, possibly "".

        Raises:
            ElsewhereError: Another server has answered.
            AttemptError: It is an error, or of no shape that the protocol has.
        """
        if says_an_error(chunk.error):
            raise failure_inside(chunk.error, chunk.status)
        if chunk.remote_host:
            raise ElsewhereError
        self._chunks += 1
        self.done = chunk.done is True
        message = _fields(chunk.message)
        if message is None:
            if not self.done:
                raise misshapen(PROVIDER)
            message = {}
        self._gathered.model = model_name(chunk.model) or self._gathered.model
        self._called_a_tool = self._called_a_tool or bool(message.get("tool_calls"))
        content = message.get("content")
        if not isinstance(content, str | None):
            raise misshapen(PROVIDER)
        self._watch(content or message.get("thinking"))
        if self.done:
            self._reason = chunk.done_reason
            self._gathered.usage = usage_of(
                PROVIDER,
                self._gathered.model,
                self._asked,
                input_tokens=token_count(chunk.prompt_eval_count),
                output_tokens=token_count(chunk.eval_count),
            )
        return self._joined.feed(content or "")

    def end(self) -> str:
        """
        Say that the answer is over; give the text that was withheld.

        Raises:
            AttemptError: It was none: broken off, or not what was asked for.
        """
        usage = self._gathered.usage
        if not self.done:
            # Of an answer that was wanted whole, the only one that is not done.
            looped = self._repeated >= LOOP_PIECES_MIN or (not self._stream and self._chunks == 1)
            raise _looped() if looped else self._gathered.cut(PROVIDER)
        if self._called_a_tool:
            text = f"{PROVIDER}: the model called a tool, and has none"
            raise AttemptError(FailureKind.INVALID_OUTPUT, text, usage=usage)
        self._gathered.complete = is_complete(Protocol.OLLAMA, self._reason, provider=PROVIDER, usage=usage)
        return self._joined.end()

    def _watch(self, said: Any) -> None:
        """Count how often the same came in a row."""
        piece = said.strip() if isinstance(said, str) else ""
        self._repeated = self._repeated + 1 if piece == self._last else 0
        self._last = piece


def failure_inside(error: Any, status: Any = None) -> AttemptError:
    """
    The failure that an error inside a success means.

    Args:
        error: Ollama's is a text, a gateway's may be an object.
        status: What the server would have answered, had the stream not begun; beside the error.
    """
    named = error_object(error)
    labels = [*(named.get(label) for label in LABELS), status]
    return failure_of(PROVIDER, HTTPStatus.OK, labels=labels, text=str(error), said=sentence_of(error))


def _fields(value: Any) -> dict[str, Any] | None:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


def _looped() -> AttemptError:
    """
    The server stopped the model, which said the same again and again: it ends the answer properly, but not as done.

    Whoever asks this model again gets the same, so it is no failure of the connection.
    """
    return AttemptError(FailureKind.INVALID_OUTPUT, "ollama: stopped, the model repeated itself")
