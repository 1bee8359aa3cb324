"""Answers of gateways and compatible servers that other clients were reported to misread, with a real HTTP server each."""

import json
from collections.abc import AsyncGenerator
from typing import Any, Final

import pytest

from flotilla.contracts.failures import FailureKind
from flotilla.inference.adapters.anthropic_messages import AnthropicMessages
from flotilla.inference.adapters.openai_chat import OpenAIChat
from flotilla.inference.backend import ModelCall, Turn
from flotilla.testkit.model_calls import both_ways, completion, failure
from flotilla.testkit.provider_anthropic import AnthropicServer
from flotilla.testkit.provider_openai import OpenAIServer
from flotilla.testkit.provider_steps import Garbage

CALL: Final = ModelCall(model="gpt-4o", system="", turns=(Turn(role="user", content="one two three"),), timeout_s=10.0)
USAGE: Final = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
NO_USAGE: Final = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
FINE: Final = {"choices": [{"index": 0, "delta": {"content": "fine"}, "finish_reason": None}]}


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


def whole(body: dict[str, Any]) -> Garbage:
    """An answer in JSON."""
    return Garbage(json.dumps(body).encode(), content_type="application/json")


def stream(*frames: dict[str, Any], done: bool = True) -> Garbage:
    """A stream of OpenAI's events."""
    texts = [*map(json.dumps, frames), *(["[DONE]"] if done else [])]
    return Garbage("".join(f"data: {text}\n\n" for text in texts).encode(), content_type="text/event-stream")


def last(finish: Any = "stop", delta: Any = None, **more: Any) -> dict[str, Any]:
    """A chunk without text."""
    choice: dict[str, Any] = {"index": 0, "delta": delta or {}, "finish_reason": finish, **more.pop("choice", {})}
    return {"choices": [choice], **more}


@pytest.mark.parametrize(
    "frames",
    [
        (last("stop"), last("", usage=USAGE)),
        (last(""), last("stop", usage=USAGE), last("")),
        (last("stop", usage=USAGE), {"choices": [], "usage": {}}),
        (last("stop"), {"choices": [], "usage": USAGE}, {"choices": [], "usage": NO_USAGE}),
        (last("stop", usage=NO_USAGE), {"choices": [], "usage": USAGE}),
        (last("stop", choice={"usage": USAGE}),),
        (last("stop", {"function_call": {"name": "", "arguments": ""}}, usage=USAGE),),
        (last("stop", {"tool_calls": [{"index": 0, "function": {"name": "", "arguments": ""}}]}, usage=USAGE),),
    ],
)
async def test_the_end_of_a_stream_in_the_forms_that_gateways_give_it(
    server: OpenAIServer, model: OpenAIChat, frames: tuple[dict[str, Any], ...]
):
    """
    Finish reasons that are empty texts, counts of nothing behind those of something, calls of no tool.
    """
    server.script(stream(FINE, *frames))

    done = await completion(model, CALL, streams=True)

    assert ("fine", True) == (done.text, done.complete)
    assert (11, 7) == (done.usage.input_tokens, done.usage.output_tokens)
    assert done.usage.cost_usd is not None
    assert done.usage.cost_usd > 0


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("error", FailureKind.UNAVAILABLE),
        ("content_filter", FailureKind.REFUSED),
        ("tool_calls", FailureKind.INVALID_OUTPUT),
    ],
)
async def test_an_answer_that_has_failed_is_not_made_whole_by_a_stop_behind_it(
    server: OpenAIServer, model: OpenAIChat, word: str, kind: FailureKind
):
    """
    As a gateway says that closes every stream in the same way.
    """
    server.script(stream(FINE, last(word), last("stop", usage=USAGE)))

    error = await failure(model, CALL, streams=True)

    assert kind is error.kind
    assert 11 == error.usage.input_tokens


@both_ways
@pytest.mark.parametrize(
    ("body", "kind", "said"),
    [
        ({"code": 40001, "message": "the quota of this key is used up"}, FailureKind.UNAVAILABLE, "the quota"),
        (
            {"choices": None, "base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}},
            FailureKind.AUTH,
            "insufficient",
        ),
    ],
)
async def test_an_error_of_the_vendors_own_form_inside_a_success(
    server: OpenAIServer,
    model: OpenAIChat,
    body: dict[str, Any],
    kind: FailureKind,
    said: str,
    *,
    streams: bool,
):
    """
    Its sentence is kept for whoever may read it.
    """
    server.script(stream(body, done=False) if streams else whole(body))

    error = await failure(model, CALL, streams=streams)

    assert kind is error.kind
    assert said in error.said


async def test_an_error_in_a_stream_that_names_its_status_in_words_alone(server: OpenAIServer, model: OpenAIChat):
    """
    A refusal is not tried again as if the server were ill.
    """
    told = "Error code: 400 - {'error': {'message': 'The response was filtered', 'code': 'content_filter'}}"
    server.script(stream(FINE, {"error": {"message": told, "type": None, "code": None}}, done=False))

    error = await failure(model, CALL, streams=True)

    assert FailureKind.REFUSED is error.kind


@pytest.mark.parametrize("more", [{"input_tokens": 0, "output_tokens": 7}, {"input_tokens": None, "output_tokens": 7}])
async def test_counts_of_anthropics_stream_are_not_lost_to_zeros(more: dict[str, Any]):
    """
    The last event repeats them, and some gateways put 0 there instead; nor does a refusal become an answer.
    """
    events = [
        {"type": "message_start", "message": {"model": "claude-haiku-4-5", "usage": {"input_tokens": 11}}},
        {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "fine"}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": more},
        {"type": "message_stop"},
    ]
    refusal = {"type": "message_delta", "delta": {"stop_reason": "refusal"}, "usage": {}}
    call = ModelCall(model="claude-haiku-4-5", system="", turns=CALL.turns, timeout_s=10.0)
    async with AnthropicServer() as server:
        model = AnthropicMessages(api_key="sk-1", base_url=server.url)
        server.script(stream(*events, done=False), stream(*events[:2], refusal, *events[2:], done=False))

        done = await completion(model, call, streams=True)
        refused = await failure(model, call, streams=True)
        await model.aclose()

    assert (11, 7) == (done.usage.input_tokens, done.usage.output_tokens)
    assert FailureKind.REFUSED is refused.kind
