"""
From what a provider answered to one of the wire's failure kinds.

Providers quote the prompt in their errors (`"Invalid value: 'Dear Dr. ...'"`), so a message here is made of the status
and the provider's own error type and code, never of its text. The text is only searched, to tell kinds apart that
share a status. What of the provider's sentence may be shown is judged where the prompt is known (`provider_sentences`).
"""

import asyncio
import contextlib
import math
import re
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import ClassVar, Final

from flotilla.capabilities.errors import AttemptError
from flotilla.contracts.attempts import Usage
from flotilla.contracts.failures import FailureKind
from flotilla.inference.adapters.error_texts import kind_in_text, status_in_text
from flotilla.inference.adapters.rate_limits import room_again_s, told_delay_s
from flotilla.inference.adapters.token_counts import broken_off

CONNECT_TIMEOUT_S: Final = 5.0
CONNECTIONS_MAX: Final = 64
RETRY_AFTER_MAX_S: Final = 86_400.0
BODY_SEARCHED_MAX: Final = 10_000
LABELS_MAX: Final = 2
ROOM_TOKENS_MIN: Final = 64
"""Of the context, left over by a prompt: an answer bound below this is no use, another route may have more room."""
CAPACITY_EXCEEDED: Final = 498
"""Groq's, of its flexible tier: there is no room at the moment."""
CLIENT_CLOSED_REQUEST: Final = 499
"""Of a gateway that has lost the call on its own way."""
ORIGIN_TIMEOUT: Final = 524
"""Cloudflare's, of a server behind it that took the request and was too slow."""

_LABEL: Final = re.compile(r"[A-Za-z0-9_.\-]{1,64}")
_STATUS_LABEL: Final = re.compile(r"[45]\d\d")
_ANY_STATUS: Final = {
    "context_length_exceeded": FailureKind.TOO_LARGE,
    "exceed_context_size_error": FailureKind.TOO_LARGE,
    "request_too_large": FailureKind.TOO_LARGE,
    "string_above_max_length": FailureKind.TOO_LARGE,
    "model_max_prompt_tokens_exceeded": FailureKind.TOO_LARGE,
    "model_not_found": FailureKind.UNKNOWN_MODEL,
    "invalid_model": FailureKind.UNKNOWN_MODEL,
    # These come with 400.
    "model_decommissioned": FailureKind.UNKNOWN_MODEL,
    "model_not_available": FailureKind.UNKNOWN_MODEL,
    "model_not_supported": FailureKind.UNKNOWN_MODEL,
    "invalid_api_key": FailureKind.AUTH,
    "unsupported_country_region_territory": FailureKind.AUTH,
    # These come with 429 or 400, and do not pass by waiting.
    "insufficient_quota": FailureKind.AUTH,
    "insufficient_user_quota": FailureKind.AUTH,
    "exceeded_current_quota_error": FailureKind.AUTH,
    "billing_hard_limit_reached": FailureKind.AUTH,
    "billing_not_active": FailureKind.AUTH,
    "Arrearage": FailureKind.AUTH,
    # These come with 403, of the input and not of the key.
    "content_policy_violation": FailureKind.REFUSED,
    "content_filter": FailureKind.REFUSED,
    # Groq looks at what a model wrote, and calls it a wrong request (400) when it is not what was asked for.
    "json_validate_failed": FailureKind.INVALID_OUTPUT,
    "output_parse_failed": FailureKind.INVALID_OUTPUT,
    "tool_use_failed": FailureKind.INVALID_OUTPUT,
}
_IN_STREAM: Final = {
    "rate_limit_error": FailureKind.RATE_LIMITED,
    "rate_limit_exceeded": FailureKind.RATE_LIMITED,
    "timeout_error": FailureKind.TIMEOUT,
    "authentication_error": FailureKind.AUTH,
    "permission_error": FailureKind.AUTH,
    "billing_error": FailureKind.AUTH,
    "not_found_error": FailureKind.UNKNOWN_MODEL,
    "invalid_request_error": FailureKind.REFUSED,
}
_BY_STATUS: Final[dict[int, FailureKind]] = {
    HTTPStatus.UNAUTHORIZED: FailureKind.AUTH,
    HTTPStatus.PAYMENT_REQUIRED: FailureKind.AUTH,
    HTTPStatus.FORBIDDEN: FailureKind.AUTH,
    HTTPStatus.NOT_FOUND: FailureKind.UNKNOWN_MODEL,
    HTTPStatus.GONE: FailureKind.UNKNOWN_MODEL,
    HTTPStatus.REQUEST_TIMEOUT: FailureKind.TIMEOUT,
    # Of the moment and not of the request: the SDKs of the providers try these again.
    HTTPStatus.CONFLICT: FailureKind.UNAVAILABLE,
    HTTPStatus.FAILED_DEPENDENCY: FailureKind.UNAVAILABLE,
    HTTPStatus.TOO_EARLY: FailureKind.UNAVAILABLE,
    CAPACITY_EXCEEDED: FailureKind.UNAVAILABLE,
    CLIENT_CLOSED_REQUEST: FailureKind.UNAVAILABLE,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: FailureKind.TOO_LARGE,
    HTTPStatus.TOO_MANY_REQUESTS: FailureKind.RATE_LIMITED,
    # Of a model that cannot do what is asked (Ollama and llama.cpp, for embeddings); it will not learn to.
    HTTPStatus.NOT_IMPLEMENTED: FailureKind.REFUSED,
    HTTPStatus.GATEWAY_TIMEOUT: FailureKind.TIMEOUT,
    ORIGIN_TIMEOUT: FailureKind.TIMEOUT,
}


