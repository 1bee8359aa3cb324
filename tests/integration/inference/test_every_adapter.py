"""What holds for every provider's adapter, against a real server that speaks the provider's protocol."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import msgspec
import pytest

from flotilla.capabilities.errors import AttemptError
from flotilla.contracts.attempts import Usage
from flotilla.contracts.failures import FailureKind
from flotilla.inference.adapters.anthropic_messages import AnthropicMessages
from flotilla.inference.adapters.ollama_chat import OllamaChat
from flotilla.inference.adapters.openai_chat import OpenAIChat
from flotilla.inference.backend import OUTPUT_TOKENS_DEFAULT, Model, ModelCall, Turn
from flotilla.testkit.provider_anthropic import AnthropicServer
from flotilla.testkit.provider_ollama import OllamaServer
from flotilla.testkit.provider_openai import OpenAIServer
from flotilla.testkit.provider_steps import Cuts, Fails, FailsInside, Garbage, Says, Stalls, Step
from flotilla.testkit.providers import ProviderServer

DOCUMENT = "the patient's name is Winifred Oduya"
KEY = "sk-test-5ecre7"
CALL = ModelCall(model="m-1", system="Be brief.", turns=(Turn(role="user", content=DOCUMENT),), timeout_s=10.0)
SCHEMA: dict[str, Any] = {
    "$ref": "#/$defs/Out",
    "$defs": {"Out": {"type": "object", "properties": {"label": {"type": "string"}}, "required": ["label"]}},
}
GONE_S = 8.0
"""Less than the timeout of a call, which would close a request that was left open as well."""

SERVERS: tuple[type[ProviderServer], ...] = (OllamaServer, OpenAIServer, AnthropicServer)


def adapter(
    server: ProviderServer, connections_max: int = 8, headers: dict[str, str] | None = None
) -> OllamaChat | OpenAIChat | AnthropicMessages:
    """The provider's own adapter."""
    if isinstance(server, OllamaServer):
        return OllamaChat(server.url, api_key=KEY, connections_max=connections_max, headers=headers)
    if isinstance(server, OpenAIServer):
        return OpenAIChat(api_key=KEY, base_url=server.url, connections_max=connections_max, headers=headers)
    return AnthropicMessages(api_key=KEY, base_url=server.url, connections_max=connections_max, headers=headers)


@pytest.fixture(params=SERVERS, ids=lambda kind: kind.__name__)
async def server(request: pytest.FixtureRequest) -> AsyncGenerator[ProviderServer]:
    """Each provider in turn."""
    async with request.param(api_key=KEY) as running:
        yield running


@pytest.fixture
async def model(server: ProviderServer) -> AsyncGenerator[Model]:
    """The adapter for it."""
    made = adapter(server)
    yield made
    await made.aclose()


def is_charged_unknown(server: ProviderServer, error: AttemptError) -> bool:
    """Whether a failure says of its cost what can be said: nothing at home, and elsewhere that it is not known."""
    return error.usage.cost_usd == (0.0 if isinstance(server, OllamaServer) else None)


def call(**changes: Any) -> ModelCall:
    return msgspec.structs.replace(CALL, **changes)


class Pieces(list[str]):
    """Takes what a stream emits, and tells when there are two."""

    def __init__(self) -> None:
        super().__init__()
        self.two = asyncio.Event()

    async def __call__(self, text: str) -> None:
        self.append(text)
        if len(self) == 2:
            self.two.set()


async def failure(model: Model, *, streams: bool, **changes: Any) -> AttemptError:
    with pytest.raises(AttemptError) as caught:
        await model.complete(call(**changes), Pieces() if streams else None)
    error = caught.value
    assert DOCUMENT not in str(error)
    assert KEY not in str(error)
    assert len(error.message) < 200
    return error


both_ways = pytest.mark.parametrize("streams", [False, True], ids=["whole", "streamed"])


async def test_a_whole_answer_comes_with_its_model_and_its_tokens(server: ProviderServer, model: Model):
    """
    One request, not streamed, and the provider's own account of it.
    """
    server.script(Says("All is well.", model="m-1-dated", input_tokens=21, output_tokens=4))

    answer = await model.complete(call())

    assert "All is well." == answer.text
    assert "m-1-dated" == answer.model
    assert (21, 4) == (answer.usage.input_tokens, answer.usage.output_tokens)
    assert answer.complete
    assert 1 == len(server.requests)
    assert not server.requests[0].streams


