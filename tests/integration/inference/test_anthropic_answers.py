"""Half answers, errors inside a success, and every form in which Anthropic and gateways say what they have to say."""

import json
from collections.abc import AsyncGenerator
from typing import Any, Final

import pytest

from flotilla.contracts.failures import FailureKind
from flotilla.inference.adapters.anthropic_messages import AnthropicMessages
from flotilla.inference.backend import ModelCall, Turn
from flotilla.testkit.model_calls import both_ways, completion, failure
from flotilla.testkit.provider_anthropic import AnthropicServer
from flotilla.testkit.provider_steps import Garbage

CALL: Final = ModelCall(
    model="claude-haiku-4-5", system="", turns=(Turn(role="user", content="one two three"),), timeout_s=10.0
)
USAGE: Final[dict[str, Any]] = {"input_tokens": 11, "output_tokens": 7}


async def nothing(_: str) -> None:
    """Take a piece."""


@pytest.fixture
async def server() -> AsyncGenerator[AnthropicServer]:
    """A server that speaks the protocol."""
    async with AnthropicServer() as running:
        yield running


@pytest.fixture
async def model(server: AnthropicServer) -> AsyncGenerator[AnthropicMessages]:
    """The adapter for it."""
    made = AnthropicMessages(api_key="sk-1", base_url=server.url)
    yield made
    await made.aclose()


def whole(text: str = "Half an ans", stop: Any = "end_turn", **more: Any) -> dict[str, Any]:
    content = [{"type": "text", "text": text}]
    return {
        "type": "message",
        "model": "claude-haiku-4-5",
        "content": content,
        "stop_reason": stop,
        "usage": USAGE,
        **more,
    }


def stream(*texts: str, stop: Any = "end_turn", **more: Any) -> list[dict[str, Any]]:
    started = {"model": "claude-haiku-4-5", "usage": more.get("usage", {"input_tokens": 11, "output_tokens": 1})}
    return [
        {"type": "message_start", "message": started},
        {"type": "content_block_start", "index": 0, "content_block": more.get("block", {"type": "text", "text": ""})},
        *({"type": "content_block_delta", "delta": {"type": "text_delta", "text": text}} for text in texts),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": stop}, "usage": more.get("last", {"output_tokens": 7})},
        {"type": "message_stop"},
    ]


def sse(events: list[dict[str, Any]], *, end: str = "\n", named: bool = True) -> bytes:
    frames = [
        (f"event: {event['type']}{end}" if named else "") + f"data: {json.dumps(event)}{end}{end}" for event in events
    ]
    return "".join(frames).encode()


def answer(body: dict[str, Any] | list[dict[str, Any]] | bytes) -> Garbage:
    if isinstance(body, dict):
        return Garbage(json.dumps(body).encode(), content_type="application/json")
    return Garbage(body if isinstance(body, bytes) else sse(body), content_type="text/event-stream")


@both_ways
@pytest.mark.parametrize(
    ("stop", "kind"),
    [
        ("refusal", FailureKind.REFUSED),
        ("pause_turn", FailureKind.INVALID_OUTPUT),
        ("tool_use", FailureKind.INVALID_OUTPUT),
        ("content_filtered", FailureKind.REFUSED),
        ("error", FailureKind.UNAVAILABLE),
        ("stop", FailureKind.CRASHED),
        ("a word of next year", FailureKind.CRASHED),
        (None, FailureKind.UNAVAILABLE),
        (7, FailureKind.CRASHED),
    ],
)
async def test_only_words_that_mean_complete_make_an_answer(
    server: AnthropicServer,
    model: AnthropicMessages,
    *,
    streams: bool,
    stop: Any,
    kind: FailureKind,
):
    """
    Half an answer is none, and what it cost is known.
    """
    server.script(answer(stream("Half", " an ans", stop=stop) if streams else whole(stop=stop)))

    failed = await failure(model, CALL, streams=streams)

    assert kind is failed.kind
    assert (11, 7) == (failed.usage.input_tokens, failed.usage.output_tokens)


@both_ways
@pytest.mark.parametrize("stop", ["end_turn", "stop_sequence", "max_tokens", "model_context_window_exceeded"])
async def test_an_answer_is_whole_or_cut_at_its_limit(
    server: AnthropicServer,
    model: AnthropicMessages,
    *,
    streams: bool,
    stop: str,
):
    """
    The kit decides what a cut one is good for.
    """
    server.script(answer(stream("A", " text.", stop=stop) if streams else whole("A text.", stop=stop)))

    done = await completion(model, CALL, streams=streams)

    assert ("A text.", stop in {"end_turn", "stop_sequence"}) == (done.text, done.complete)


@both_ways
@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"type": "overloaded_error", "message": "Overloaded"}, FailureKind.UNAVAILABLE),
        ({"type": "api_error", "message": "one two three"}, FailureKind.UNAVAILABLE),
        ({"type": "rate_limit_error", "message": "slow down"}, FailureKind.RATE_LIMITED),
        ({"type": "authentication_error", "message": "no"}, FailureKind.AUTH),
        ({"type": "invalid_request_error", "message": "no"}, FailureKind.REFUSED),
        ({"message": "upstream", "code": 429}, FailureKind.RATE_LIMITED),
        ("a text", FailureKind.UNAVAILABLE),
        ({}, FailureKind.UNAVAILABLE),
    ],
)
async def test_an_error_inside_a_success_is_a_failure_of_its_kind(
    server: AnthropicServer,
    model: AnthropicMessages,
    *,
    streams: bool,
    error: Any,
    kind: FailureKind,
):
    """
    Whole, as an event, and as the body that came in the place of events.
    """
    said = {"type": "error", "error": error}
    for body in [[*stream("Half")[:3], said], said] if streams else [said, {**whole(), "error": error or "x"}]:
        server.script(answer(body))

        assert kind is (await failure(model, CALL, streams=streams)).kind