def failure_of(
    provider: str,
    status: int,
    *,
    labels: Sequence[object] = (),
    text: str = "",
    headers: Mapping[str, str] | None = None,
    usage: Usage | None = None,
    said: str = "",
) -> AttemptError:
    """
    Name the failure that a provider answered with.

    Args:
        provider: For the message.
        status: The HTTP status; 200 for an error that came inside a stream.
        labels: The provider's error type and code, unchecked; those that look like identifiers enter the message.
        text: The error's body; searched and forgotten.
        headers: The response's, case-insensitive, for `Retry-After`.
        usage: Tokens spent before it failed; None for nothing, or of a timeout for what is not known.
        said: The provider's sentence, kept for `provider_sentences`.
    """
    found = [str(label) for label in labels if label is not None and _LABEL.fullmatch(str(label))]
    named = list(dict.fromkeys(found))[:LABELS_MAX]
    place = f"HTTP {status}" if status != HTTPStatus.OK else "error in the stream"
    message = " ".join([f"{provider}: {place}", *named])
    searched = text[:BODY_SEARCHED_MAX]
    kind = _kind(status, named, searched)
    delay_s = retry_after_s(headers or {})
    if delay_s is None and (told_s := told_delay_s(searched)) is not None:
        delay_s = min(told_s, RETRY_AFTER_MAX_S)
    if delay_s is None and kind is FailureKind.RATE_LIMITED:
        delay_s = room_again_s(headers or {}, searched, datetime.now(tz=UTC))
        delay_s = delay_s and min(delay_s, RETRY_AFTER_MAX_S)
    if usage is None and kind is FailureKind.TIMEOUT:
        # What was behind the gateway may have computed it, and charges for that.
        usage = broken_off(provider, Usage())
    return AttemptError(kind, message, retry_after_s=delay_s, usage=usage, said=said)


