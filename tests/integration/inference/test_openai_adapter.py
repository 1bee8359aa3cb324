"""What is OpenAI's own, and its imitators', about their adapter."""

import json
from collections.abc import AsyncGenerator
from typing import Any

import msgspec
import pytest

from flotilla.capabilities.errors import AttemptError
from flotilla.contracts.failures import FailureKind
from flotilla.inference.adapters.openai_chat import OpenAIChat
from flotilla.inference.backend import ModelCall, Turn
from flotilla.testkit.provider_openai import OpenAIServer
from flotilla.testkit.provider_steps import Fails, FailsInside, Garbage, Says, vector

STRICT_ONE: dict[str, Any] = {
    "$ref": "#/$defs/Out",
    "$defs": {
        "Out": {
            "title": "Out",
            "type": "object",
            "properties": {
                "label": {"anyOf": [{"type": "string", "minLength": 1}, {"type": "null"}], "default": None},
                "confidence": {"type": "number", "minimum": 0, "maximum": 1},
            },
            "required": ["confidence"],
        }
    },
}
CALL = ModelCall(model="gpt-4o", system="", turns=(Turn(role="user", content="one two three"),), timeout_s=10.0)
LOOSE_ONE: dict[str, Any] = {"type": "object", "additionalProperties": {"type": "integer"}}


def call(**changes: Any) -> ModelCall:
    return msgspec.structs.replace(CALL, **changes)


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


async def failure(model: OpenAIChat, **changes: Any) -> AttemptError:
    with pytest.raises(AttemptError) as caught:
        await model.complete(call(**changes), nothing)
    return caught.value


async def test_a_schema_is_sent_strict_where_it_can_be(server: OpenAIServer, model: OpenAIChat):
    """
    The server refuses what OpenAI would refuse of a strict schema.
    """
    await model.complete(call(output_schema=STRICT_ONE, schema_name="classify"))

    wanted = server.requests[0].body["response_format"]["json_schema"]
    assert wanted["strict"] is True
    assert "classify" == wanted["name"]
    assert ["label", "confidence"] == wanted["schema"]["required"]


async def test_a_schema_that_cannot_be_strict_is_sent_as_it_is(server: OpenAIServer, model: OpenAIChat):
    """
    A map with free keys has no strict version.
    """
    await model.complete(call(output_schema=LOOSE_ONE))

    wanted = server.requests[0].body["response_format"]["json_schema"]
    assert wanted["strict"] is False
    assert LOOSE_ONE == wanted["schema"]


async def test_a_server_of_ones_own_gets_the_whole_schema_and_the_old_bound(server: OpenAIServer):
    """
    As vLLM and llama.cpp build a grammar from it; not all of them know `max_completion_tokens`.
    """
    model = OpenAIChat(api_key=None, base_url=server.url, provider="vllm")

    answer = await model.complete(call(output_schema=STRICT_ONE, max_output_tokens=50), nothing)

    body = server.requests[0].body
    wanted = body["response_format"]["json_schema"]
    assert "strict" not in wanted
    assert 1 == wanted["schema"]["properties"]["label"]["anyOf"][0]["minLength"]
    assert 50 == body["max_tokens"]
    assert "max_completion_tokens" not in body
    assert "authorization" not in server.requests[0].headers
    assert "vllm" == model.provider
    assert 0.0 == answer.usage.cost_usd
    await model.aclose()


@pytest.mark.parametrize("emit", [None, nothing], ids=["whole", "streamed"])
async def test_a_reasoning_model_is_asked_without_the_hints_that_it_refuses(
    server: OpenAIServer, model: OpenAIChat, emit: Any
):
    """
    The adapter learns it once for each model, and the answer comes all the same.
    """
    server.reasoning_models = frozenset({"gpt-5"})
    asked = call(model="gpt-5", temperature=0.0, top_p=0.9, max_output_tokens=50)

    await model.complete(asked, emit)
    assert 3 == len(server.requests)
    assert 50 == server.requests[-1].body["max_completion_tokens"]

    await model.complete(asked, emit)
    assert 4 == len(server.requests)

    await model.complete(call(temperature=0.0), emit)
    assert 0.0 == server.requests[-1].body["temperature"]


async def test_a_refused_hint_that_stays_refused_does_not_loop(server: OpenAIServer, model: OpenAIChat):
    """
    A server that objects to what is not there gets its error passed on.
    """
    server.otherwise = Fails(400, code="unsupported_value", param="temperature")

    assert FailureKind.REFUSED is (await failure(model, temperature=0.0)).kind
    assert 2 == len(server.requests)
    assert FailureKind.REFUSED is (await failure(model)).kind
    assert 3 == len(server.requests)


