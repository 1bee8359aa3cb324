"""What is Ollama's own about its adapter."""

from collections.abc import AsyncGenerator
from typing import Any

import msgspec
import pytest

from flotilla.capabilities.errors import AttemptError
from flotilla.contracts.attempts import Usage
from flotilla.contracts.failures import FailureKind
from flotilla.inference.adapters.ollama_chat import OllamaChat
from flotilla.inference.backend import OUTPUT_TOKENS_DEFAULT, Emit, ModelCall, Turn
from flotilla.testkit.provider_ollama import OllamaServer
from flotilla.testkit.provider_steps import Fails, Garbage, Loops, Says, vector

SCHEMA = {
    "$ref": "#/$defs/Out",
    "$defs": {"Out": {"type": "object", "properties": {"label": {"type": "string", "minLength": 1}}}},
}
CALL = ModelCall(model="llama3.2", system="", turns=(Turn(role="user", content="one two three four"),), timeout_s=10.0)


@pytest.fixture
async def server() -> AsyncGenerator[OllamaServer]:
    """An Ollama with one model."""
    async with OllamaServer(models=("llama3.2",)) as running:
        yield running


@pytest.fixture
async def model(server: OllamaServer) -> AsyncGenerator[OllamaChat]:
    """The adapter for it."""
    made = OllamaChat(server.url)
    yield made
    await made.aclose()


async def nothing(_: str) -> None:
    """Take a piece."""


async def test_a_schema_goes_as_the_format_with_an_object_at_its_root(server: OllamaServer, model: OllamaChat):
    """
    Whole, bounds included: Ollama builds its grammar from it.
    """
    await model.complete(
        ModelCall(model="llama3.2", system="", turns=CALL.turns, output_schema=SCHEMA, timeout_s=10.0), nothing
    )

    sent = server.requests[0].body["format"]
    assert "object" == sent["type"]
    assert 1 == sent["properties"]["label"]["minLength"]
    assert SCHEMA["$defs"] == sent["$defs"]


@pytest.mark.parametrize("emit", [None, nothing], ids=["whole", "streamed"])
@pytest.mark.parametrize("trap", [{"pattern": r"^\d+$"}, {"pattern": "^(?=a)"}, {"pattern": "a"}, {"maxLength": 5000}])
async def test_what_ollama_dies_of_is_left_out_of_a_schema(
    server: OllamaServer, model: OllamaChat, trap: dict[str, Any], emit: Emit | None
):
    """
    Whatever else it was working on would be lost with it. The kit checks the output against the whole schema.
    """
    schema = {"type": "object", "properties": {"x": {"type": "string", "minLength": 1} | trap}, "required": ["x"]}

    await model.complete(msgspec.structs.replace(CALL, output_schema=schema), emit)

    assert {"type": "string", "minLength": 1} == server.requests[0].body["format"]["properties"]["x"]
    assert 1 == len(server.requests)


@pytest.mark.parametrize("emit", [None, nothing], ids=["whole", "streamed"])
@pytest.mark.parametrize(("kind", "instead"), [("object", "json"), ("array", None)])
async def test_a_schema_that_ollama_makes_no_grammar_of_is_done_without(
    server: OllamaServer, model: OllamaChat, kind: str, instead: str | None, emit: Emit | None
):
    """
    It says 500 to such a schema; as a failure of the server it would close the model for every capability.
    """
    schema = {"type": kind, "properties": {"child": {"$ref": "#"}}}
    wanted = msgspec.structs.replace(CALL, output_schema=schema)

    for _ in range(2):
        await model.complete(wanted, emit)

    assert [schema, instead, instead] == [asked.body.get("format") for asked in server.requests]


async def test_a_plain_call_has_no_format_and_a_bound_on_its_output(server: OllamaServer, model: OllamaChat):
    """
    Ollama's own default would be no bound at all; an empty system text is no message.
    """
    answer = await model.complete(CALL)

    body = server.requests[0].body
    assert "format" not in body
    assert {"num_predict": OUTPUT_TOKENS_DEFAULT} == body["options"]
    assert ["user"] == [message["role"] for message in body["messages"]]
    assert "authorization" not in server.requests[0].headers
    assert 0.0 == answer.usage.cost_usd


@pytest.mark.parametrize("emit", [None, nothing], ids=["whole", "streamed"])
async def test_a_document_that_exceeds_the_context_is_too_large_and_not_cut(server: OllamaServer, emit: object):
    """
    Left to itself, Ollama drops the middle of the document and answers as if it had read it all.
    """
    server.context_words = 3
    model = OllamaChat(server.url, context_tokens=3)

    with pytest.raises(AttemptError) as caught:
        await model.complete(CALL, nothing if emit else None)

    assert FailureKind.TOO_LARGE is caught.value.kind
    assert 3 == server.requests[0].body["options"]["num_ctx"]
    await model.aclose()


