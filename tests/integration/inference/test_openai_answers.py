"""Half answers, errors inside a success, and every form in which compatible servers say what they have to say."""

import json
import math
from collections.abc import AsyncGenerator
from typing import Any, cast

import pytest

from flotilla.contracts.attempts import Usage
from flotilla.contracts.failures import FailureKind
from flotilla.inference.adapters.openai_chat import OpenAIChat
from flotilla.inference.backend import ModelCall, Turn
from flotilla.testkit.model_calls import both_ways, completion, failure
from flotilla.testkit.provider_openai import OpenAIServer
from flotilla.testkit.provider_steps import Garbage, Says

CALL = ModelCall(model="gpt-4o", system="", turns=(Turn(role="user", content="one two three"),), timeout_s=10.0)
USAGE: dict[str, Any] = {"prompt_tokens": 11, "completion_tokens": 7}
BOM = b"\xef\xbb\xbf"


async def nothing(_: str) -> None:
    """Take a piece."""


@pytest.fixture
async def server() -> AsyncGenerator[OpenAIServer]:
    """An OpenAI-compatible server."""
    async with OpenAIServer() as running:
        yield running


@pytest.fixture
async def model(server: OpenAIServer) -> AsyncGenerator[OpenAIChat]:
    """The adapter for it, as OpenAI."""
    made = OpenAIChat(api_key="sk-1", base_url=server.url)
    yield made
    await made.aclose()


def whole(message: Any = "Half an ans", finish: Any = "stop", **more: Any) -> dict[str, Any]:
    said = cast("Any", message) if isinstance(message, dict) else {"role": "assistant", "content": message}
    choice: dict[str, Any] = {"index": 0, "message": said, "finish_reason": finish, **more.pop("choice", {})}
    return {"object": "chat.completion", "model": "gpt-4o", "choices": [choice], "usage": USAGE, **more}


def chunk(delta: Any = None, finish: Any = None, **more: Any) -> dict[str, Any]:
    said = cast("Any", delta) if isinstance(delta, dict) else {} if delta is None else {"content": delta}
    choice: dict[str, Any] = {"index": 0, "delta": said, "finish_reason": finish, **more.pop("choice", {})}
    return {"object": "chat.completion.chunk", "model": "gpt-4o", "choices": [choice], **more}


def sse(*frames: Any, done: bool = True) -> bytes:
    texts = [frame if isinstance(frame, str) else json.dumps(frame) for frame in frames]
    return "".join(f"data: {text}\n\n" for text in (*texts, "[DONE]")[: None if done else -1]).encode()


def answer(body: Any, *, streams: bool) -> Garbage:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Garbage(raw, content_type="text/event-stream" if streams else "application/json")


@both_ways
@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("error", FailureKind.UNAVAILABLE),
        ("network_error", FailureKind.UNAVAILABLE),
        ("abort", FailureKind.UNAVAILABLE),
        ("insufficient_system_resource", FailureKind.UNAVAILABLE),
        ("SAFETY", FailureKind.REFUSED),
        ("RECITATION", FailureKind.REFUSED),
        ("content_filter: RECITATION", FailureKind.REFUSED),
        ("MALFORMED_FUNCTION_CALL", FailureKind.INVALID_OUTPUT),
        ("tool_calls", FailureKind.INVALID_OUTPUT),
        ("something new", FailureKind.CRASHED),
        ("", FailureKind.UNAVAILABLE),
    ],
)
async def test_half_an_answer_is_a_failure_of_its_kind(
    server: OpenAIServer, model: OpenAIChat, word: str, kind: FailureKind, *, streams: bool
):
    """
    Its tokens were spent all the same; an end marker alone makes no answer whole.
    """
    server.script(Says("Half an ans", word=word))

    error = await failure(model, CALL, streams=streams)

    assert kind is error.kind
    assert 11 == error.usage.input_tokens


@both_ways
@pytest.mark.parametrize(
    ("word", "complete"), [("STOP", True), ("eos", True), ("length", False), ("MAX_TOKENS", False)]
)
async def test_a_whole_answer_and_one_at_its_limit(
    server: OpenAIServer, model: OpenAIChat, word: str, *, complete: bool, streams: bool
):
    """
    In the words of the server behind the protocol.
    """
    server.script(Says("fine", word=word))

    done = await completion(model, CALL, streams=streams)

    assert ("fine", complete) == (done.text, done.complete)