async def test_the_pieces_of_a_stream_join_to_the_text(server: ProviderServer, model: Model):
    """
    White space, empty pieces and characters outside the BMP included.
    """
    cuts = ("Grüße", " ", "", "\n\n", "an 🐙", " 世界")
    server.script(Says("".join(cuts), pieces=cuts, input_tokens=21, output_tokens=4, model="m-1-dated"))
    pieces = Pieces()

    answer = await model.complete(call(), pieces)

    assert [cut for cut in cuts if cut] == pieces
    assert "".join(cuts) == answer.text
    assert (21, 4) == (answer.usage.input_tokens, answer.usage.output_tokens)
    assert "m-1-dated" == answer.model
    assert answer.complete
    assert server.requests[0].streams


@both_ways
async def test_what_a_model_thinks_aloud_is_no_part_of_its_answer(
    server: ProviderServer, model: Model, *, streams: bool
):
    """
    Only the answer counts.
    """
    server.script(Says("Yes.", thinking="Is it? It is."))
    pieces = Pieces()

    answer = await model.complete(call(), pieces if streams else None)

    assert "Yes." == answer.text
    assert ["Yes."] == pieces or not streams


@both_ways
async def test_an_answer_cut_at_the_output_limit_is_not_complete(
    server: ProviderServer, model: Model, *, streams: bool
):
    """
    The text so far, marked as cut.
    """
    server.script(Says("Once upon a", end="limit"))

    answer = await model.complete(call(max_output_tokens=3), Pieces() if streams else None)

    assert "Once upon a" == answer.text
    assert not answer.complete


@both_ways
async def test_a_rate_limit_says_when_to_come_back_and_is_not_retried(
    server: ProviderServer, model: Model, *, streams: bool
):
    """
    The dispatcher alone retries.
    """
    server.script(Fails(429, headers={"retry-after": "7"}, message=DOCUMENT))

    error = await failure(model, streams=streams)

    assert FailureKind.RATE_LIMITED is error.kind
    assert 7.0 == error.retry_after_s
    assert 1 == len(server.requests)


@both_ways
@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (503, "Loading model", FailureKind.LOADING),
        (500, "llm server loading model", FailureKind.LOADING),
        (503, "Model some/model is currently loading", FailureKind.LOADING),
        (503, "the model is not ready", FailureKind.LOADING),
        (503, "server busy", FailureKind.UNAVAILABLE),
        (500, "error loading model: unknown architecture", FailureKind.UNAVAILABLE),
        (500, "unloading models at the loading dock", FailureKind.UNAVAILABLE),
    ],
)
async def test_a_model_that_is_being_loaded_is_told_apart_from_one_that_is_ill(
    server: ProviderServer, model: Model, status: int, message: str, kind: FailureKind, *, streams: bool
):
    """
    The first is waited for; what failed to load, or only speaks of loading, is not.
    """
    server.script(Fails(status, message=message))

    assert kind is (await failure(model, streams=streams)).kind


async def test_a_rate_limit_may_name_a_date(server: ProviderServer, model: Model):
    """
    RFC 9110 allows an HTTP date in Retry-After.
    """
    then = datetime.now(tz=UTC) + timedelta(seconds=90)
    server.script(Fails(429, headers={"retry-after": format_datetime(then, usegmt=True)}))

    error = await failure(model, streams=False)

    assert 60.0 < (error.retry_after_s or 0.0) <= 90.0


@both_ways
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, FailureKind.REFUSED),
        (401, FailureKind.AUTH),
        (402, FailureKind.AUTH),
        (403, FailureKind.AUTH),
        (404, FailureKind.UNKNOWN_MODEL),
        (408, FailureKind.TIMEOUT),
        (409, FailureKind.UNAVAILABLE),
        (413, FailureKind.TOO_LARGE),
        (422, FailureKind.REFUSED),
        (500, FailureKind.UNAVAILABLE),
        (501, FailureKind.REFUSED),
        (502, FailureKind.UNAVAILABLE),
        (503, FailureKind.UNAVAILABLE),
        (504, FailureKind.TIMEOUT),
        (529, FailureKind.UNAVAILABLE),
    ],
)
async def test_a_status_becomes_a_failure_kind(
    server: ProviderServer, model: Model, *, streams: bool, status: int, kind: FailureKind
):
    """
    Once asked, and nothing of the provider's text in the message: it quotes the prompt.
    """
    server.script(Fails(status, message=f"Invalid content: {DOCUMENT!r} with key {KEY}"))

    error = await failure(model, streams=streams)

    assert kind is error.kind
    assert f"HTTP {status}" in error.message
    assert 1 == len(server.requests)


