"""What a model does not take is done without, whatever words a server refuses it in, and remembered for the model."""

import json
from collections.abc import AsyncGenerator, Callable
from typing import Any

import msgspec
import pytest

from flotilla.capabilities.errors import AttemptError
from flotilla.contracts.failures import FailureKind
from flotilla.inference.adapters.openai_chat import OpenAIChat
from flotilla.inference.adapters.openai_requests import REQUESTS_MAX, SCHEMAS_REFUSED_MAX
from flotilla.inference.backend import ModelCall, Turn
from flotilla.testkit.provider_openai import OpenAIServer
from flotilla.testkit.provider_steps import Fails, Garbage, Received, Says, Step, vector

SCHEMA: dict[str, Any] = {"type": "object", "properties": {"x": {"type": "string"}}, "required": ["x"]}
CALL = ModelCall(model="m", system="", turns=(Turn(role="user", content="one two three"),), timeout_s=10.0)
both_ways = pytest.mark.parametrize("streams", [False, True], ids=["whole", "streamed"])


async def nothing(_: str) -> None:
    """Take a piece."""


@pytest.fixture
async def server() -> AsyncGenerator[OpenAIServer]:
    """An OpenAI-compatible server."""
    async with OpenAIServer() as running:
        yield running


@pytest.fixture
async def model(server: OpenAIServer) -> AsyncGenerator[OpenAIChat]:
    """The adapter for it, as a gateway."""
    made = OpenAIChat(api_key="sk-1", base_url=server.url, provider="openai-compatible")
    yield made
    await made.aclose()


def call(**changes: Any) -> ModelCall:
    return msgspec.structs.replace(CALL, **changes)


def unless(
    fits: Callable[[dict[str, Any]], bool], refusal: Step, says: str = "Hello there."
) -> Callable[[Received], Step]:
    return lambda received: Says(says) if fits(received.body) else refusal


def refusal(status: int, body: Any) -> Garbage:
    return Garbage(json.dumps(body).encode(), content_type="application/json", status=status)


def form(body: dict[str, Any]) -> str | None:
    return body.get("response_format", {}).get("type")


@both_ways
@pytest.mark.parametrize("provider", ["openai", "gemini", "vllm", "llamacpp", "openai-compatible"])
@pytest.mark.parametrize(
    "refused",
    [
        refusal(400, {"error": {"message": "a response_format of this kind is not to be had", "param": None}}),
        refusal(422, {"error": {"message": "`json_schema` is no response_format.type here"}}),
        refusal(400, {"error": {"message": "This response_format type is unavailable now"}}),
        refusal(422, {"detail": [{"loc": ["body", "response_format", "type"], "msg": "unexpected value"}]}),
        refusal(400, {"error": {"message": "no", "param": "response_format"}}),
        refusal(400, {"error": "json_schema is not supported"}),
        refusal(501, {"error": {"message": "structured outputs are not implemented"}}),
        Garbage(b"Unknown field: response_format", content_type="text/plain", status=400),
    ],
    ids=range(8),
)
async def test_a_server_without_schemas(provider: str, refused: Garbage, *, streams: bool):
    """
    Gets the next best, at once in the next call.
    """
    async with OpenAIServer() as server:
        model = OpenAIChat(api_key="k", base_url=server.url, provider=provider)
        server.otherwise = unless(lambda body: form(body) != "json_schema", refused)
        for _ in range(2):
            await model.complete(call(output_schema=SCHEMA), nothing if streams else None)
        await model.complete(call(output_schema={**SCHEMA, "description": "another"}))
        await model.aclose()

        assert ["json_schema", "json_object", "json_object", "json_object"] == [
            form(asked.body) for asked in server.requests
        ]


async def test_a_server_that_takes_no_format_at_all(server: OpenAIServer, model: OpenAIChat):
    """
    Is left with the prompt.
    """
    server.otherwise = unless(
        lambda body: "response_format" not in body,
        Fails(422, message="Extra inputs are not permitted: response_format"),
    )
    for _ in range(2):
        await model.complete(call(output_schema=SCHEMA))

    assert ["json_schema", "json_object", None, None] == [form(asked.body) for asked in server.requests]


async def test_one_schema_that_is_refused_says_nothing_about_another(server: OpenAIServer, model: OpenAIChat):
    """
    Unless one after the other is, and none was ever taken.
    """
    bad = Fails(400, message="Failed to parse grammar")
    server.otherwise = unless(lambda body: "bad" not in str(body.get("response_format")), bad)
    await model.complete(call(output_schema={**SCHEMA, "description": "bad"}))
    await model.complete(call(output_schema=SCHEMA))
    assert ["json_schema", "json_object", "json_schema"] == [form(asked.body) for asked in server.requests]

    server.requests.clear()
    for number in range(SCHEMAS_REFUSED_MAX + 1):
        await model.complete(call(model="other", output_schema={**SCHEMA, "description": f"bad {number}"}))
    assert ["json_schema", "json_object"] * SCHEMAS_REFUSED_MAX + ["json_object"] == [
        form(asked.body) for asked in server.requests
    ]


