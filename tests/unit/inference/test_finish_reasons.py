"""Which words end a whole answer, and what the others mean."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flotilla.capabilities.errors import AttemptError
from flotilla.contracts.attempts import Usage
from flotilla.contracts.failures import FailureKind
from flotilla.inference.adapters.finish_reasons import Protocol, foreign_end, is_complete, settled

COMPLETE = {
    Protocol.OPENAI: ("stop", "STOP", " Stop", "eos", "eos_token", "stop_sequence", "end_turn", "COMPLETE"),
    Protocol.ANTHROPIC: ("end_turn", "stop_sequence"),
    Protocol.OLLAMA: ("stop",),
}
CUT = ("length", "LENGTH", "MAX_TOKENS", "max_tokens", "model_length", "model_context_window_exceeded")


def kind(protocol: Protocol, reason: object) -> FailureKind:
    with pytest.raises(AttemptError) as caught:
        is_complete(protocol, reason, provider="p", usage=Usage(input_tokens=3))
    assert 3 == caught.value.usage.input_tokens
    return caught.value.kind


@pytest.mark.parametrize(("protocol", "reason"), [(each, word) for each, words in COMPLETE.items() for word in words])
def test_a_word_for_a_whole_answer(protocol: Protocol, reason: str):
    """
    Of the protocol, or of a server behind it.
    """
    assert is_complete(protocol, reason, provider="p")
    assert is_complete(protocol, {"type": reason}, provider="p")


@pytest.mark.parametrize("protocol", Protocol)
@pytest.mark.parametrize("reason", CUT)
def test_a_word_for_an_answer_at_its_limit(protocol: Protocol, reason: str):
    """
    The caller decides what half an answer is worth.
    """
    assert not is_complete(protocol, reason, provider="p")


@pytest.mark.parametrize("protocol", Protocol)
@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("content_filter", FailureKind.REFUSED),
        ("content_filter: RECITATION", FailureKind.REFUSED),
        ("SAFETY", FailureKind.REFUSED),
        ("RECITATION", FailureKind.REFUSED),
        ("PROHIBITED_CONTENT", FailureKind.REFUSED),
        ("SPII", FailureKind.REFUSED),
        ("refusal", FailureKind.REFUSED),
        ("sensitive", FailureKind.REFUSED),
        ("error", FailureKind.UNAVAILABLE),
        ("network_error", FailureKind.UNAVAILABLE),
        ("abort", FailureKind.UNAVAILABLE),
        ("insufficient_system_resource", FailureKind.UNAVAILABLE),
        ("load", FailureKind.UNAVAILABLE),
        ("time_limit", FailureKind.TIMEOUT),
        ("tool_calls", FailureKind.INVALID_OUTPUT),
        ("tool_use", FailureKind.INVALID_OUTPUT),
        ("function_call", FailureKind.INVALID_OUTPUT),
        ("MALFORMED_FUNCTION_CALL", FailureKind.INVALID_OUTPUT),
        ("OTHER", FailureKind.CRASHED),
        ("FINISH_REASON_UNSPECIFIED", FailureKind.CRASHED),
        ("half the answer is here", FailureKind.CRASHED),
        (7, FailureKind.CRASHED),
        (["stop"], FailureKind.CRASHED),
        (None, FailureKind.UNAVAILABLE),
        ("", FailureKind.UNAVAILABLE),
        ("null", FailureKind.UNAVAILABLE),
    ],
)
def test_every_other_word_is_a_failure_of_its_kind(protocol: Protocol, reason: object, expected: FailureKind):
    """
    Whatever the protocol it came in.
    """
    assert expected is kind(protocol, reason)


def test_what_one_protocol_calls_complete_another_does_not_know():
    """
    Ollama's servers never say `end_turn`; one that does is something else.
    """
    assert FailureKind.CRASHED is kind(Protocol.OLLAMA, "end_turn")
    assert FailureKind.CRASHED is kind(Protocol.ANTHROPIC, "stop")


KNOWN = {word.strip().lower() for words in COMPLETE.values() for word in words} | {
    *(word.lower() for word in CUT),
    *("max_output_tokens", "token_limit", "context_length", "context_window_exceeded"),
}


@given(protocol=st.sampled_from(Protocol), reason=st.text(max_size=80))
def test_no_unknown_word_makes_an_answer_or_is_repeated(protocol: Protocol, reason: str):
    """
    A word of one's own could hold the document.
    """
    if reason.partition(":")[0].strip().lower() in KNOWN:
        return
    with pytest.raises(AttemptError) as caught:
        is_complete(protocol, reason, provider="p")
    message = caught.value.message
    assert message.isascii()
    assert len(message) < 160
    assert " " not in reason.strip() or reason not in message


def test_a_gateways_second_word_counts_only_when_it_is_known_to_be_bad():
    """
    It comes from any vendor, in any words.
    """
    for harmless in (None, "", "completed", "STOP", "end_turn", "max_tokens", "FINISHED"):
        assert foreign_end(harmless, provider="p") is None
    found = foreign_end("MALFORMED_FUNCTION_CALL", provider="p")
    assert found is not None
    assert FailureKind.INVALID_OUTPUT is found.kind


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((None, "stop"), "stop"),
        (("stop", ""), "stop"),
        (("stop", None), "stop"),
        (("", "", "length", ""), "length"),
        (("stop", "length"), "length"),
        (("stop", "SAFETY"), "SAFETY"),
        (("error", "stop"), "error"),
        (("content_filter", "stop"), "content_filter"),
        ((None, "null"), None),
    ],
)
def test_of_several_words_the_last_counts_that_says_something(words: tuple[object, ...], expected: object):
    """
    Unless one before it said that the answer failed.
    """
    reason: object = None
    for word in words:
        reason = settled(reason, word)

    assert expected == reason
