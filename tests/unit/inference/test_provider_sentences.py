"""What of a provider's own words anybody may read."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flotilla.capabilities.errors import AttemptError
from flotilla.contracts.attempts import Usage
from flotilla.contracts.failures import FailureKind
from flotilla.inference.provider_sentences import (
    HIDDEN,
    REQUEST_CHARS_MAX,
    SENTENCE_CHARS_MAX,
    explained,
    safe_sentence,
)

DOCUMENT = "Dear Dr. Winifred Oduya, I was charged 55512 dollars twice for the consultation."


@pytest.mark.parametrize(
    "said",
    [
        "You exceeded your current quota, please check your plan and billing details.",
        "model 'llama3.2' not found, try pulling it first",
        "Your credit balance is too low to access the Anthropic API.",
        "This model's maximum context length is 4096 tokens. However, you requested 8292 tokens.",
        "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
        "The server is currently overloaded with other requests. Sorry about that!",
        "model requires more system memory than is available",
    ],
)
def test_a_sentence_of_the_providers_own_is_told_whole(said: str) -> None:
    """It says what the operator has to mend."""
    assert said == safe_sentence(said, request=[DOCUMENT], model="llama3.2")


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("Invalid value: 'Dear Dr. Winifred'. Supported values are: 'system' and 'user'.", None),
        ("The patient Winifred Oduya paid 55512 for it", "The … for it"),
        ("Your prompt about Winif... was refused by the filter", "Your prompt about …... was refused by the …"),
        ("Dear Dr. Winifred Oduya, I was charged", ""),
        ("your prompt was refused: \u60a3\u8005\u5f20\u4e09", "your prompt was refused: …"),
        ("see https://example.org/?q=Winifred and try again later", "see … and try again later"),
        (
            "Rate limit reached in organization org-abc123XYZ on tokens",
            "Rate limit reached in organization … on tokens",
        ),
        ('the words Wini"is"fred and Oduya/model were refused here', "the … and … refused …"),
        ("<html><body>Winifred</body></html>", ""),
        ("no", ""),
        ("", ""),
    ],
)
def test_what_may_be_the_callers_is_left_out(said: str, told: str | None) -> None:
    """Words of the request, parts of them, and whatever nobody can judge."""
    found = safe_sentence(said, request=[DOCUMENT])

    assert not re.search(r"winif|oduya|dear|55512|consult", found, re.IGNORECASE)
    assert told is None or told == found


def test_a_sentence_that_quotes_the_request_is_told_in_plain_words_only() -> None:
    """What stands beside a quotation is about it."""
    told = safe_sentence("The diagnosis of Oduya, model not available", request=[DOCUMENT])

    assert f"The {HIDDEN} of {HIDDEN}, model not available" == told


def test_of_a_refused_key_nothing_is_told_but_plain_words() -> None:
    """A key may look like any word."""
    said = "Incorrect API key provided: mysecretkey. You can find your API key in the console."
    failed = AttemptError(FailureKind.AUTH, "openai: HTTP 401 invalid_api_key", said=said)

    told = explained(failed, request=["hello"], model="m")

    assert (
        "openai: HTTP 401 invalid_api_key: Incorrect API key provided: …. You can find your API key in the console."
        == (told.message)
    )


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("The team harbour-pilots is not allowed here", "The team … is not allowed here"),
        ("the key sk-harbour is over its limit", "the key … is over its limit"),
        ("unknown header value 'pilots'", "unknown header value …"),
        ("the tenant of lighthousekeepers may not use this model", "the tenant of … may not use this model"),
        ("region 7 of tenant 42 is not available", "region 7 of tenant … is not available"),
    ],
)
def test_of_the_key_and_of_other_headers_nothing_is_told(said: str, told: str) -> None:
    """Whole or in part; words that the request does not have, and that look like any others."""
    secrets = ("sk-harbour-1234", "harbour-pilots and others", "Keepers", "42")
    failed = AttemptError(FailureKind.REFUSED, "vllm: HTTP 400", said=said)

    assert said == safe_sentence(said, request=["hello"])
    assert told == safe_sentence(said, request=["hello"], secrets=secrets)
    assert f"vllm: HTTP 400: {told}" == explained(failed, request=["hello"], model="m", secrets=secrets).message


def test_of_what_a_model_wrote_nothing_is_told_but_plain_words() -> None:
    """A server that cannot read the output quotes it, and it may be the document in another language."""
    said = "Failed to parse input at pos 12: Arztbrief Lungenentzuendung"
    failed = AttemptError(FailureKind.INVALID_OUTPUT, "llamacpp: HTTP 500 server_error", said=said)

    told = explained(failed, request=["pneumonia"], model="m")

    assert "Arztbrief" not in told.message
    assert "Lungenentzuendung" not in told.message


def test_everything_else_of_the_failure_stays() -> None:
    """Its kind, its delay and its price; without a sentence it is the very same."""
    failed = AttemptError(
        FailureKind.RATE_LIMITED, "m", retry_after_s=3.0, usage=Usage(input_tokens=1), said="please try again later"
    )

    told = explained(failed, request=["hello"], model="m")
    silent = AttemptError(FailureKind.RATE_LIMITED, "m")

    assert (FailureKind.RATE_LIMITED, 3.0, Usage(input_tokens=1)) == (told.kind, told.retry_after_s, told.usage)
    assert "m: please try again later" == told.message
    assert silent is explained(silent, request=[], model="m")


def test_a_long_request_is_not_searched() -> None:
    """Nobody waits for that; then plain words alone are told."""
    told = safe_sentence("please check the consultation fees", request=["x" * (REQUEST_CHARS_MAX + 1)])

    assert f"please check the {HIDDEN}" == told


@given(
    st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=8),
    st.lists(st.sampled_from(["the prompt", "is", "invalid:", "model", "'", '"', "(", "`"]), max_size=6),
)
def test_no_word_of_a_request_gets_through(secret: list[str], around: list[str]) -> None:
    """However the provider puts it."""
    request = " ".join(secret)
    words = [word for word in re.findall(r"\w+", request) if len(word) > 3]
    said = " ".join(part for pair in zip(around * 8, secret, strict=False) for part in pair) or request

    told = safe_sentence(said, request=[request])

    plain = set(re.findall(r"\w+", safe_sentence(said, request=[request], plain=True).casefold()))
    shown = set(re.findall(r"\w+", told.casefold()))
    assert not {word.casefold() for word in words} & (shown - plain)


@given(st.text(max_size=3000), st.text(max_size=50))
def test_any_text_becomes_one_short_line(said: str, request: str) -> None:
    """Of characters that no terminal minds."""
    told = safe_sentence(said, request=[request])

    assert len(told) <= SENTENCE_CHARS_MAX
    assert all(character == HIDDEN or " " <= character <= "~" for character in told)
