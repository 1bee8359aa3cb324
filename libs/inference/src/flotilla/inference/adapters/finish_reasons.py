"""
Why an answer ended, in the providers' words. Pure.

Only a word that is known to mean "complete" makes an answer of a text: gateways and servers end half answers with
words of their own (`error`, `SAFETY`, `abort`, `insufficient_system_resource`), and new ones come with every version.
What means "complete" differs between the protocols, what means something else does not, so the words of all providers
that are spoken to through OpenAI's protocol stand together. Capitals do not count: gateways pass on `STOP` or `stop`.
"""

import re
from enum import Enum
from typing import Final, cast

from flotilla.capabilities.errors import AttemptError
from flotilla.contracts.attempts import Usage
from flotilla.contracts.failures import FailureKind


class Protocol(Enum):
    """Whose protocol an answer came in; servers that imitate one are spoken to in it."""

    OPENAI = "openai"
    ANTHROPIC = "anthropic"
    OLLAMA = "ollama"


_COMPLETE: Final[dict[Protocol, frozenset[str]]] = {
    # `eos` is Together's word, `eos_token` and `stop_sequence` are TGI's, `end_turn` and Cohere's COMPLETE are native
    # words that gateways pass on; Gemini's is STOP.
    Protocol.OPENAI: frozenset({"stop", "eos", "eos_token", "stop_sequence", "end_turn", "complete"}),
    Protocol.ANTHROPIC: frozenset({"end_turn", "stop_sequence"}),
    Protocol.OLLAMA: frozenset({"stop"}),
}
_CUT: Final = frozenset(
    {
        *("length", "max_tokens", "max_output_tokens", "model_length", "token_limit", "context_length"),
        *("model_context_window_exceeded", "context_window_exceeded"),
    }
)
"""The output limit, or the end of the model's context: the text so far is what the caller's limit allows."""

_REFUSED: Final = frozenset(
    {
        *("content_filter", "content_filtered", "refusal", "safety", "recitation", "language", "blocklist", "spii"),
        *("prohibited_content", "image_safety", "image_prohibited_content", "image_recitation", "model_armor"),
        *("sensitive", "guardrail_intervened", "error_toxic"),
    }
)
_UNAVAILABLE: Final = frozenset(
    {
        *("error", "network_error", "abort", "aborted", "cancelled", "canceled", "user_cancel", "interrupted"),
        *("insufficient_system_resource", "overloaded", "load", "unload", "unavailable", "error_limit", "failed"),
    }
)
_TIMEOUT: Final = frozenset({"timeout", "time_limit", "timed_out"})
_INVALID_OUTPUT: Final = frozenset(
    {
        *("tool_calls", "tool_call", "tool_use", "function_call", "pause_turn", "malformed_function_call"),
        *("malformed_response", "unexpected_tool_call", "too_many_tool_calls", "missing_thought_signature"),
        *("repetition", "repetition_truncation", "no_image", "image_other"),
    }
)
"""The model wrote what nobody asked for: no tools are ever offered."""

_FAILURES: Final[dict[str, FailureKind]] = {
    **dict.fromkeys(_REFUSED, FailureKind.REFUSED),
    **dict.fromkeys(_UNAVAILABLE, FailureKind.UNAVAILABLE),
    **dict.fromkeys(_TIMEOUT, FailureKind.TIMEOUT),
    **dict.fromkeys(_INVALID_OUTPUT, FailureKind.INVALID_OUTPUT),
}
_SAYABLE: Final = re.compile(r"[a-z0-9_.\-]{1,64}")


def is_complete(protocol: Protocol, reason: object, *, provider: str, usage: Usage | None = None) -> bool:
    """
    Whether an answer is whole; False when it was cut at its output limit.

    Args:
        protocol: Which words may mean "complete".
        reason: The provider's word, as it was decoded. Nothing at all (None, "", and the text `null`) means that the
            answer broke off; whether its stream had an end marker makes no difference.
        provider: For the message.
        usage: For the error; the tokens were spent all the same.

    Raises:
        AttemptError: It ended for any other reason: REFUSED by a filter, UNAVAILABLE when the server gave up or said
            nothing, INVALID_OUTPUT when the model called a tool or broke down, CRASHED for a word that is not known.
    """
    word = _word(reason)
    if word in _COMPLETE[protocol]:
        return True
    if word in _CUT:
        return False
    raise _ended(word, provider, usage)


def settled(before: object, now: object) -> object:
    """
    The word that counts of two in one answer: the later one, since some servers say `stop` in every chunk.

    Not one that says nothing, as in chunks that follow the last text; and nothing makes an answer whole that has failed.
    """
    return before if not _word(now) or _word(before) in _FAILURES else now


def foreign_end(reason: object, *, provider: str, usage: Usage | None = None) -> AttemptError | None:
    """
    The failure in a gateway's second word (OpenRouter's `native_finish_reason`), None when it names none.

    It comes beside the gateway's own word and in any vendor's vocabulary, so only what is known to be bad counts.
    """
    word = _word(reason)
    return _ended(word, provider, usage) if word in _FAILURES else None


def says_cut(reason: object) -> bool:
    """Whether a word, in any vendor's vocabulary, means that the answer was cut at a limit."""
    return _word(reason) in _CUT


def _word(reason: object) -> str:
    if isinstance(reason, dict):
        # SGLang's own form; its type is the word.
        reason = cast("dict[str, object]", reason).get("type")
    if reason is None:
        return ""
    # Gemini's compatible endpoint says `content_filter: RECITATION`.
    word = str(reason).partition(":")[0].strip().lower() if isinstance(reason, str) else "?"
    return "" if word in {"null", "none"} else word


def _ended(word: str, provider: str, usage: Usage | None) -> AttemptError:
    if not word:
        return AttemptError(
            FailureKind.UNAVAILABLE, f"{provider}: the answer ended without a finish reason", usage=usage
        )
    kind = _FAILURES.get(word, FailureKind.CRASHED)
    if kind is FailureKind.REFUSED:
        return AttemptError(kind, f"{provider}: declined ({word})", usage=usage)
    said = word if _SAYABLE.fullmatch(word) else "a word that is not known"
    return AttemptError(kind, f"{provider}: the answer is not whole, it ended with {said}", usage=usage)