@both_ways
@pytest.mark.parametrize(
    ("given", "refused"),
    [
        ({"temperature": 0.5}, Fails(400, code="unsupported_value", param="temperature", message="no")),
        ({"temperature": 0.5}, Fails(400, message="`temperature` and `top_p` cannot both be specified")),
        ({"top_p": 0.5}, Fails(422, message="Unknown parameter: top_p")),
        (
            {"top_p": 0.5},
            refusal(422, {"detail": [{"loc": ["body", "top_p"], "msg": "Extra inputs are not permitted"}]}),
        ),
        ({"stop": ("END",)}, Fails(400, code="unsupported_parameter", param="stop", message="no")),
        ({"stop": ("END",)}, Fails(422, message="property 'stop' is unsupported")),
        ({"stop": ("END",)}, Fails(400, message="Argument not supported on this model: stop")),
        (
            {"max_output_tokens": 9},
            Fails(400, message="Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens'."),
        ),
        ({"max_output_tokens": 9}, Fails(400, code="unsupported_parameter", param="max_tokens", message="no")),
    ],
    ids=range(9),
)
async def test_a_parameter_that_a_model_does_not_take(
    server: OpenAIServer, model: OpenAIChat, given: dict[str, Any], refused: Step, *, streams: bool
):
    """
    It is learned once for the model, and for no other.
    """
    name = {"max_output_tokens": "max_tokens"}.get(next(iter(given)), next(iter(given)))
    server.otherwise = unless(lambda body: body["model"] != "m" or name not in body, refused)
    for _ in range(2):
        await model.complete(call(**given), nothing if streams else None)
    await model.complete(call(model="other", **given))

    assert [True, False, False, True] == [name in asked.body for asked in server.requests]
    assert name != "max_tokens" or server.requests[1].body["max_completion_tokens"] == 9


async def test_a_stream_that_a_model_does_not_have(server: OpenAIServer, model: OpenAIChat):
    """
    Nor the options of one: the answer comes in one piece.
    """
    server.otherwise = unless(
        lambda body: "stream_options" not in body, Fails(400, message="Unknown field stream_options")
    )
    await model.complete(call(), nothing)
    assert [True, True] == [asked.streams for asked in server.requests]

    server.requests.clear()
    server.otherwise = unless(
        lambda body: not body.get("stream"),
        Fails(400, code="unsupported_value", param="stream", message="verify first"),
    )
    pieces: list[str] = []

    async def emit(text: str) -> None:
        pieces.append(text)

    await model.complete(call(), emit)
    assert ["Hello there."] == pieces
    assert [True, False] == [asked.streams for asked in server.requests]


@both_ways
async def test_stop_words_end_the_answer_all_the_same(server: OpenAIServer, model: OpenAIChat, *, streams: bool):
    """
    Also where they are cut between two pieces.
    """
    refused = Fails(400, code="unsupported_parameter", param="stop")
    cuts = ("one E", "N", "D two")
    server.otherwise = lambda received: (
        refused if "stop" in received.body else Says("".join(cuts), pieces=cuts, end="limit")
    )
    pieces: list[str] = []

    async def emit(text: str) -> None:
        pieces.append(text)

    done = await model.complete(call(stop=("END", "STOP")), emit if streams else None)

    assert ("one ", True) == (done.text, done.complete)
    assert not streams or "one " == "".join(pieces)


@pytest.mark.parametrize(
    ("message", "taken"),
    [
        ("max_tokens is too large: 9000. This model supports at most 4096 completion tokens, you provided 9000.", 4096),
        ("Invalid max_tokens value, the valid range of max_tokens is [1, 4096]", 4096),
        ("max_tokens: 9000 > 4096, which is the maximum allowed number of output tokens for m-0125", 4096),
        ("maxOutputTokens value of 9000 but the supported range is from 1 (inclusive) to 4097 (exclusive)", 4096),
    ],
)
async def test_a_smaller_output_bound(server: OpenAIServer, model: OpenAIChat, message: str, taken: int):
    """
    As the server says it.
    """
    server.otherwise = unless(lambda body: body["max_tokens"] <= taken, Fails(400, message=message))
    await model.complete(call(max_output_tokens=9000))
    await model.complete(call(max_output_tokens=9000))
    await model.complete(call(max_output_tokens=100))

    assert [9000, taken, taken, 100] == [asked.body["max_tokens"] for asked in server.requests]


