"""What is Anthropic's own about its adapter."""

import logging
from collections.abc import AsyncGenerator
from typing import Any

import msgspec
import pytest

from flotilla.capabilities.errors import AttemptError
from flotilla.contracts.failures import FailureKind
from flotilla.inference.adapters.anthropic_messages import AnthropicMessages
from flotilla.inference.backend import OUTPUT_TOKENS_DEFAULT, Emit, ModelCall, Turn
from flotilla.testkit.provider_anthropic import AnthropicServer
from flotilla.testkit.provider_steps import Fails, FailsInside, Garbage, Received, Says, Step

DOCUMENT = "one two three"
CALL = ModelCall(model="claude-haiku-4-5", system="", turns=(Turn(role="user", content=DOCUMENT),), timeout_s=10.0)
SCHEMA: dict[str, Any] = {
    "$ref": "#/$defs/Out",
    "$defs": {
        "Out": {
            "type": "object",
            "properties": {"label": {"type": "string", "minLength": 1}, "sure": {"type": "boolean"}},
            "required": ["label"],
        }
    },
}


def call(**changes: Any) -> ModelCall:
    return msgspec.structs.replace(CALL, **changes)


async def nothing(_: str) -> None:
    """Take a piece."""


@pytest.fixture
async def server() -> AsyncGenerator[AnthropicServer]:
    """An Anthropic."""
    async with AnthropicServer() as running:
        yield running


@pytest.fixture
async def model(server: AnthropicServer) -> AsyncGenerator[AnthropicMessages]:
    """The adapter for it."""
    made = AnthropicMessages(api_key="sk-ant-1", base_url=server.url)
    yield made
    await made.aclose()


async def failure(model: AnthropicMessages) -> AttemptError:
    with pytest.raises(AttemptError) as caught:
        await model.complete(call(), nothing)
    return caught.value


async def test_a_schema_goes_as_the_output_format(server: AnthropicServer, model: AnthropicMessages):
    """
    Closed, optional keys left optional, bounds in words.
    """
    await model.complete(call(output_schema=SCHEMA))

    sent = server.requests[0].body["output_config"]["format"]
    assert "json_schema" == sent["type"]
    assert sent["schema"]["additionalProperties"] is False
    assert ["label"] == sent["schema"]["required"]
    assert "minLength: 1" in sent["schema"]["properties"]["label"]["description"]


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "additionalProperties": {"type": "integer"}},
        {"type": "object", "properties": {"anything": {}}},
        {"$ref": "#/$defs/T", "$defs": {"T": {"type": "object", "properties": {"next": {"$ref": "#/$defs/T"}}}}},
    ],
    ids=["map", "untyped", "recursive"],
)
async def test_a_schema_that_it_cannot_hold_to_is_left_out(
    server: AnthropicServer, model: AnthropicMessages, schema: dict[str, Any]
):
    """
    Closing a map would make it always empty; the kit validates the answer anyway.
    """
    await model.complete(call(output_schema=schema))

    assert "output_config" not in server.requests[0].body


@pytest.mark.parametrize("emit", [None, nothing], ids=["whole", "streamed"])
async def test_a_model_that_writes_less_is_asked_within_its_bound(
    server: AnthropicServer, model: AnthropicMessages, emit: Emit | None
):
    """
    Learned once for the model, from what the API says that it has.
    """

    def bounded(received: Received) -> Step:
        asked = received.body["max_tokens"]
        said = f"max_tokens: {asked} > 4096, which is the maximum allowed number of output tokens for m"
        return Says() if asked <= 4096 else Fails(400, message=said)

    server.otherwise = bounded
    for asked in (9000, 9000, 100):
        await model.complete(call(max_output_tokens=asked), emit)

    assert [9000, 4096, 4096, 100] == [received.body["max_tokens"] for received in server.requests]


async def test_the_room_that_a_prompt_leaves_bounds_this_call_alone(server: AnthropicServer, model: AnthropicMessages):
    """
    Without any the document is too large.
    """

    def bounded(received: Received) -> Step:
        asked = received.body["max_tokens"]
        said = f"input length and `max_tokens` exceed context limit: 190000 + {asked} > 200000, decrease input length"
        return Says() if asked <= 10_000 else Fails(400, message=said)

    server.otherwise = bounded
    for _ in range(2):
        await model.complete(call(max_output_tokens=16_000))
    assert [16_000, 10_000] * 2 == [received.body["max_tokens"] for received in server.requests]

    server.otherwise = Fails(400, message="input length and `max_tokens` exceed context limit: 199990 + 100 > 200000")
    with pytest.raises(AttemptError) as caught:
        await model.complete(call(max_output_tokens=100))
    assert FailureKind.TOO_LARGE is caught.value.kind