def _kind(status: int, labels: Sequence[str], text: str) -> FailureKind:
    known = _IN_STREAM | _ANY_STATUS if status == HTTPStatus.OK else _ANY_STATUS
    if kinds := [known[label] for label in labels if label in known]:
        limited = kinds[0] is FailureKind.RATE_LIMITED
        return (limited and kind_in_text(HTTPStatus.TOO_MANY_REQUESTS, text)) or kinds[0]
    if status == HTTPStatus.OK:
        # vLLM and llama.cpp put the status that they would have sent into the error's code.
        named = next((int(label) for label in labels if _STATUS_LABEL.fullmatch(label)), None)
        status = named or status_in_text(text) or HTTPStatus.INTERNAL_SERVER_ERROR
    if (kind := kind_in_text(status, text)) is not None:
        return kind
    client_error = HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR
    # Unavailable are 5xx, Anthropic's 529, and redirects: following one could carry a document to another host.
    return _BY_STATUS.get(status, FailureKind.REFUSED if client_error else FailureKind.UNAVAILABLE)


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """
    Seconds to wait as the provider asked, 0 to `RETRY_AFTER_MAX_S`; None when it did not ask, or not legibly.

    `retry-after-ms` (OpenAI) goes before `Retry-After`, in seconds or as an HTTP date (RFC 9110, 10.2.3).
    """
    for name, unit_s in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(name, "").strip()
        if not value:
            continue
        with contextlib.suppress(ValueError):
            seconds = float(value) * unit_s
            if math.isfinite(seconds):
                return min(max(seconds, 0.0), RETRY_AFTER_MAX_S)
            continue
        with contextlib.suppress(ValueError, OverflowError):
            date = parsedate_to_datetime(value)
            if date.tzinfo is None:
                date = date.replace(tzinfo=UTC)
            return min(max((date - datetime.now(tz=UTC)).total_seconds(), 0.0), RETRY_AFTER_MAX_S)
    return None


class EndedHere(Exception):  # noqa: N818  (a mixin for errors of the HTTP library)
    """A call that this side ended, or did not begin; the text is safe for callers."""

    kind: ClassVar[FailureKind]


def unreachable(provider: str, error: BaseException, usage: Usage | None = None) -> AttemptError:
    """No connection, or one that broke before the whole answer was here; names the error's class only."""
    if isinstance(error, EndedHere):
        return AttemptError(error.kind, f"{provider}: {error}", usage=usage)
    return AttemptError(FailureKind.UNAVAILABLE, f"{provider}: connection failed ({type(error).__name__})", usage=usage)


def too_slow(provider: str, error: BaseException, usage: Usage | None = None) -> AttemptError:
    """A timeout below the call's own: connecting took longer than `CONNECT_TIMEOUT_S`."""
    return AttemptError(FailureKind.TIMEOUT, f"{provider}: timed out ({type(error).__name__})", usage=usage)


def not_json(provider: str) -> AttemptError:
    """
    A success whose body is not JSON: what answered is not the provider but a proxy or a login page, or was cut.

    It counts as unavailable, so that another replica or route is tried; JSON of the wrong shape is `misshapen`.
    """
    return AttemptError(FailureKind.UNAVAILABLE, f"{provider}: the answer is not JSON")


def misshapen(provider: str) -> AttemptError:
    """A success in JSON that is not the provider's protocol."""
    return AttemptError(FailureKind.CRASHED, f"{provider}: the answer is not of the protocol's shape")


def refused(provider: str, reason: str, usage: Usage) -> AttemptError:
    """The model or a filter declined; `reason` is the protocol's word for it."""
    return AttemptError(FailureKind.REFUSED, f"{provider}: declined ({reason})", usage=usage)


@contextlib.asynccontextmanager
async def deadline(provider: str, timeout_s: float, spent: Callable[[], Usage] | None = None) -> AsyncGenerator[None]:
    """
    Bound a whole call, a slow stream included.

    Args:
        provider: For the message.
        timeout_s: From now on.
        spent: What was counted of the call, which was sent and may be charged for.

    Raises:
        AttemptError: TIMEOUT, when `timeout_s` are over; the request is cancelled, which closes its connection.
    """
    scope = asyncio.timeout(timeout_s)
    try:
        async with scope:
            yield
    except TimeoutError as error:
        if not scope.expired():
            raise
        usage = None if spent is None else broken_off(provider, spent())
        text = f"{provider}: no whole answer within {timeout_s:g} s"
        raise AttemptError(FailureKind.TIMEOUT, text, usage=usage) from error