@both_ways
@pytest.mark.parametrize(
    ("word", "complete"), [("MAX_TOKENS", False), ("length", False), ("STOP", True), ("completed", True), (None, True)]
)
async def test_a_gateways_stop_makes_no_answer_whole_that_its_vendor_calls_cut(
    server: OpenAIServer, model: OpenAIChat, word: str | None, *, complete: bool, streams: bool
):
    """
    The vendor's own word comes beside the gateway's; one that is not known to be bad says nothing.
    """
    native = {"native_finish_reason": word}
    frames: Any = (
        sse(chunk("fine"), chunk("", "stop", choice=native)) if streams else whole("fine", "stop", choice=native)
    )
    server.script(answer(frames, streams=streams))

    done = await completion(model, CALL, streams=streams)

    assert ("fine", complete) == (done.text, done.complete)


@pytest.mark.parametrize("done", [False, True])
async def test_a_stream_without_a_finish_reason_is_half_an_answer(
    server: OpenAIServer, model: OpenAIChat, *, done: bool
):
    """
    Whatever its end looks like.
    """
    broken_off: list[list[Any]] = [[chunk("Half")], [], [chunk("Half"), {"choices": [], "usage": USAGE}]]
    for frames in broken_off:
        server.script(answer(sse(*frames, done=done), streams=True))
        assert FailureKind.UNAVAILABLE is (await failure(model, CALL, streams=True)).kind


ERRORS: list[tuple[Any, FailureKind]] = [
    ({"error": {"message": "one two three", "code": 429}}, FailureKind.RATE_LIMITED),
    ({"error": {"message": "no", "code": "429", "type": "x"}}, FailureKind.RATE_LIMITED),
    ({"error": {"message": "no", "code": 401}}, FailureKind.AUTH),
    ({"error": {"message": "no", "code": 404}}, FailureKind.UNKNOWN_MODEL),
    ({"error": {"message": "no", "code": "context_length_exceeded"}}, FailureKind.TOO_LARGE),
    ({"error": {"message": "This model's maximum context length is 4096 tokens", "code": 400}}, FailureKind.TOO_LARGE),
    ({"error": {"message": "upstream failed"}}, FailureKind.UNAVAILABLE),
    ({"error": "one two three"}, FailureKind.UNAVAILABLE),
    ([{"error": {"message": "quota", "code": 429, "status": "RESOURCE_EXHAUSTED"}}], FailureKind.RATE_LIMITED),
    ({"object": "error", "message": "no", "type": "BadRequestError", "code": 400}, FailureKind.REFUSED),
    (whole("Half", "stop", x_groq={"error": "over_capacity one two three"}), FailureKind.UNAVAILABLE),
    ({"error": {"message": "no", "code": 403, "metadata": {"flagged_input": "one two three"}}}, FailureKind.REFUSED),
    ({"success": False, "errors": [{"code": 429, "message": "no"}]}, FailureKind.RATE_LIMITED),
    ({"error": {"message": "no", "code": 429}, "choices": []}, FailureKind.RATE_LIMITED),
    (whole(None, "error", error={"message": "no", "code": 429}), FailureKind.RATE_LIMITED),
    (whole("Half", "error", choice={"error": {"message": "no", "code": 502}}), FailureKind.UNAVAILABLE),
    (whole("Half", "stop", choice={"native_finish_reason": "SAFETY"}), FailureKind.REFUSED),
]


@both_ways
@pytest.mark.parametrize(("body", "kind"), ERRORS, ids=range(len(ERRORS)))
async def test_an_error_inside_a_success(
    server: OpenAIServer, model: OpenAIChat, body: Any, kind: FailureKind, *, streams: bool
):
    """
    In the whole body or in a chunk, after some pieces or before any.
    """
    server.script(answer(body, streams=False))
    assert kind is (await failure(model, CALL, streams=streams)).kind
    if streams:
        frame = json.loads(
            json.dumps(body).replace('"message": {"role": "assistant", "content": "Half"}', '"delta": {}')
        )
        server.script(answer(sse(frame), streams=True), answer(sse(chunk("Half"), frame), streams=True))
        for _ in range(2):
            assert kind is (await failure(model, CALL, streams=True)).kind


async def test_an_error_event_is_an_error(server: OpenAIServer, model: OpenAIChat):
    """
    Some gateways name the event and leave out the wrapping.
    """
    body = sse(chunk("Half")) + b'event: error\ndata: {"message": "no", "code": 429}\n\n'
    server.script(answer(body.replace(b"data: [DONE]\n\n", b""), streams=True))

    assert FailureKind.RATE_LIMITED is (await failure(model, CALL, streams=True)).kind


@both_ways
@pytest.mark.parametrize("nothing_in_it", [None, "", {}, [], {"message": "", "code": None}])
async def test_an_error_that_says_nothing_is_none(
    server: OpenAIServer, model: OpenAIChat, nothing_in_it: Any, *, streams: bool
):
    """
    Some servers send the field always.
    """
    body = (
        sse(chunk("fine", error=nothing_in_it), chunk(None, "stop")) if streams else whole("fine", error=nothing_in_it)
    )
    server.script(answer(body, streams=streams))

    assert "fine" == (await completion(model, CALL, streams=streams)).text


