"""What is Ollama's own about its adapter."""

from collections.abc import AsyncGenerator

import pytest

from flotilla.contracts.attempts import Usage
from flotilla.contracts.failures import FailureKind
from flotilla.inference.adapters.ollama_chat import OUTPUT_TOKENS_DEFAULT, OllamaChat
from flotilla.inference.backend import ModelCall, Turn
from flotilla.inference.errors import AttemptError
from flotilla.testkit.provider_ollama import OllamaServer
from flotilla.testkit.provider_steps import Fails, Garbage, Says, vector

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


async def test_a_whole_answer_that_is_not_done_is_no_answer(server: OllamaServer, model: OllamaChat):
    """
    Ollama's end marker counts there too.
    """
    body = b'{"model": "llama3.2", "message": {"role": "assistant", "content": "Hel"}, "done": false}'
    server.script(Garbage(body, content_type="application/json"))

    with pytest.raises(AttemptError) as caught:
        await model.complete(CALL)

    assert FailureKind.UNAVAILABLE is caught.value.kind


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
