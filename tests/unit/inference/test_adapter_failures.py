"""How a provider's error becomes a failure kind, and how a stream is gathered."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from flotilla.capabilities.errors import AttemptError
from flotilla.contracts.attempts import Usage
from flotilla.contracts.failures import FailureKind
from flotilla.inference.adapters.failures import RETRY_AFTER_MAX_S, failure_of, retry_after_s
from flotilla.inference.adapters.rate_limits import room_again_s
from flotilla.inference.adapters.streams import TEXT_LENGTH_MAX, Gathered

LLAMACPP_UNPARSED = "The model produced output that does not match the expected"


@pytest.mark.parametrize(
    ("headers", "expected_s"),
    [
        ({}, None),
        ({"retry-after": "30"}, 30.0),
        ({"retry-after": " 1.5 "}, 1.5),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "1e12"}, RETRY_AFTER_MAX_S),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after-ms": "soon", "retry-after": "9"}, 9.0),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({"retry-after": "Wed, 99 Oct 2015 07:28:00 GMT"}, None),
    ],
)
def test_the_wait_that_a_provider_asks_for(headers: dict[str, str], expected_s: float | None):
    """
    Seconds, milliseconds or a date; bounded; None when it makes no sense.
    """
    assert expected_s == retry_after_s(headers)


def test_a_date_is_counted_from_now():
    """
    And never further ahead than the bound.
    """
    soon = format_datetime(datetime.now(tz=UTC) + timedelta(seconds=60), usegmt=True)
    assert 55.0 < (retry_after_s({"retry-after": soon}) or 0.0) <= 60.0

    far = format_datetime(datetime.now(tz=UTC) + timedelta(days=400), usegmt=True)
    assert RETRY_AFTER_MAX_S == retry_after_s({"retry-after": far})


@pytest.mark.parametrize(
    ("status", "labels", "text", "kind"),
    [
        (400, ("invalid_request_error", "context_length_exceeded"), "", FailureKind.TOO_LARGE),
        (400, ("exceed_context_size_error", 400), "", FailureKind.TOO_LARGE),
        (400, ("BadRequestError", None), "This model's maximum context length is 4096 tokens", FailureKind.TOO_LARGE),
        (500, (), "input length exceeds the context length", FailureKind.TOO_LARGE),
        (503, (), "input length exceeds the context length", FailureKind.UNAVAILABLE),
        (403, ("x", "model_not_found"), "", FailureKind.UNKNOWN_MODEL),
        (302, (), "", FailureKind.UNAVAILABLE),
        (418, (), "", FailureKind.REFUSED),
        (
            500,
            (),
            "input (5000 tokens) is too large to process. increase the physical batch size",
            FailureKind.TOO_LARGE,
        ),
        (400, (), "{'error': {'message': \"model 'x' not found\"}}", FailureKind.UNKNOWN_MODEL),
        (400, (), "{'error': {'message': 'model is not loaded'}}", FailureKind.UNKNOWN_MODEL),
        (400, (), "{'error': {'message': 'x/y is not a valid model ID', 'code': 400}}", FailureKind.UNKNOWN_MODEL),
        (400, ("invalid_model",), "", FailureKind.UNKNOWN_MODEL),
        (400, (), "{'error': {'message': \"Invalid value: 'a model was not found'\"}}", FailureKind.REFUSED),
        (429, ("insufficient_quota",), "You exceeded your current quota", FailureKind.AUTH),
        (429, ("rate_limit_exceeded",), "", FailureKind.RATE_LIMITED),
        (400, ("invalid_request_error",), "Your credit balance is too low to access the API", FailureKind.AUTH),
        (403, ("content_policy_violation",), "", FailureKind.REFUSED),
        (403, (403,), "{'metadata': {'reasons': ['violence'], 'flagged_input': '...'}}", FailureKind.REFUSED),
        (200, (403,), "Your chosen model requires moderation and your input was flagged", FailureKind.REFUSED),
        (403, (), "Your key has no access to this model", FailureKind.AUTH),
        (400, (), "{'error': 'Incorrect%20API%20key%20provided:%20ab***yz.'}", FailureKind.AUTH),
        (400, (), "Incorrect API key provided: ab***yz. You can obtain an API key from", FailureKind.AUTH),
        (400, ("invalid_request_error", "json_validate_failed"), "Failed to generate JSON", FailureKind.INVALID_OUTPUT),
        (500, ("server_error",), f"{LLAMACPP_UNPARSED} peg-native format", FailureKind.INVALID_OUTPUT),
        (200, ("server_error", "500"), f"{LLAMACPP_UNPARSED} peg-native format", FailureKind.INVALID_OUTPUT),
        (500, ("server_error",), "Failed to parse input at pos 12: <tool", FailureKind.INVALID_OUTPUT),
        (500, (), "error parsing tool call: raw='{', err=unexpected end of JSON input", FailureKind.INVALID_OUTPUT),
        (400, ("invalid_request_error", "tool_use_failed"), "Failed to call a function", FailureKind.INVALID_OUTPUT),
        (409, (), "", FailureKind.UNAVAILABLE),
        (424, (), "", FailureKind.UNAVAILABLE),
        (498, (), "", FailureKind.UNAVAILABLE),
        (499, (), "", FailureKind.UNAVAILABLE),
        (200, ("BadRequestError", 400), "", FailureKind.REFUSED),
        (400, (400, "FAILED_PRECONDITION"), "User location is not supported for the API use.", FailureKind.AUTH),
        (200, ("request_forbidden", "unsupported_country_region_territory"), "", FailureKind.AUTH),
        (
            400,
            ("invalid_request_error",),
            "You have reached your specified API usage limits. You will regain access on 2026-12-01 at 00:00 UTC.",
            FailureKind.AUTH,
        ),
        (400, ("invalid_request_error",), "This organization has been disabled.", FailureKind.AUTH),
        (400, ("Arrearage",), "Access denied, please make sure your account is in good standing.", FailureKind.AUTH),
        (429, ("exceeded_current_quota_error",), "Your account is suspended", FailureKind.AUTH),
        (429, ("1113",), "余额不足或无可用资源包,请充值。", FailureKind.AUTH),
        (429, (), "has either used all available credits or reached its monthly spending limit", FailureKind.AUTH),
        (
            429,
            ("tokens", "rate_limit_exceeded"),
            "Request too large for gpt-4o on tokens per min (TPM): Limit 30000, Requested 342389.",
            FailureKind.TOO_LARGE,
        ),
        (200, ("rate_limit_exceeded",), "Request too large for gpt-5.1 on tokens per min", FailureKind.TOO_LARGE),
        (
            429,
            ("tokens", "rate_limit_exceeded"),
            "Rate limit reached for gpt-4 on tokens per min (TPM): Limit 10000, Used 8554, Requested 3082.",
            FailureKind.RATE_LIMITED,
        ),
        (429, ("rate_limit_error",), "Extra usage is required for long context requests.", FailureKind.TOO_LARGE),
        (400, ("invalid_request_error", "string_above_max_length"), "", FailureKind.TOO_LARGE),
        (400, (), "The model 'llama-3.1-70b' has been decommissioned and is no longer", FailureKind.UNKNOWN_MODEL),
        (400, ("invalid_request_error", "model_decommissioned"), "", FailureKind.UNKNOWN_MODEL),
        (400, ("invalid_request_error", "model_not_available"), "", FailureKind.UNKNOWN_MODEL),
        (400, (), "The parameter `functions` has been deprecated", FailureKind.REFUSED),
        (410, (), "", FailureKind.UNKNOWN_MODEL),
        (524, (), "error code: 524", FailureKind.TIMEOUT),
        (522, (), "error code: 522", FailureKind.UNAVAILABLE),
        (200, (), "Error code: 400 - {'error': {'code': 'content_filter'}}", FailureKind.REFUSED),
        (200, (), "OpenAIException - Error code: 429 - {'error': {'message': '...'}}", FailureKind.RATE_LIMITED),
        (200, (), "Error code: 401 of a document", FailureKind.UNAVAILABLE),
        (200, (503,), "Error code: 400 - {'error': {}}", FailureKind.UNAVAILABLE),
        (200, (), "", FailureKind.UNAVAILABLE),
    ],
)
def test_labels_and_text_tell_kinds_apart(status: int, labels: tuple[object, ...], text: str, kind: FailureKind):
    """
    Where one status stands for several.
    """
    assert kind is failure_of("p", status, labels=labels, text=text).kind


@pytest.mark.parametrize(
    "text",
    [
        "The input token count (218152) exceeds the maximum number of tokens allowed (65536).",
        "Unable to submit request because the input token count is 32825 but model only supports up to 32768.",
        "This model's maximum prompt length is 131072 but the request contains 136973 tokens.",
        "input length and `max_tokens` exceed context limit: 199759 + 8192 > 200000, decrease input length",
        "The decoder prompt (length 9000) is longer than the maximum model length of 4096.",
        "Invalid request: Your request exceeded model token limit: 8192",
        "<400> InternalError.Algo.InvalidParameter: Range of input length should be [1, 30720]",
        "Prompt exceeds max length",
        "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 4090 `inputs` tokens",
        "Invalid 'input[0]': maximum input length is 8192 tokens.",
        "Input tokens exceed the configured limit of 272000 tokens. Your messages resulted in 300000 tokens.",
        "The total length of all messages is too long.",
        "Input validation error: `inputs` must have less than 512 tokens. Given: 600",
        "prompt token count of 130000 exceeds the limit of 128000",
        "Input Tokens Exceeded: Number of input tokens exceeds maximum length. Please update the input to try again.",
        "The input (9000 tokens) is longer than the model's context length (8192 tokens).",
        "Prompt contains 9000 tokens and 0 draft tokens, too large for model with 8192 maximum context length",
    ],
)
def test_a_document_that_is_too_long_in_the_words_of_each_provider(text: str):
    """
    Whoever is told so splits it; a refusal would say that its contents were declined.
    """
    for status in (400, 422):
        assert FailureKind.TOO_LARGE is failure_of("p", status, text=str({"error": {"message": text}})).kind


@pytest.mark.parametrize(
    ("text", "expected_s"),
    [
        ("Please try again in 20s.", 20.0),
        ("Rate limit reached. Please try again in 7m12.5s. Visit", 432.5),
        ("Please try again in 250ms.", 0.25),
        ("try again in 1h", 3600.0),
        ("Try again in 30 seconds", 30.0),
        ("exceeded token rate limit of your current pricing tier. Please retry after 86400 seconds.", 86_400.0),
        ("try again in 999h", RETRY_AFTER_MAX_S),
        ("please try again in a while", None),
        ("'retryDelay': '3.5s'", 3.5),
    ],
)
def test_the_wait_that_is_told_in_words(text: str, expected_s: float | None):
    """
    Where no header says it.
    """
    assert expected_s == failure_of("p", 429, text=text).retry_after_s
    assert 9.0 == failure_of("p", 429, text=text, headers={"retry-after": "9"}).retry_after_s


def test_a_message_is_made_of_identifiers_only():
    """
    Never of the provider's text, and each label once.
    """
    error = failure_of("p", 400, labels=("a_b", "a_b", "two words", "x" * 65, None), text="the document")

    assert "p: HTTP 400 a_b" == error.message


def test_what_a_gateway_did_not_wait_for_may_be_charged_all_the_same():
    """
    Its provider goes on without it; one's own hardware costs nothing, and a count that was said stands.
    """
    for status in (408, 504, 524):
        assert failure_of("openai", status).usage.cost_usd is None
        assert Usage() == failure_of("vllm", status).usage
        assert Usage(input_tokens=3) == failure_of("openai", status, usage=Usage(input_tokens=3)).usage
    assert Usage() == failure_of("openai", 503).usage


def test_a_stream_has_a_bound():
    """
    What exceeds it would not fit into a reply.
    """
    gathered = Gathered()
    gathered.add("x" * TEXT_LENGTH_MAX)

    with pytest.raises(AttemptError) as caught:
        gathered.add("y")

    assert FailureKind.TOO_LARGE is caught.value.kind


NOW = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1000)


@pytest.mark.parametrize(
    ("headers", "text", "expected_s"),
    [
        ({"x-ratelimit-reset-requests": "6m0s", "x-ratelimit-remaining-requests": "0"}, "", 360.0),
        ({"x-ratelimit-reset-requests": "6m0s", "x-ratelimit-remaining-requests": "9"}, "", None),
        ({"x-ratelimit-reset-requests": "1s", "x-ratelimit-reset-tokens": "2m59.5s"}, "", 179.5),
        ({"x-ratelimit-reset-requests": "172ms"}, "", 0.172),
        ({"x-ratelimit-reset-requests": "1d2h"}, "", 93_600.0),
        ({"anthropic-ratelimit-input-tokens-reset": "2026-11-30T12:00:30Z"}, "", 30.0),
        ({"anthropic-ratelimit-requests-reset": "2026-11-30T11:59:59Z"}, "", None),
        ({"x-ratelimit-reset": str(NOW_MS + 42_000)}, "", 42.0),
        ({"x-ratelimit-reset": str(NOW_MS // 1000 + 42)}, "", 42.0),
        ({"ratelimit-reset": "17"}, "", 17.0),
        ({}, str({"metadata": {"headers": {"X-RateLimit-Reset": str(NOW_MS + 7000)}}}), 7.0),
        ({"x-ratelimit-reset-requests": "soon"}, "X-RateLimit-Reset: later", None),
        ({"x-ratelimit-reset-requests": ""}, "", None),
        ({"x-ratelimit-limit-requests": "60"}, "", None),
    ],
)
def test_when_there_is_room_again_without_retry_after(headers: dict[str, str], text: str, expected_s: float | None):
    """
    In each provider's form; of several limits the one that lasts longest, of those that are used up.
    """
    assert expected_s == pytest.approx(room_again_s(headers, text, NOW))


def test_a_limit_that_is_reached_is_waited_for_and_nothing_else_is():
    """
    Never longer than the bound; `Retry-After` goes first, and an error of another kind says nothing of limits.
    """
    headers = {"x-ratelimit-reset-requests": "9000h"}

    assert RETRY_AFTER_MAX_S == failure_of("p", 429, headers=headers).retry_after_s
    assert 3.0 == failure_of("p", 429, headers=headers | {"retry-after": "3"}).retry_after_s
    assert failure_of("p", 500, headers=headers).retry_after_s is None
    assert failure_of("p", 429).retry_after_s is None