async def test_a_stream_is_priced_with_its_cached_tokens(server: OpenAIServer, model: OpenAIChat):
    """
    Usage comes in a last chunk that has to be asked for.
    """
    server.script(Says(input_tokens=1_000_000, cached_tokens=500_000, output_tokens=100_000))

    answer = await model.complete(call(), nothing)

    assert server.requests[0].body["stream_options"] == {"include_usage": True}
    # gpt-4o: 2.50 for a million of input, half of that where cached, 10.00 for a million of output.
    assert pytest.approx(1.25 + 0.625 + 1.0) == answer.usage.cost_usd


async def test_a_server_that_counts_nothing_is_tolerated(server: OpenAIServer, model: OpenAIChat):
    """
    Some compatible servers send no usage and no `[DONE]`.
    """
    server.ends_with_done = False
    server.otherwise = Says("fine", counted=False)

    assert 0 == (await model.complete(call(), nothing)).usage.output_tokens
    assert "fine" == (await model.complete(call())).text


async def test_a_refusal_of_the_model_itself_is_a_refusal(server: OpenAIServer, model: OpenAIChat):
    """
    With structured output, OpenAI's models refuse in a field of its own.
    """
    message = {"role": "assistant", "content": None, "refusal": "I can't help with one two three."}
    body = {"model": "gpt-4o", "choices": [{"index": 0, "finish_reason": "stop", "message": message}]}
    server.script(Garbage(json.dumps(body).encode(), content_type="application/json"))

    with pytest.raises(AttemptError) as caught:
        await model.complete(call())

    assert FailureKind.REFUSED is caught.value.kind
    assert "two" not in str(caught.value)


async def test_milliseconds_go_before_seconds(server: OpenAIServer, model: OpenAIChat):
    """
    OpenAI sends both.
    """
    server.script(Fails(429, headers={"retry-after": "1", "retry-after-ms": "250"}))

    assert 0.25 == (await failure(model)).retry_after_s


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("context_length_exceeded", FailureKind.TOO_LARGE),
        ("rate_limit_exceeded", FailureKind.RATE_LIMITED),
        ("429", FailureKind.RATE_LIMITED),
        ("400", FailureKind.REFUSED),
        (None, FailureKind.UNAVAILABLE),
    ],
)
async def test_an_error_inside_a_stream_is_named_by_its_code(
    server: OpenAIServer, model: OpenAIChat, code: str | None, kind: FailureKind
):
    """
    There is no status to go by.
    """
    server.script(FailsInside(code=code))

    assert kind is (await failure(model)).kind


async def test_geminis_errors_are_understood(server: OpenAIServer, model: OpenAIChat):
    """
    A list around them, 400 for a wrong key, and the delay in the body.
    """

    def error(status: int, **details: str) -> Garbage:
        body = [{"error": {"code": status, "message": "no", "status": "X", "details": [details]}}]
        return Garbage(json.dumps(body).encode(), content_type="application/json", status=status)

    server.script(error(400, reason="API_KEY_INVALID"), error(429, retryDelay="34.5s"))

    assert FailureKind.AUTH is (await failure(model)).kind
    limited = await failure(model)
    assert (FailureKind.RATE_LIMITED, 34.5) == (limited.kind, limited.retry_after_s)


async def test_an_error_type_that_is_no_identifier_stays_out_of_the_message(server: OpenAIServer, model: OpenAIChat):
    """
    A careless server could put text there.
    """
    body = {"error": {"message": "x", "type": "one two three", "code": "bad_thing"}}
    server.script(Garbage(json.dumps(body).encode(), content_type="application/json", status=400))

    assert "openai: HTTP 400 bad_thing" == (await failure(model)).message


async def test_texts_are_embedded_in_order_and_priced(server: OpenAIServer, model: OpenAIChat):
    """
    The provider numbers the vectors and may send them in any order; not every server knows base64.
    """
    server.script(Says(input_tokens=1_000_000))

    answer = await model.embed(["a", "b", "c"], model="text-embedding-3-small", timeout_s=10.0)

    assert [vector("a"), vector("b"), vector("c")] == answer.vectors
    assert "float" == server.requests[0].body["encoding_format"]
    assert pytest.approx(0.02) == answer.usage.cost_usd