@both_ways
async def test_a_prompt_longer_than_the_context_is_too_large(server: ProviderServer, model: Model, *, streams: bool):
    """
    Providers say so with a plain 400.
    """
    server.script(Fails(400, message="prompt is too long: 210000 tokens > 200000 maximum"))

    assert FailureKind.TOO_LARGE is (await failure(model, streams=streams)).kind


async def test_an_unknown_model_and_a_wrong_key_are_told_apart(server: ProviderServer, model: Model):
    """
    As the providers themselves answer them.
    """
    server.models = ("m-2",)
    assert FailureKind.UNKNOWN_MODEL is (await failure(model, streams=False)).kind

    server.api_key = "another"
    assert FailureKind.AUTH is (await failure(model, streams=False)).kind


@both_ways
@pytest.mark.parametrize(
    "garbage",
    [
        Garbage(),
        Garbage(b"", content_type="application/json"),
        Garbage(b'{"model": "m-1", "mess', content_type="application/json"),
        Garbage(b"\xff\xfe{}", content_type="application/json"),
    ],
    ids=["html", "empty", "half", "not-utf8"],
)
async def test_a_page_instead_of_an_answer_is_unavailable(
    server: ProviderServer, model: Model, *, streams: bool, garbage: Garbage
):
    """
    A proxy's page with status 200 is no answer.
    """
    server.script(garbage)

    assert FailureKind.UNAVAILABLE is (await failure(model, streams=streams)).kind


@pytest.mark.parametrize("body", [b"{}", b"[]", b'{"choices": [], "content": 7}', b'{"message": "text"}'])
async def test_json_of_another_shape_is_a_crash(server: ProviderServer, model: Model, body: bytes):
    """
    What answers is not of the protocol.
    """
    server.script(Garbage(body, content_type="application/json"))

    assert FailureKind.CRASHED is (await failure(model, streams=False)).kind


@pytest.mark.parametrize("how", ["close", "clean"])
@pytest.mark.parametrize("torn", [False, True], ids=["between-frames", "within-a-frame"])
async def test_a_stream_cut_in_the_middle_is_never_an_answer(
    server: ProviderServer, model: Model, how: Any, *, torn: bool
):
    """
    Whether the connection dropped, or a proxy ended the body properly.
    """
    server.script(Cuts(("Hel", "lo"), how=how, torn=torn))
    pieces = Pieces()

    with pytest.raises(AttemptError) as caught:
        await model.complete(call(), pieces)

    assert FailureKind.UNAVAILABLE is caught.value.kind
    assert is_charged_unknown(server, caught.value)
    assert ["Hel", "lo"] == pieces


async def test_a_whole_answer_cut_in_the_middle_is_unavailable(server: ProviderServer, model: Model):
    """
    Half a body is no answer either.
    """
    server.script(Cuts())

    error = await failure(model, streams=False)

    assert FailureKind.UNAVAILABLE is error.kind
    assert is_charged_unknown(server, error)


async def test_what_was_never_sent_or_was_refused_costs_nothing(server: ProviderServer, model: Model):
    """
    A provider without a free moment, and one that cannot be reached.
    """
    server.script(Fails(429))
    refused = await failure(model, streams=True)
    await server.__aexit__(None, None, None)
    fresh = adapter(server)
    gone = await failure(fresh, streams=True)
    await fresh.aclose()

    assert (FailureKind.RATE_LIMITED, Usage()) == (refused.kind, refused.usage)
    assert (FailureKind.UNAVAILABLE, Usage()) == (gone.kind, gone.usage)


async def test_an_error_inside_a_stream_ends_it(server: ProviderServer, model: Model):
    """
    After some pieces the provider sends an error instead of the rest.
    """
    server.script(FailsInside(("Hel", "lo"), message=DOCUMENT))

    error = await failure(model, streams=True)

    assert FailureKind.UNAVAILABLE is error.kind
    assert is_charged_unknown(server, error)


@both_ways
async def test_a_slow_first_byte_is_a_timeout(server: ProviderServer, model: Model, *, streams: bool):
    """
    And the provider sees that nobody waits any more.
    """
    server.script(Stalls())

    error = await failure(model, streams=streams, timeout_s=0.6)

    assert FailureKind.TIMEOUT is error.kind
    assert is_charged_unknown(server, error)
    await asyncio.wait_for(server.requests[0].disconnected.wait(), GONE_S)