async def test_an_output_bound_that_the_prompt_leaves_no_room_for(server: OpenAIServer, model: OpenAIChat):
    """
    Of this call; the next may have more room. Without any, the prompt is too large.
    """
    text = (
        "'max_tokens' is too large: {}. "
        "This model's maximum context length is 4096 tokens and your request has {} input tokens"
    )
    server.otherwise = unless(lambda body: body["max_tokens"] <= 3096, Fails(400, message=text.format(3500, 1000)))
    await model.complete(call(max_output_tokens=3500))
    await model.complete(call(max_output_tokens=3500))
    assert [3500, 3096, 3500, 3096] == [asked.body["max_tokens"] for asked in server.requests]

    server.otherwise = Fails(400, message=text.format(100, 4090))
    with pytest.raises(AttemptError) as caught:
        await model.complete(call(max_output_tokens=100))
    assert FailureKind.TOO_LARGE is caught.value.kind


@pytest.mark.parametrize(
    "message",
    [
        (
            "Requested token count exceeds the model's maximum context length of 4096 tokens. You requested a total of 4500"
            " tokens: 1000 tokens from the input messages and 3500 tokens for the completion."
        ),
        (
            "This endpoint's maximum context length is 4096 tokens. However, you requested about 4500 tokens"
            " (1000 of text input, 3500 in the output)."
        ),
        (
            "This model's maximum context length is 4096 tokens, however you requested 4500 tokens"
            " (1000 in your prompt; 3500 for the completion)."
        ),
        (
            "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096."
            " Given: 1000 `inputs` tokens and 3500 `max_new_tokens`"
        ),
    ],
    ids=["sglang", "openrouter", "openai", "tgi"],
)
@pytest.mark.parametrize("status", [400, 422])
async def test_the_room_that_a_prompt_leaves_in_the_words_of_each_server(
    server: OpenAIServer, model: OpenAIChat, message: str, status: int
):
    """
    A document that fits is worked on; its answer is only bounded closer.
    """
    server.otherwise = unless(lambda body: body["max_tokens"] <= 3096, Fails(status, message=message))

    await model.complete(call(max_output_tokens=3500))

    assert [3500, 3096] == [asked.body["max_tokens"] for asked in server.requests]


async def test_what_the_provider_behind_a_gateway_said_is_told(server: OpenAIServer, model: OpenAIChat):
    """
    The gateway's own sentence is always the same.
    """
    behind = {"error": {"message": "The model is overloaded, please try again later", "code": 429}}
    for raw in (json.dumps(behind), "The model is overloaded, please try again later"):
        error = {"message": "Provider returned error", "code": 429, "metadata": {"raw": raw, "provider_name": "x"}}
        server.otherwise = refusal(429, {"error": error})
        with pytest.raises(AttemptError) as caught:
            await model.complete(CALL)
        assert FailureKind.RATE_LIMITED is caught.value.kind
        assert "Provider returned error: The model is overloaded, please try again later" == caught.value.said


async def test_an_error_that_quotes_the_request_teaches_nothing(server: OpenAIServer, model: OpenAIChat):
    """
    Only a request that went well does.
    """
    everything = call(temperature=0.5, top_p=0.5, stop=("END",), max_output_tokens=9, output_schema=SCHEMA)
    quoted = Fails(
        400, message='"temperature": 0.5, "top_p", "stop": [], "max_tokens", "response_format", "json_schema"'
    )
    server.otherwise = quoted
    with pytest.raises(AttemptError) as caught:
        await model.complete(everything)
    assert FailureKind.REFUSED is caught.value.kind
    assert len(server.requests) <= REQUESTS_MAX

    server.requests.clear()
    server.otherwise = Says()
    await model.complete(everything)
    assert {"temperature", "top_p", "stop", "max_tokens", "response_format"} <= server.requests[0].body.keys()


@pytest.mark.parametrize("status", [401, 404, 429, 500, 503])
async def test_another_status_is_no_refusal_of_a_parameter(server: OpenAIServer, model: OpenAIChat, status: int):
    """
    Whatever it says.
    """
    server.otherwise = Fails(status, message="temperature")
    with pytest.raises(AttemptError):
        await model.complete(call(temperature=0.5))

    assert 1 == len(server.requests)