async def test_a_whole_answer_where_a_stream_was_asked_for_and_the_reverse(
    server: AnthropicServer, model: AnthropicMessages
):
    """
    Gateways that cannot do the one do the other.
    """
    server.script(answer(whole("A text.")), answer(stream("A", " text.")))

    assert "A text." == (await completion(model, CALL, streams=True)).text
    done = await completion(model, CALL, streams=False)
    assert ("A text.", 7) == (done.text, done.usage.output_tokens)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("named", [True, False])
async def test_events_are_read_as_the_standard_defines_them(
    server: AnthropicServer,
    model: AnthropicMessages,
    end: str,
    *,
    named: bool,
):
    """
    A byte order mark, comments, `retry:`, any line end; the type that counts stands in the data.
    """
    noise = f": a comment{end}retry: 5{end}{end}".encode()
    server.script(answer(b"\xef\xbb\xbf" + noise + sse(stream("A", " text."), end=end, named=named)))

    assert "A text." == (await completion(model, CALL, streams=True)).text


@pytest.mark.parametrize("character", ["\u2028", "\u2029", "\u0085", "\x0b", "\x1c"])
async def test_line_separators_in_a_text_end_no_line(server: AnthropicServer, model: AnthropicMessages, character: str):
    """
    JSON allows them as they are.
    """
    body = b"".join(
        b"event: %b\ndata: %b\n\n" % (event["type"].encode(), json.dumps(event, ensure_ascii=False).encode())
        for event in stream("A", f"{character}text.")
    )
    server.script(answer(body))

    assert f"A{character}text." == (await completion(model, CALL, streams=True)).text


@both_ways
async def test_halves_of_a_character_are_joined_or_replaced(
    server: AnthropicServer,
    model: AnthropicMessages,
    *,
    streams: bool,
):
    """
    Python's own encoder writes half a surrogate pair without a word.
    """
    for pieces, text in ((("a\ud83d", "\ude00b"), "a\U0001f600b"), (("a\ud83d",), "a\ufffd")):
        server.script(answer(stream(*pieces) if streams else whole("".join(pieces))))

        assert text == (await completion(model, CALL, streams=streams)).text


@both_ways
@pytest.mark.parametrize(
    ("said", "counted"),
    [(11.2, 12), ("11", 11), (None, 0), (-4, 0), ("many", 0), (10**400, 1_000_000_000), (float("nan"), 0), (True, 0)],
    ids=["fraction", "text", "null", "negative", "word", "huge", "nan", "bool"],
)
async def test_counts_in_any_form(
    server: AnthropicServer,
    model: AnthropicMessages,
    *,
    streams: bool,
    said: Any,
    counted: int,
):
    """
    No answer is lost for its bookkeeping.
    """
    usage = {"input_tokens": said, "output_tokens": 7}
    server.script(answer(stream("A text.", usage=usage) if streams else whole("A text.", usage=usage)))

    done = await completion(model, CALL, streams=streams)

    assert ("A text.", counted, 7) == (done.text, done.usage.input_tokens, done.usage.output_tokens)


@both_ways
@pytest.mark.parametrize("usage", [None, {}, "none", []])
async def test_a_cost_that_cannot_be_known_is_not_zero(
    server: AnthropicServer,
    model: AnthropicMessages,
    *,
    streams: bool,
    usage: Any,
):
    """
    It is paid for all the same.
    """
    server.script(answer(stream("A text.", usage=usage, last=usage) if streams else whole("A text.", usage=usage)))

    assert (await completion(model, CALL, streams=streams)).usage.cost_usd is None


@both_ways
async def test_blocks_that_are_no_text_are_left_out_and_tools_are_no_answer(
    server: AnthropicServer,
    model: AnthropicMessages,
    *,
    streams: bool,
):
    """
    Thoughts, however they are told; no tool was offered.
    """
    thought = {"type": "thinking", "thinking": "hm", "text": "not this"}
    tool = {"type": "tool_use", "id": "t", "name": "f"}
    if streams:
        server.script(answer(stream("A text.", block=thought)), answer(stream("A text.", block=tool)))
    else:
        text = {"type": "text", "text": "A text."}
        server.script(
            answer(whole(content=[thought, {"type": "redacted_thinking"}, None, text])),
            answer(whole(content=[text, tool])),
        )

    assert "A text." == (await completion(model, CALL, streams=streams)).text
    assert FailureKind.INVALID_OUTPUT is (await failure(model, CALL, streams=streams)).kind


@both_ways
@pytest.mark.parametrize("body", [{}, {"content": None}, {"content": "text"}, {"type": "message"}])
async def test_what_is_no_message_is_no_answer(
    server: AnthropicServer,
    model: AnthropicMessages,
    *,
    streams: bool,
    body: dict[str, Any],
):
    """
    JSON of another shape, whichever was asked for.
    """
    server.script(answer(body))

    assert FailureKind.CRASHED is (await failure(model, CALL, streams=streams)).kind


async def test_an_empty_message_is_an_empty_text(server: AnthropicServer, model: AnthropicMessages):
    """
    The kit takes a blank answer for none.
    """
    server.script(answer(whole(content=[])))

    assert ("", True) == ((done := await completion(model, CALL, streams=False)).text, done.complete)


async def test_the_key_is_tried_by_listing_models(server: AnthropicServer, model: AnthropicMessages):
    """
    Without spending a token.
    """
    server.models = ("claude-haiku-4-5",)

    assert ["claude-haiku-4-5"] == await model.models(timeout_s=5.0)