@pytest.mark.parametrize(
    "message",
    ["max_tokens: 9 > 4096", "max_tokens: 9000 > 9000", "max_tokens: 9000 > 0", "max_tokens: must be a number"],
)
async def test_a_bound_that_makes_no_sense_is_a_refusal(
    server: AnthropicServer, model: AnthropicMessages, message: str
):
    """
    Asked once, and told.
    """
    server.otherwise = Fails(400, message=message)

    with pytest.raises(AttemptError):
        await model.complete(call(max_output_tokens=4000))

    assert 1 == len(server.requests)


async def test_sampling_is_left_to_the_provider(server: AnthropicServer, model: AnthropicMessages):
    """
    The API refuses a request that says anything about it; a bound on the output it demands.
    """
    await model.complete(call(temperature=0.0, top_p=0.5))

    body = server.requests[0].body
    assert OUTPUT_TOKENS_DEFAULT == body["max_tokens"]
    assert "system" not in body


@pytest.mark.parametrize("emit", [None, nothing], ids=["whole", "streamed"])
async def test_cached_tokens_are_counted_and_cost_less(server: AnthropicServer, model: AnthropicMessages, emit: Any):
    """
    Anthropic counts them beside the input, not within it.
    """
    server.script(Says(input_tokens=100_000, cached_tokens=50_000, output_tokens=10_000))

    usage = (await model.complete(call(), emit)).usage

    assert (100_000, 10_000) == (usage.input_tokens, usage.output_tokens)
    # claude-haiku-4-5: 1.00 for a million of input, a tenth of that where cached, 5.00 for a million of output.
    assert pytest.approx(0.05 + 0.005 + 0.05) == usage.cost_usd


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("overloaded_error", FailureKind.UNAVAILABLE),
        ("api_error", FailureKind.UNAVAILABLE),
        ("rate_limit_error", FailureKind.RATE_LIMITED),
        ("timeout_error", FailureKind.TIMEOUT),
        ("invalid_request_error", FailureKind.REFUSED),
    ],
)
async def test_an_error_event_is_named_by_its_type(
    server: AnthropicServer, model: AnthropicMessages, code: str, kind: FailureKind
):
    """
    The status was 200 long before; the tokens so far are reported.
    """
    server.script(FailsInside(code=code, message=DOCUMENT))

    error = await failure(model)

    assert kind is error.kind
    assert f"anthropic: error in the stream {code}" == error.message
    assert 11 == error.usage.input_tokens


async def test_only_message_stop_ends_a_stream(server: AnthropicServer, model: AnthropicMessages):
    """
    A stop reason alone does not.
    """
    says = Says("Hello")
    received = Received("POST", "/v1/messages", {}, {"model": "claude-haiku-4-5"})
    frames = [*server.opening(received, says), server.piece(received, "Hello"), *server.closing(received, says)]
    server.script(Garbage(b"".join(frames[:-1]), content_type="text/event-stream"))

    assert FailureKind.UNAVAILABLE is (await failure(model)).kind

    server.script(Garbage(b"".join(frames), content_type="text/event-stream"))
    assert "Hello" == (await model.complete(call(), nothing)).text


async def test_there_are_no_embeddings(model: AnthropicMessages):
    """
    Said without a request.
    """
    with pytest.raises(AttemptError) as caught:
        await model.embed(["a"], model="m", timeout_s=1.0)

    assert FailureKind.REFUSED is caught.value.kind


@pytest.mark.parametrize("ending", ["", "/", "/v1", "/v1/", "/v1/messages"])
async def test_a_base_url_may_have_its_version_or_not(server: AnthropicServer, ending: str):
    """
    What people paste.
    """
    model = AnthropicMessages(api_key="k", base_url=server.url + ending)

    assert "Hello there." == (await model.complete(call())).text
    await model.aclose()


def test_a_key_is_demanded():
    """
    The SDK would look for one in the environment and on disk.
    """
    with pytest.raises(ValueError, match="API key"):
        AnthropicMessages(api_key="")


async def test_no_prompt_and_no_key_is_ever_logged(
    server: AnthropicServer, model: AnthropicMessages, caplog: pytest.LogCaptureFixture
):
    """
    At debug level the SDK would log both.
    """
    caplog.set_level(logging.DEBUG)

    await model.complete(call())

    assert 1 == len(server.requests)
    assert DOCUMENT not in caplog.text
    assert "sk-ant-1" not in caplog.text
