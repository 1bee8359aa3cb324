"""Half answers, errors inside a success, and every form in which Ollama and its imitators say what they have to say."""

import json
from collections.abc import AsyncGenerator
from typing import Any, Final

import pytest

from flotilla.capabilities.errors import AttemptError
from flotilla.contracts.failures import FailureKind
from flotilla.inference.adapters.ollama_chat import OllamaChat
from flotilla.inference.backend import ModelCall, Turn
from flotilla.testkit.model_calls import both_ways, completion, failure
from flotilla.testkit.provider_ollama import OllamaServer
from flotilla.testkit.provider_steps import Garbage

CALL: Final = ModelCall(model="m", system="", turns=(Turn(role="user", content="one two three"),), timeout_s=10.0)


@pytest.fixture
async def server() -> AsyncGenerator[OllamaServer]:
    """An Ollama."""
    async with OllamaServer() as running:
        yield running


@pytest.fixture
async def model(server: OllamaServer) -> AsyncGenerator[OllamaChat]:
    """The adapter for it."""
    made = OllamaChat(server.url)
    yield made
    await made.aclose()


def said(text: Any = "", reason: Any = None, **more: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": text}
    ended = {"done": True, "done_reason": reason, "prompt_eval_count": 11, "eval_count": 7} if reason != "" else {}
    return {"model": "m", "message": message, "done": False, **ended, **more}


def lines(*documents: dict[str, Any], ascii_only: bool = True, end: str = "\n") -> bytes:
    return "".join(json.dumps(document, ensure_ascii=ascii_only) + end for document in documents).encode()


def answer(*documents: dict[str, Any]) -> Garbage:
    return Garbage(lines(*documents), content_type="application/x-ndjson")


def half(*, streams: bool, reason: Any) -> tuple[dict[str, Any], ...]:
    """An answer that ends with this reason."""
    return (said("Half", ""), said(" an ans", reason)) if streams else (said("Half an ans", reason),)


@both_ways
@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("load", FailureKind.UNAVAILABLE),
        ("unload", FailureKind.UNAVAILABLE),
        ("error", FailureKind.UNAVAILABLE),
        ("content_filter", FailureKind.REFUSED),
        ("end_turn", FailureKind.CRASHED),
        ("a word of next year", FailureKind.CRASHED),
        (None, FailureKind.UNAVAILABLE),
        (7, FailureKind.CRASHED),
    ],
)
async def test_only_stop_makes_an_answer(
    server: OllamaServer,
    model: OllamaChat,
    *,
    streams: bool,
    reason: Any,
    kind: FailureKind,
):
    """
    Ollama leaves the reason out when the connection to the model broke.
    """
    server.script(answer(*half(streams=streams, reason=reason)))

    failed = await failure(model, CALL, streams=streams)

    assert kind is failed.kind
    assert (11, 7) == (failed.usage.input_tokens, failed.usage.output_tokens)


@both_ways
async def test_a_length_is_a_cut(server: OllamaServer, model: OllamaChat, *, streams: bool):
    """
    The kit decides what it is good for.
    """
    server.script(answer(*half(streams=streams, reason="length")))

    assert (await completion(model, CALL, streams=streams)).complete is False


@both_ways
@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ("an error was encountered while running the model", FailureKind.UNAVAILABLE),
        ({"message": "upstream", "code": 429}, FailureKind.RATE_LIMITED),
        ({"type": "authentication_error"}, FailureKind.AUTH),
        (["what"], FailureKind.UNAVAILABLE),
    ],
)
async def test_an_error_inside_a_success_is_a_failure_of_its_kind(
    server: OllamaServer,
    model: OllamaChat,
    *,
    streams: bool,
    error: Any,
    kind: FailureKind,
):
    """
    Alone, after some of the text, and beside a message.
    """
    bodies = [({"error": error},), (said("x", "stop", error=error),)]
    for body in [*bodies, (said("Half", ""), {"error": error})] if streams else bodies:
        server.script(answer(*body))

        assert kind is (await failure(model, CALL, streams=streams)).kind


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, FailureKind.REFUSED),
        (404, FailureKind.UNKNOWN_MODEL),
        (429, FailureKind.RATE_LIMITED),
        ("?", FailureKind.UNAVAILABLE),
    ],
)
async def test_a_status_beside_an_error_in_a_stream_counts(
    server: OllamaServer, model: OllamaChat, status: object, kind: FailureKind
):
    """
    It is what the server would have answered, had the stream not begun.
    """
    server.script(answer(said("Half", ""), {"error": "one two three", "status": status}))

    assert kind is (await failure(model, CALL, streams=True)).kind


@both_ways
@pytest.mark.parametrize("character", ["\u2028", "\u2029", "\u0085", "\x0b", "\x0c", "\x1c", "\x1e", "\u00e9"])
async def test_line_separators_in_a_text_end_no_line(
    server: OllamaServer,
    model: OllamaChat,
    *,
    streams: bool,
    character: str,
):
    """
    JSON allows most of them as they are; lines end at line feeds alone, in either form.
    """
    for end in ("\n", "\r\n"):
        documents = (said("One", ""), said(f" and{character}two.", ""), said("", "stop"))
        whole = (said(f"One and{character}two.", "stop"),)
        server.script(Garbage(lines(*documents if streams else whole, ascii_only=False, end=end)))

        assert f"One and{character}two." == (await completion(model, CALL, streams=streams)).text


