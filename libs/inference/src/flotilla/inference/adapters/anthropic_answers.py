"""
What servers answer in Anthropic's protocol, and in what they take for it: a message, or its events.

Everything but the frame is taken as it comes and judged here: errors inside a success, counts in any form, blocks that
are no text.
"""

from collections.abc import Callable
from typing import Any, Final, cast

from msgspec import Struct

from flotilla.capabilities.errors import AttemptError
from flotilla.contracts.attempts import Usage
from flotilla.contracts.failures import FailureKind
from flotilla.inference.adapters.errors_told import failure_inside, says_an_error
from flotilla.inference.adapters.failures import misshapen
from flotilla.inference.adapters.finish_reasons import Protocol, is_complete, settled
from flotilla.inference.adapters.streams import Gathered, model_name
from flotilla.inference.adapters.token_counts import token_count, unknown_usage, usage_of
from flotilla.inference.lenient_json import Joined, lenient_decoder

PROVIDER: Final = "anthropic"
TOOL_BLOCKS: Final = frozenset({"tool_use", "server_tool_use", "mcp_tool_use"})
_COUNTS: Final = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")


class Said(Struct):
    """A whole message, or any event of a stream: which fields are there goes by `type`."""

    type: Any = None
    error: Any = None
    model: Any = None
    content: Any = None
    stop_reason: Any = None
    usage: Any = None
    message: Any = None
    content_block: Any = None
    delta: Any = None


decode_said: Final[Callable[[bytes], Said]] = lenient_decoder(Said)


class Reading:
    """
    Reads one answer, whole or event by event, into `gathered`.

    Args:
        asked: The model that was asked for.
        gathered: Gets what the server says about it; the text comes from `take` and `end`.

    Attributes:
        stopped: The last event has come, or the whole message.
    """

    def __init__(self, asked: str, gathered: Gathered) -> None:
        self._asked = asked
        self._gathered = gathered
        self._joined = Joined()
        self._reason: Any = None
        self._tokens: dict[str, int | None] = {}
        self._called_a_tool = False
        self.stopped = False

    def take(self, said: Said, *, whole: bool) -> str:
        """
        Take an event, or the whole message; give the text in it, possibly "".

        Raises:
            AttemptError: It is an error, or a whole answer that is no message.
        """
        if says_an_error(said.error) or said.type == "error":
            raise failure_inside(said.error or {}, PROVIDER, self._gathered.usage)
        if whole:
            return self._joined.feed(self._message(said))
        started = _fields(said.message)
        self._begin(started.get("model"), started.get("usage"))
        self._count(said.usage)
        delta = _fields(said.delta)
        self._reason = settled(self._reason, delta.get("stop_reason"))
        self.stopped = self.stopped or said.type == "message_stop"
        return self._joined.feed(self._text(said.type, _fields(said.content_block), delta))

    def end(self) -> str:
        """
        Say that the answer is over; give the text that was withheld.

        Raises:
            AttemptError: It was none: refused, broken off, or not what was asked for.
        """
        usage = self._gathered.usage
        if self._called_a_tool:
            text = f"{PROVIDER}: the model called a tool, and has none"
            raise AttemptError(FailureKind.INVALID_OUTPUT, text, usage=usage)
        if not self.stopped:
            raise self._gathered.cut(PROVIDER)
        self._gathered.complete = is_complete(Protocol.ANTHROPIC, self._reason, provider=PROVIDER, usage=usage)
        return self._joined.end()

    def _message(self, said: Said) -> str:
        blocks = _list(said.content)
        if blocks is None:
            raise misshapen(PROVIDER)
        self.stopped = True
        self._begin(said.model, said.usage)
        self._reason = said.stop_reason
        return "".join(self._block(_fields(block)) for block in blocks)

    def _begin(self, model: Any, usage: Any) -> None:
        if model is not None:
            self._gathered.model = model_name(model)
            if not self._tokens:
                # It may be paid for, whatever becomes of it.
                self._gathered.usage = unknown_usage(PROVIDER)
        self._count(usage)

    def _count(self, usage: Any) -> None:
        """Counts are cumulative; those that an update leaves out, or says as 0 instead, stand."""
        said = {name: count for name in _COUNTS if (count := token_count(_fields(usage).get(name))) is not None}
        if said:
            self._tokens |= {name: max(count, self._tokens.get(name) or 0) for name, count in said.items()}
            self._gathered.usage = self._usage()

    def _usage(self) -> Usage:
        tokens = self._tokens
        read, written = tokens.get("cache_read_input_tokens"), tokens.get("cache_creation_input_tokens")
        given = [count for count in (tokens.get("input_tokens"), read, written) if count is not None]
        return usage_of(
            PROVIDER,
            self._gathered.model,
            self._asked,
            input_tokens=sum(given) if given else None,
            output_tokens=tokens.get("output_tokens"),
            cache_read_tokens=read,
            cache_write_tokens=written,
        )

    def _text(self, event: Any, block: dict[str, Any], delta: dict[str, Any]) -> str:
        if event == "content_block_start":
            return self._block(block)
        if event == "content_block_delta" and delta.get("type") == "text_delta":
            return _string(delta.get("text"))
        return ""

    def _block(self, block: dict[str, Any]) -> str:
        self._called_a_tool = self._called_a_tool or block.get("type") in TOOL_BLOCKS
        return _string(block.get("text")) if block.get("type") == "text" else ""


def _fields(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any] | None:
    return cast("list[Any]", value) if isinstance(value, list) else None


def _string(value: Any) -> str:
    return value if isinstance(value, str) else ""