@both_ways
@pytest.mark.parametrize(
    "said",
    [
        {"content": "yes"},
        {"content": [{"type": "text", "text": "y"}, {"type": "text", "text": "es"}]},
        {"content": ["y", "es"]},
        {"content": {"type": "text", "text": "yes"}},
        {
            "content": [
                {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
                {"type": "text", "text": "yes"},
            ]
        },
        {"content": [{"text": "yes"}, {"type": "reference", "reference_ids": [1]}]},
        {"content": "yes", "reasoning_content": "hm"},
        {"content": "yes", "reasoning": "hm", "reasoning_details": [{"text": "hm"}]},
        {"content": "yes", "tool_calls": [], "function_call": None, "refusal": None, "audio": None},
    ],
    ids=range(9),
)
async def test_a_text_in_any_form(server: OpenAIServer, model: OpenAIChat, said: dict[str, Any], *, streams: bool):
    """
    Without the thoughts beside it.
    """
    body = (
        sse(chunk({"reasoning_content": "hm", "content": None}), chunk(said), chunk({}, "stop"))
        if streams
        else whole(said)
    )
    server.script(answer(body, streams=streams))

    assert "yes" == (await completion(model, CALL, streams=streams)).text


@both_ways
@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (
            {"content": None, "tool_calls": [{"type": "function", "function": {"name": "f"}}]},
            FailureKind.INVALID_OUTPUT,
        ),
        ({"content": "Let me see", "tool_calls": [{"index": 0}]}, FailureKind.INVALID_OUTPUT),
        ({"content": None, "function_call": {"name": "f"}}, FailureKind.INVALID_OUTPUT),
        ({"content": None, "refusal": "I can't help with one two three."}, FailureKind.REFUSED),
        ({"content": [{"type": "refusal", "refusal": "no"}]}, FailureKind.REFUSED),
        ({"content": 7}, FailureKind.CRASHED),
        ({"content": [7]}, FailureKind.CRASHED),
    ],
    ids=range(7),
)
async def test_what_is_no_text(
    server: OpenAIServer, model: OpenAIChat, said: dict[str, Any], kind: FailureKind, *, streams: bool
):
    """
    Nobody offered tools.
    """
    body = sse(chunk(said), chunk({}, "stop")) if streams else whole(said)
    server.script(answer(body, streams=streams))

    assert kind is (await failure(model, CALL, streams=streams)).kind


async def test_json_where_a_stream_was_asked_for_and_the_reverse(server: OpenAIServer, model: OpenAIChat):
    """
    Under any content type.
    """
    events = sse(chunk("fi"), chunk("ne"), chunk(None, "stop"), {"choices": [], "usage": USAGE})
    for kind in ("text/event-stream", "application/json", "text/plain"):
        for body in (
            json.dumps(whole("fine")).encode(),
            BOM + json.dumps(whole("fine")).encode(),
            events,
            BOM + events,
        ):
            for streams in (False, True):
                server.script(Garbage(body, content_type=kind))
                done = await completion(model, CALL, streams=streams)
                assert ("fine", 11) == (done.text, done.usage.input_tokens)


async def test_a_whole_answer_in_one_event(server: OpenAIServer, model: OpenAIChat):
    """
    Or again at the end of its pieces.
    """
    server.script(
        answer(sse(whole("fine")), streams=True), answer(sse(chunk("fi"), chunk("ne"), whole("fine")), streams=True)
    )

    for _ in range(2):
        assert "fine" == (await completion(model, CALL, streams=True)).text


@pytest.mark.parametrize("end", [b"\r", b"\n", b"\r\n"])
async def test_events_as_the_standard_has_them(server: OpenAIServer, model: OpenAIChat, end: bytes):
    """
    With everything that it allows beside the data.
    """
    noise = b": OPENROUTER PROCESSING\n\nretry: 3000\n\nid: 1\nevent: message\n"
    first = json.dumps(chunk("a\u2028b\x85c"), ensure_ascii=False, indent=1).replace("\n", "\ndata: ").encode()
    body = BOM + noise + b"data: " + first + b"\n\n" + sse(chunk("d"), chunk(None, "stop"))
    server.script(answer(body.replace(b"\n", end), streams=True))

    assert "a\u2028b\x85cd" == (await completion(model, CALL, streams=True)).text


@pytest.mark.parametrize("frame", ["ping", "{", "[1]", "{}x"])
async def test_an_event_that_is_none_of_the_protocol(server: OpenAIServer, model: OpenAIChat, frame: str):
    """
    Something of the answer may have been lost in it.
    """
    server.script(answer(sse(chunk("Half"), frame, chunk(None, "stop")), streams=True))

    assert (await failure(model, CALL, streams=True)).kind in {FailureKind.UNAVAILABLE, FailureKind.CRASHED}