async def test_the_timeout_bounds_a_stream_that_has_begun(server: ProviderServer, model: Model):
    """
    Pieces do not extend it.
    """
    server.script(Says("one two three", hold=asyncio.Event()))
    pieces = Pieces()
    began = time.perf_counter()

    with pytest.raises(AttemptError) as caught:
        await model.complete(call(timeout_s=1.0), pieces)

    assert FailureKind.TIMEOUT is caught.value.kind
    assert ["one", " two"] == pieces
    assert 5.0 > time.perf_counter() - began
    await asyncio.wait_for(server.requests[0].disconnected.wait(), GONE_S)


@both_ways
async def test_cancelling_closes_the_request_at_once(server: ProviderServer, model: Model, *, streams: bool):
    """
    A provider that is paid by the token stops, and a GPU is free again.
    """
    server.script(Says("one two three", hold=asyncio.Event()))
    pieces = Pieces()
    running = asyncio.create_task(model.complete(call(), pieces if streams else None))
    received = await server.received()
    if streams:
        await asyncio.wait_for(pieces.two.wait(), 60)

    running.cancel()

    with pytest.raises(asyncio.CancelledError):
        await running
    await asyncio.wait_for(received.disconnected.wait(), GONE_S)


async def test_cancelling_while_a_piece_is_being_passed_on_closes_the_request(server: ProviderServer, model: Model):
    """
    The caller's own reader may be what is slow.
    """
    server.script(Says("one two three", hold=asyncio.Event()))
    emitting = asyncio.Event()

    async def stuck(_: str) -> None:
        emitting.set()
        await asyncio.Event().wait()

    running = asyncio.create_task(model.complete(call(), stuck))
    await asyncio.wait_for(emitting.wait(), 60)
    running.cancel()

    with pytest.raises(asyncio.CancelledError):
        await running
    await asyncio.wait_for(server.requests[0].disconnected.wait(), GONE_S)


@pytest.mark.parametrize("broken", [ValueError, TimeoutError, ConnectionError])
async def test_an_error_of_the_reader_is_not_taken_for_the_providers(
    server: ProviderServer, model: Model, broken: type[Exception]
):
    """
    It comes through as it is, and the request is closed.
    """
    server.script(Says("one two three", hold=asyncio.Event()))

    async def fails(_: str) -> None:
        raise broken("the reader's own")

    with pytest.raises(broken, match="the reader's own") as caught:
        await model.complete(call(), fails)
    await asyncio.wait_for(server.requests[0].disconnected.wait(), GONE_S)
    # Kept until here: its traceback keeps the stream alive, so that only closing it can have ended the request.
    assert caught.tb is not None


@both_ways
async def test_a_server_that_is_not_there_is_unavailable(server: ProviderServer, model: Model, *, streams: bool):
    """
    Connection refused.
    """
    await server.aclose()

    assert FailureKind.UNAVAILABLE is (await failure(model, streams=streams)).kind


async def test_a_redirect_is_not_followed(server: ProviderServer, model: Model):
    """
    It could carry a document to a host that nobody configured.
    """
    async with type(server)() as elsewhere:
        await model.complete(call())
        location = f"{elsewhere.url}{server.requests[0].path}"
        server.script(Garbage(status=307, headers={"location": location}))

        assert FailureKind.UNAVAILABLE is (await failure(model, streams=False)).kind
        assert not elsewhere.requests


async def test_nothing_of_the_environment_leaves_in_headers(server: ProviderServer, monkeypatch: pytest.MonkeyPatch):
    """
    The SDKs read keys, organisations, custom headers and base URLs from it.
    """
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "OLLAMA_API_KEY", "OPENAI_ORG_ID"):
        monkeypatch.setenv(name, "leaked")
    for name in ("OPENAI_BASE_URL", "ANTHROPIC_BASE_URL", "OLLAMA_HOST"):
        monkeypatch.setenv(name, "http://leaked.invalid")
    for name in ("OPENAI_CUSTOM_HEADERS", "ANTHROPIC_CUSTOM_HEADERS"):
        monkeypatch.setenv(name, "Authorization: Bearer leaked\nX-Team: leaked")
    model = adapter(server)

    await model.complete(call())
    await model.aclose()

    headers = server.requests[0].headers
    assert f"Bearer {KEY}" == headers["authorization"]
    assert "leaked" not in str(headers)