async def test_a_whole_answer_where_a_stream_was_asked_for_and_the_reverse(server: OllamaServer, model: OllamaChat):
    """
    In one line or over several, with a byte order mark or without a last line end.
    """
    whole = said("A text.", "stop")
    stream = lines(said("A", ""), said(" text.", "stop"))
    for body in (
        json.dumps(whole),
        json.dumps(whole, indent=2),
        "\ufeff" + json.dumps(whole),
        json.dumps(whole) + "\n\n",
    ):
        server.script(Garbage(body.encode(), content_type="application/json"))
        assert "A text." == (await completion(model, CALL, streams=True)).text
    for body in (stream, stream.rstrip(), b"\n\n" + stream):
        server.script(Garbage(body, content_type="application/x-ndjson"))
        assert "A text." == (await completion(model, CALL, streams=False)).text


@both_ways
async def test_halves_of_a_character_are_joined_or_replaced(
    server: OllamaServer,
    model: OllamaChat,
    *,
    streams: bool,
):
    """
    Python's own encoder writes half a surrogate pair without a word.
    """
    for pieces, text in ((("a\ud83d", "\ude00b"), "a\U0001f600b"), (("a\ud83d", ""), "a\ufffd")):
        first, last = pieces
        server.script(answer(said(first, ""), said(last, "stop")) if streams else answer(said(first + last, "stop")))

        assert text == (await completion(model, CALL, streams=streams)).text


@both_ways
@pytest.mark.parametrize(
    ("count", "counted"),
    [(11.2, 12), ("11", 11), (None, 0), (-4, 0), ("many", 0), (10**400, 1_000_000_000), (float("nan"), 0), ([], 0)],
    ids=["fraction", "text", "null", "negative", "word", "huge", "nan", "list"],
)
async def test_counts_in_any_form(
    server: OllamaServer,
    model: OllamaChat,
    *,
    streams: bool,
    count: Any,
    counted: int,
):
    """
    No answer is lost for its bookkeeping.
    """
    server.script(answer(said("A text.", "stop", prompt_eval_count=count)))

    done = await completion(model, CALL, streams=streams)

    assert ("A text.", counted, 7, 0.0) == (
        done.text,
        done.usage.input_tokens,
        done.usage.output_tokens,
        done.usage.cost_usd,
    )


@both_ways
async def test_thoughts_are_left_out_and_tools_are_no_answer(
    server: OllamaServer,
    model: OllamaChat,
    *,
    streams: bool,
):
    """
    No tool was offered.
    """
    thinking = {"role": "assistant", "content": None, "thinking": "hm"}
    calls = {"role": "assistant", "content": "A text.", "tool_calls": [{"function": {"name": "f"}}]}
    server.script(
        answer(said(message=thinking, reason=""), said("A text.", "stop")), answer(said("", "stop", message=calls))
    )

    assert "A text." == (await completion(model, CALL, streams=streams)).text
    assert FailureKind.INVALID_OUTPUT is (await failure(model, CALL, streams=streams)).kind


@both_ways
@pytest.mark.parametrize("body", [{}, {"done": False}, {"message": "text"}, {"message": {"content": ["a"]}}])
async def test_what_is_no_answer_of_the_protocol_is_none(
    server: OllamaServer,
    model: OllamaChat,
    *,
    streams: bool,
    body: dict[str, Any],
):
    """
    JSON of another shape, whichever was asked for.
    """
    server.script(answer(body))

    assert FailureKind.CRASHED is (await failure(model, CALL, streams=streams)).kind


NOT_VECTORS: Final[list[tuple[dict[str, Any], FailureKind]]] = [
    ({"embeddings": [[0.1, 0.2], [0.1]]}, FailureKind.CRASHED),
    ({"embeddings": [[0.1, "a"], [0.1, 0.2]]}, FailureKind.CRASHED),
    ({"embeddings": [[0.1]]}, FailureKind.CRASHED),
    ({"embeddings": None}, FailureKind.CRASHED),
    ({"embeddings": [["a"], ["b"]]}, FailureKind.CRASHED),
    ({"error": "model is loading"}, FailureKind.LOADING),
    ({"error": {"code": 429}}, FailureKind.RATE_LIMITED),
    ({"embeddings": [[], []]}, FailureKind.CRASHED),
]


@pytest.mark.parametrize(("body", "kind"), NOT_VECTORS)
async def test_vectors_are_one_for_each_text_and_of_one_length(
    server: OllamaServer, model: OllamaChat, body: dict[str, Any], kind: FailureKind
):
    """
    Or the call has failed.
    """
    server.script(Garbage(json.dumps(body).encode(), content_type="application/json"))

    with pytest.raises(AttemptError) as caught:
        await model.embed(["one", "two"], model="m", timeout_s=10.0)

    assert kind is caught.value.kind