@pytest.mark.parametrize(
    ("provider", "most", "refused"),
    [
        ("gemini", 100, Fails(400, message="a batch holds 100 requests, not more")),
        ("openai", 2048, Fails(400, message="array too long: 2048 at most")),
        ("vllm", 32, Fails(422, message="batch size 250 > maximum allowed batch size 32")),
        ("openai-compatible", 96, Fails(400, message="too many texts: at most 96 in one call")),
        ("openai-compatible", 70, Fails(413, message="batch too large")),
        ("openai", 200, Fails(400, message="Requested 512000 tokens, max 300000 tokens per request")),
    ],
    ids=range(6),
)
async def test_texts_are_embedded_in_batches_that_a_server_takes(provider: str, most: int, refused: Step):
    """
    In order, with all of their tokens; what a refusal tells is remembered.
    """
    texts = [f"text {number}" for number in range(2049 if most == 2048 else 250)]
    async with OpenAIServer() as server:
        server.otherwise = unless(lambda body: len(body["input"]) <= most, refused)
        model = OpenAIChat(api_key="k", base_url=server.url, provider=provider)
        answers = [await model.embed(texts, model="m", timeout_s=10.0) for _ in range(2)]
        await model.aclose()

        for answer in answers:
            assert [vector(text) for text in texts] == answer.vectors

        sizes = [len(asked.body["input"]) for asked in server.requests]
        good = [size for size in sizes if size <= most]
        assert 2 * len(texts) == sum(good)
        assert 11 * len(good) // 2 == answers[1].usage.input_tokens
        # The second time nothing is refused.
        assert good[: len(good) // 2] == sizes[-(len(good) // 2) :]


async def test_a_text_that_is_refused_is_no_matter_of_the_batch(server: OpenAIServer, model: OpenAIChat):
    """
    It stays refused, and the limit as it is.
    """
    server.otherwise = Fails(400, message="input 7 is invalid")
    with pytest.raises(AttemptError) as caught:
        await model.embed([f"text {number}" for number in range(50)], model="m", timeout_s=10.0)
    assert FailureKind.REFUSED is caught.value.kind

    server.requests.clear()
    server.otherwise = Says()
    await model.embed([f"text {number}" for number in range(50)], model="m", timeout_s=10.0)
    assert 1 == len(server.requests)


BAD_VECTORS: list[Any] = [
    {"data": [{"index": 0, "embedding": [0.5]}, {"index": 0, "embedding": [0.5]}]},
    {"data": [{"index": 0, "embedding": [0.5]}, {"index": 2, "embedding": [0.5]}]},
    {"data": [{"index": 0, "embedding": [0.5]}, {"index": 1, "embedding": [0.5, 0.5]}]},
    {"data": [{"index": 0, "embedding": [0.5]}, {"index": 1, "embedding": []}]},
    {"data": [{"index": 0, "embedding": [[0.5]]}, {"index": 1, "embedding": [[0.5]]}]},
    {"data": [{"index": 0, "embedding": "?"}, {"index": 1, "embedding": "?"}]},
    {"data": None},
]


@pytest.mark.parametrize("body", BAD_VECTORS, ids=range(len(BAD_VECTORS)))
async def test_vectors_that_do_not_fit_the_texts(server: OpenAIServer, model: OpenAIChat, body: Any):
    """
    A vector must not be taken for another text's.
    """
    server.script(refusal(200, body))
    with pytest.raises(AttemptError) as caught:
        await model.embed(["a", "b"], model="m", timeout_s=10.0)
    assert FailureKind.CRASHED is caught.value.kind


async def test_vectors_of_two_models_are_not_mixed(server: OpenAIServer):
    """
    A gateway may send every batch elsewhere.
    """
    model = OpenAIChat(api_key="k", base_url=server.url, provider="gemini")
    server.script(Says(model="one"), Says(model="other"))
    with pytest.raises(AttemptError) as caught:
        await model.embed(["text"] * 101, model="m", timeout_s=10.0)
    await model.aclose()

    assert FailureKind.CRASHED is caught.value.kind


@pytest.mark.parametrize(
    ("body", "vectors"),
    [
        ({"data": [{"embedding": [1, 2]}, {"embedding": [3, 4]}]}, [[1.0, 2.0], [3.0, 4.0]]),
        ({"data": [{"index": 0, "embedding": "AAAAPw=="}, {"index": 1, "embedding": "AACAPw=="}]}, [[0.5], [1.0]]),
    ],
)
async def test_vectors_in_other_forms(server: OpenAIServer, model: OpenAIChat, body: Any, vectors: list[list[float]]):
    """
    Without numbers of their own, or in base64 whatever was asked for.
    """
    server.script(refusal(200, body))

    assert vectors == (await model.embed(["a", "b"], model="m", timeout_s=10.0)).vectors


async def test_an_error_inside_a_success_is_no_vector(server: OpenAIServer, model: OpenAIChat):
    """
    As for completions.
    """
    server.script(refusal(200, {"error": {"message": "no", "code": 429}}))
    with pytest.raises(AttemptError) as caught:
        await model.embed(["a"], model="m", timeout_s=10.0)
    assert FailureKind.RATE_LIMITED is caught.value.kind