async def test_a_gateways_own_headers_go_with_every_request(server: ProviderServer):
    """
    Whole, streamed, and where the models are listed; what HTTP, the protocol and the key say stays as it was.
    """
    model = adapter(server, headers={"api-key": "5ecre7", "X-Team": "search"})

    await model.complete(call())
    await model.complete(call(), Pieces())
    await model.models(timeout_s=5.0)
    await model.aclose()

    assert len(server.requests) >= 3
    for request in server.requests:
        assert "5ecre7" == request.headers["api-key"]
        assert "search" == request.headers["x-team"]
        assert f"Bearer {KEY}" == request.headers["authorization"]


@both_ways
async def test_a_conversation_arrives_in_order_with_its_bounds(server: ProviderServer, model: Model, *, streams: bool):
    """
    Every turn, the system's text, the stop words, the output bound.
    """
    turns = (Turn(role="user", content="a"), Turn(role="assistant", content="b"), Turn(role="user", content="c"))

    await model.complete(
        call(turns=turns, stop=("END",), max_output_tokens=99, temperature=0.5, top_p=0.9),
        Pieces() if streams else None,
    )

    body = server.requests[0].body
    said = [(message["role"], message["content"]) for message in body["messages"]]
    assert [("user", "a"), ("assistant", "b"), ("user", "c")] == [turn for turn in said if turn[0] != "system"]
    assert "Be brief." in (said[0][1], body.get("system"))
    flat = str(body)
    assert "'END'" in flat
    assert "99" in flat


@both_ways
async def test_no_call_goes_without_a_bound_on_its_output(server: ProviderServer, model: Model, *, streams: bool):
    """
    Servers' own default is often none, and small models do repeat themselves for ever.
    """
    await model.complete(call(), Pieces() if streams else None)

    assert str(OUTPUT_TOKENS_DEFAULT) in str(server.requests[0].body)


@both_ways
@pytest.mark.parametrize("inside", [False, True], ids=["as an error", "inside a success"])
async def test_the_providers_own_sentence_is_kept_apart(
    server: ProviderServer, model: Model, *, inside: bool, streams: bool
):
    """
    It may quote the prompt: who knows that decides what of it is told.
    """
    sentence = f"You exceeded your quota with {DOCUMENT}"
    if inside and not streams:
        pytest.skip("the server has an error inside a success for streams alone")
    server.script(FailsInside((), message=sentence) if inside else Fails(429, message=sentence))

    error = await failure(model, streams=streams)

    assert sentence == error.said


async def test_no_more_connections_than_allowed_are_opened(server: ProviderServer):
    """
    What does not fit waits inside the adapter.
    """
    hold = asyncio.Event()
    server.otherwise = Says(hold=hold)
    model = adapter(server, connections_max=2)
    running = [asyncio.create_task(model.complete(call())) for _ in range(5)]
    await server.received(2)

    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(server.received(3), 0.1)
    assert 2 == len(server.requests)

    hold.set()
    answers = await asyncio.gather(*running)
    assert 5 == len(answers)
    await model.aclose()


@both_ways
async def test_a_refusal_is_a_refusal_with_its_price(*, streams: bool):
    """
    Where the protocol has a word for it; the tokens were spent all the same.
    """
    kinds: tuple[type[ProviderServer], ...] = (OpenAIServer, AnthropicServer)
    for kind in kinds:
        async with kind() as server:
            model = adapter(server)
            server.script(Says("I can't", end="refused", input_tokens=21, output_tokens=3))

            error = await failure(model, streams=streams)

            assert FailureKind.REFUSED is error.kind
            assert (21, 3) == (error.usage.input_tokens, error.usage.output_tokens)
            await model.aclose()


@both_ways
async def test_one_adapter_serves_many_calls_after_a_failure(server: ProviderServer, model: Model, *, streams: bool):
    """
    No connection is lost to a failed call: the pool is as large as before.
    """
    made = adapter(server, connections_max=1)
    steps: list[Step] = [Cuts(), Fails(500), Garbage(), FailsInside(), Says("fine")]
    server.script(*steps)
    for _ in steps[:-1]:
        with contextlib.suppress(AttemptError):
            await made.complete(call(timeout_s=5.0), Pieces() if streams else None)

    assert "fine" == (await made.complete(call(timeout_s=5.0), Pieces() if streams else None)).text
    await made.aclose()