@pytest.mark.parametrize("body", [b'{"data": [{"index": 0, "embedding": [0.5]}]}', b'{"data": [{"index": 0}]}'])
async def test_vectors_that_are_missing_are_a_crash(server: OpenAIServer, model: OpenAIChat, body: bytes):
    """
    A vector must not be taken for another text's.
    """
    server.script(Garbage(body, content_type="application/json"))

    with pytest.raises(AttemptError) as caught:
        await model.embed(["a", "b"], model="m", timeout_s=10.0)

    assert FailureKind.CRASHED is caught.value.kind


@pytest.mark.parametrize("ending", ["", "/", "/v1", "/v1/", "/v1/chat/completions"])
async def test_a_base_url_may_have_its_version_or_not(server: OpenAIServer, ending: str):
    """
    What people paste.
    """
    model = OpenAIChat(api_key=None, base_url=server.url + ending, provider="llamacpp")

    assert "Hello there." == (await model.complete(call())).text
    await model.aclose()


async def test_an_api_may_stand_at_another_path(server: OpenAIServer):
    """
    As Gemini's does.
    """
    server.base_path = "/v1beta/openai"
    model = OpenAIChat(api_key="k", base_url=f"{server.url}/v1beta/openai/", provider="gemini")

    assert "gemini" == model.provider
    assert "Hello there." == (await model.complete(call(), nothing)).text
    await model.aclose()


async def test_the_models_are_listed(server: OpenAIServer, model: OpenAIChat):
    """
    So a worker knows what it can announce, and that the key is good.
    """
    server.models = ("gpt-4o", "gpt-5")
    assert ["gpt-4o", "gpt-5"] == await model.models(timeout_s=10.0)

    server.api_key = "another"
    with pytest.raises(AttemptError) as caught:
        await model.models(timeout_s=10.0)
    assert FailureKind.AUTH is caught.value.kind


@pytest.mark.parametrize(("provider", "kept"), [("llamacpp", False), ("openai-compatible", False), ("vllm", True)])
async def test_a_server_that_may_be_llama_cpp_gets_no_schema_that_it_dies_of(provider: str, *, kept: bool):
    """
    Others refuse what they cannot take, and make more of what they can.
    """
    schema = {"type": "object", "properties": {"x": {"type": "string", "pattern": "^(?:a)$"}}}
    async with OpenAIServer() as server:
        model = OpenAIChat(api_key=None, base_url=server.url, provider=provider)
        await model.complete(msgspec.structs.replace(CALL, output_schema=schema))
        await model.aclose()

    sent = server.requests[0].body["response_format"]["json_schema"]["schema"]
    assert kept is ("pattern" in sent["properties"]["x"])


@pytest.mark.parametrize("streams", [False, True], ids=["whole", "streamed"])
async def test_a_schema_that_a_server_of_ones_own_makes_no_grammar_of_is_done_without(*, streams: bool):
    """
    The kit checks the output all the same; the next call knows.
    """
    schema = {"type": "object", "properties": {"child": {"$ref": "#"}}}
    refusal = Fails(
        400, code="invalid_request_error", message="JSON schema error at #/properties/child: unsupported $ref"
    )
    async with OpenAIServer() as server:
        server.script(refusal)
        model = OpenAIChat(api_key=None, base_url=server.url, provider="llamacpp")
        for _ in range(2):
            await model.complete(msgspec.structs.replace(CALL, output_schema=schema), nothing if streams else None)
        await model.aclose()

        sent = [asked.body["response_format"]["type"] for asked in server.requests]
        assert ["json_schema", "json_object", "json_object"] == sent


@pytest.mark.parametrize(("provider", "message"), [("llamacpp", "no"), ("openai", "no such thing")])
async def test_a_refusal_of_anything_else_stands(provider: str, message: str):
    """
    One request, not repeated.
    """
    async with OpenAIServer() as server:
        server.script(Fails(400, message=message))
        model = OpenAIChat(api_key="k", base_url=server.url, provider=provider)
        with pytest.raises(AttemptError) as caught:
            await model.complete(msgspec.structs.replace(CALL, output_schema={"type": "object"}))
        await model.aclose()

        assert FailureKind.REFUSED is caught.value.kind
        assert 1 == len(server.requests)


@pytest.mark.parametrize(
    ("provider", "connections"), [("llamacpp", 3), ("vllm", 3), ("openai-compatible", 3), ("openai", 1)]
)
async def test_a_connection_to_a_server_of_ones_own_serves_one_call(provider: str, connections: int):
    """
    llama.cpp closes it after a stream although it promised to keep it, and the call after that would be lost.
    """
    async with OpenAIServer() as server:
        model = OpenAIChat(api_key="k", base_url=server.url, provider=provider)
        for _ in range(3):
            await model.complete(CALL, nothing)
        await model.aclose()

        assert connections == len({asked.client_port for asked in server.requests})