async def test_a_runner_that_dies_in_the_middle_of_a_stream_is_unavailable_with_no_text(
    server: OllamaServer, model: OllamaChat
):
    """
    Ollama reports it in a line of the stream.
    """
    server.script(Garbage(b'{"error": "llama runner died: one two three"}\n', content_type="application/x-ndjson"))

    with pytest.raises(AttemptError) as caught:
        await model.complete(CALL, nothing)

    assert FailureKind.UNAVAILABLE is caught.value.kind
    assert "ollama: error in the stream" == caught.value.message


@pytest.mark.parametrize("emit", [None, nothing], ids=["whole", "streamed"])
async def test_a_model_that_is_stopped_for_going_round_in_circles_gave_no_valid_output(
    server: OllamaServer, model: OllamaChat, emit: Emit | None
):
    """
    The server ends such an answer properly, but not as done; asking the same model again would meet the same.
    """
    server.script(Loops())

    with pytest.raises(AttemptError) as caught:
        await model.complete(CALL, emit)

    assert FailureKind.INVALID_OUTPUT is caught.value.kind


@pytest.mark.parametrize("emit", [None, nothing], ids=["whole", "streamed"])
async def test_nothing_is_sent_to_a_model_that_runs_on_another_server(
    server: OllamaServer, model: OllamaChat, emit: Emit | None
):
    """
    Ollama's cloud models look like any other, and a document given to one leaves the machine.
    """
    server.models = ("llama3.2", "gpt-oss:120b-cloud")
    server.remote_models = frozenset({"gpt-oss:120b-cloud"})
    remote = msgspec.structs.replace(CALL, model="gpt-oss:120b-cloud")

    for _ in range(2):
        with pytest.raises(AttemptError) as caught:
            await model.complete(remote, emit)
        assert FailureKind.REFUSED is caught.value.kind
    with pytest.raises(AttemptError):
        await model.embed(["one"], model="gpt-oss:120b-cloud", timeout_s=10.0)
    assert not server.requests

    await model.complete(CALL, emit)
    await model.complete(CALL, emit)
    assert ["gpt-oss:120b-cloud"] * 3 + ["llama3.2"] == [asked.body["model"] for asked in server.shown]


@pytest.mark.parametrize("emit", [None, nothing], ids=["whole", "streamed"])
async def test_a_model_that_has_moved_to_another_server_is_found_out(
    server: OllamaServer, model: OllamaChat, emit: Emit | None
):
    """
    Its answers say so; the next document stays.
    """
    await model.complete(CALL, emit)
    server.remote_models = frozenset({"llama3.2"})

    for _ in range(3):
        with pytest.raises(AttemptError) as caught:
            await model.complete(CALL, emit)
        assert FailureKind.REFUSED is caught.value.kind

    assert 2 == len(server.requests)


async def test_texts_are_embedded_in_order(server: OllamaServer, model: OllamaChat):
    """
    In one request, counted, and never of a text's beginning only.
    """
    server.script(Says(input_tokens=5))

    answer = await model.embed(["a", "b", "c"], model="llama3.2", timeout_s=10.0)

    assert [vector("a"), vector("b"), vector("c")] == answer.vectors
    assert Usage(input_tokens=5) == answer.usage
    assert "llama3.2" == answer.model
    assert server.requests[0].body["truncate"] is False


async def test_fewer_vectors_than_texts_is_a_crash(server: OllamaServer, model: OllamaChat):
    """
    A vector must not be taken for another text's.
    """
    server.script(Garbage(b'{"embeddings": [[0.5]]}', content_type="application/json"))

    with pytest.raises(AttemptError) as caught:
        await model.embed(["a", "b"], model="llama3.2", timeout_s=10.0)

    assert FailureKind.CRASHED is caught.value.kind


async def test_the_installed_models_are_listed(server: OllamaServer, model: OllamaChat):
    """
    So a worker knows what it can announce, and that the server is there.
    """
    assert ["llama3.2"] == await model.models(timeout_s=10.0)

    await server.aclose()
    with pytest.raises(AttemptError) as caught:
        await model.models(timeout_s=10.0)
    assert FailureKind.UNAVAILABLE is caught.value.kind


@pytest.mark.parametrize("ending", ["", "/", "/v1", "/v1/", "/api", "/api/chat"])
async def test_a_base_url_may_be_written_in_many_ways(server: OllamaServer, ending: str):
    """
    With and without the scheme and a path.
    """
    for url in (server.url, server.url.removeprefix("http://")):
        model = OllamaChat(url + ending)
        assert "Hello there." == (await model.complete(CALL)).text
        await model.aclose()


async def test_a_server_that_is_full_is_unavailable(server: OllamaServer, model: OllamaChat):
    """
    Ollama says 503 when its queue is full.
    """
    server.script(Fails(503, message="server busy, please try again. maximum pending requests exceeded"))

    with pytest.raises(AttemptError) as caught:
        await model.complete(CALL)

    assert FailureKind.UNAVAILABLE is caught.value.kind