@both_ways
async def test_halves_of_characters(server: OpenAIServer, model: OpenAIChat, *, streams: bool):
    """
    Cut between two pieces and escaped, or alone.
    """
    whole_body = json.dumps(whole("a\ud83d\ude00b\ud83d"))
    body = (
        sse(chunk("a\ud83d"), chunk("\ude00b"), chunk("\ud83d"), chunk(None, "stop"))
        if streams
        else whole_body.encode()
    )
    server.script(answer(body, streams=streams))

    assert "a😀b\ufffd" == (await completion(model, CALL, streams=streams)).text


@pytest.mark.parametrize(
    "cached",
    [{"prompt_tokens_details": {"cached_tokens": 900}}, {"prompt_cache_hit_tokens": 900}, {"cached_tokens": 900}],
    ids=["openai", "deepseek", "moonshot"],
)
async def test_what_was_cached_costs_less(server: OpenAIServer, model: OpenAIChat, cached: dict[str, Any]):
    """
    In whichever field it is said.
    """
    counts = {"prompt_tokens": 1000, "completion_tokens": 1}
    server.script(
        answer(whole("fine", usage=counts), streams=False), answer(whole("fine", usage=counts | cached), streams=False)
    )

    plain, cheaper = [(await completion(model, CALL, streams=False)).usage.cost_usd or 0 for _ in range(2)]

    assert 0 < cheaper < plain


@both_ways
@pytest.mark.parametrize(
    ("counts", "expected", "priced"),
    [
        ({"prompt_tokens": 11.0, "completion_tokens": "7"}, (11, 7), True),
        ({"prompt_tokens": 10.2, "completion_tokens": None}, (11, 0), False),
        ({"prompt_tokens": -1, "completion_tokens": 7}, (0, 7), False),
        ({"prompt_tokens": 10**40, "completion_tokens": 7}, (1_000_000_000, 7), True),
        ({"prompt_tokens": math.inf, "completion_tokens": math.nan}, (1_000_000_000, 0), False),
        ({"prompt_tokens": 11, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 50}}, (11, 7), True),
        ({"prompt_tokens": 11, "completion_tokens": 7, "prompt_tokens_details": "none"}, (11, 7), True),
        ({"prompt_tokens": 32, "completion_tokens": 9, "total_tokens": 135}, (32, 103), True),
        ({"prompt_tokens": 32, "total_tokens": 41}, (32, 9), True),
        ({"prompt_tokens": 32, "completion_tokens": 9, "total_tokens": 32}, (32, 9), True),
    ],
    ids=range(10),
)
async def test_counts_in_any_form(
    server: OpenAIServer,
    model: OpenAIChat,
    counts: dict[str, Any],
    expected: tuple[int, int],
    *,
    priced: bool,
    streams: bool,
):
    """
    No answer is lost for them; half a count has no known cost; thoughts that are in the total alone are output.
    """
    frames: list[Any] = [chunk("fine"), chunk(None, "stop"), {"choices": [], "usage": counts}]
    server.script(answer(sse(*frames) if streams else whole("fine", usage=counts), streams=streams))

    usage = (await completion(model, CALL, streams=streams)).usage

    assert expected == (usage.input_tokens, usage.output_tokens)
    assert priced is (usage.cost_usd is not None)


@both_ways
@pytest.mark.parametrize("counts", [None, "many", [], {}, {"prompt_tokens": "many"}])
async def test_what_was_not_counted_has_no_known_cost(
    server: OpenAIServer, model: OpenAIChat, counts: Any, *, streams: bool
):
    """
    Of OpenAI it had one.
    """
    frames = (chunk("fine"), chunk(None, "stop", usage=counts))
    server.script(answer(sse(*frames) if streams else whole("fine", usage=counts), streams=streams))

    assert Usage(cost_usd=None) == (await completion(model, CALL, streams=streams)).usage


@both_ways
@pytest.mark.parametrize("named", [None, 7, "", "x" * 200, "a\nb", "\ud83d", {"id": "x"}])
async def test_a_name_that_is_none(server: OpenAIServer, model: OpenAIChat, named: Any, *, streams: bool):
    """
    The model that was asked for answered then, and its price counts.
    """
    frames = (chunk("fine", model=named), chunk(None, "stop", model=named, usage=USAGE))
    server.script(answer(sse(*frames) if streams else whole("fine", model=named), streams=streams))

    done = await completion(model, CALL, streams=streams)

    assert "gpt-4o" == done.model
    assert (done.usage.cost_usd or 0) > 0
