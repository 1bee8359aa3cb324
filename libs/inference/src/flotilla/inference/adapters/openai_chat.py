"""
OpenAI and everything that speaks its chat completions: vLLM, llama.cpp's server, LM Studio, Gemini, gateways.

Requests go through the SDK's HTTP client, and answers are decoded here from their bytes, not by the SDK: it builds its
objects without checking them, gives the text of a page that is not JSON as if it were an answer, and takes most of
a call's CPU time for it.
"""

import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Mapping
from contextlib import aclosing
from typing import Any, Final

import httpx2
import msgspec
import openai
from msgspec import Struct

from flotilla.contracts.providers import providers_of
from flotilla.inference.adapters import pricing
from flotilla.inference.adapters.access import Access
from flotilla.inference.adapters.answer_bodies import (
    STREAM_ACCEPT,
    beginning,
    chained,
    chunks,
    drained,
    error_answer,
    read,
    spent_by,
)
from flotilla.inference.adapters.egress import OUTWARD, Egress
from flotilla.inference.adapters.endpoints import openai_url
from flotilla.inference.adapters.errors_told import failure_inside
from flotilla.inference.adapters.failures import (
    CONNECTIONS_MAX,
    deadline,
    misshapen,
    not_json,
    too_slow,
    unreachable,
)
from flotilla.inference.adapters.http_clients import KEPT_S, TIMEOUT, provider_client
from flotilla.inference.adapters.openai_answers import Answer, Reading, decode_answer
from flotilla.inference.adapters.openai_embeddings import BatchLimits, joined, smaller_batch, vectors_in
from flotilla.inference.adapters.openai_requests import REQUESTS_MAX, Requests, Without
from flotilla.inference.adapters.server_sent_events import events, is_event_stream
from flotilla.inference.adapters.stop_words import StopWords
from flotilla.inference.adapters.streams import Gathered
from flotilla.inference.backend import Completion, Embedding, Emit, ModelCall
from flotilla.inference.lenient_json import loads

OF_ONES_OWN: Final = frozenset(provider.name for provider in providers_of("local"))
"""Servers on one's own hardware: a new connection to one costs next to nothing."""
OWN_KEPT_S: Final = 2.0
"""How long an idle connection to one's own server is kept: less than the 5 s after which they close it themselves."""
BATCH_REFUSALS_MAX: Final = 4
END: Final = "[DONE]"

# At debug level the SDK would log URLs and options; `OPENAI_LOG` in the environment must not turn that on.
logging.getLogger("openai").setLevel(logging.WARNING)


class _Listed(Struct):
    id: str


class _Models(Struct):
    data: list[_Listed]


_encode: Final = msgspec.json.Encoder().encode
_decode_models: Final = msgspec.json.Decoder(_Models).decode


class OpenAIChat:
    """
    The models behind one OpenAI-compatible API.

    What a model refuses to take is done without, and remembered: see `openai_requests`. Stop words that it does not take
    end the answer here.

    Args:
        api_key: None for a server that wants none.
        base_url: With or without `/v1`; None for the public endpoint of `openai` or `gemini`. ValueError when it is no
            URL, or missing for another provider.
        provider: Names it in results, errors and the price list: `openai`, `gemini`, `vllm`, `llamacpp`, ...
        egress: Which way its calls take; by default as the environment says.
        connections_max: Calls that may run at once; more wait for a connection within their own timeout.
        headers: Sent with every request, as `extra_headers` reads them.
    """

    def __init__(
        self,
        *,
        api_key: str | None,
        base_url: str | None = None,
        provider: str = "openai",
        egress: Egress = OUTWARD,
        connections_max: int = CONNECTIONS_MAX,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        pricing.load(provider)
        self._provider = provider
        self._requests = Requests(provider)
        self._batches = BatchLimits(provider)
        url = openai_url(base_url, provider)
        self._chat_url = httpx2.URL(f"{url}/chat/completions")
        self._models_url = httpx2.URL(f"{url}/models")
        self._embeddings_url = httpx2.URL(f"{url}/embeddings")
        of_ones_own = provider in OF_ONES_OWN
        self._keeps_streams = not of_ones_own
        self._headers = {"accept": "application/json", "content-type": "application/json"}
        # llama.cpp's server promises to keep a connection and closes it after a stream: the next call would fail.
        closes = {"connection": "close"} if of_ones_own else {}
        self._stream_headers = self._headers | {"accept": STREAM_ACCEPT} | closes
        self._http = provider_client(
            provider,
            url,
            egress,
            api_key=api_key,
            connections_max=connections_max,
            kept_s=OWN_KEPT_S if of_ones_own else KEPT_S,
            headers=headers,
        )
        self._sdk = openai.AsyncOpenAI(
            # The hook sets the real authorization; an empty key would send the SDK to the environment for one.
            api_key=api_key or "none",
            base_url=url,
            organization="",
            project="",
            timeout=TIMEOUT,
            max_retries=0,
            http_client=self._http,
        )

    @property
    def provider(self) -> str:
        """The name that the settings give the provider."""
        return self._provider

    async def complete(self, call: ModelCall, emit: Emit | None = None) -> Completion:
        """Run one completion; see `flotilla.inference.backend.Model`."""
        gathered = Gathered()
        async with deadline(self._provider, call.timeout_s, lambda: gathered.usage):
            if emit is None:
                with self._translated(gathered):
                    await self._whole(call, gathered)
            else:
                async with aclosing(self._pieces(call, gathered)) as pieces:
                    async for piece in pieces:
                        gathered.add(piece)
                        await emit(piece)
        return Completion(
            text=gathered.text,
            model=gathered.model or call.model,
            usage=gathered.usage,
            complete=gathered.complete,
        )

    async def embed(self, texts: list[str], *, model: str, timeout_s: float) -> Embedding:
        """Embed texts, in as many calls as the provider's limit on one call takes."""
        spent = Gathered()
        async with deadline(self._provider, timeout_s, lambda: spent.usage):
            with self._translated(spent):
                most = self._batches.most(model)
                refusals_left = BATCH_REFUSALS_MAX
                parts: list[Embedding] = []
                done = 0
                while done < len(texts):
                    batch = texts[done : done + most]
                    # The SDK would ask for base64, which not every compatible server knows.
                    body = {"model": model, "input": batch, "encoding_format": "float"}
                    response = await self._sent(self._embeddings_url, _encode(body), self._headers)
                    if not response.is_success:
                        error = await error_answer(response, provider=self._provider, spent=spent.usage)
                        smaller = smaller_batch(len(batch), error.status, error.text) if refusals_left else None
                        if smaller is None:
                            raise error.failure
                        refusals_left, most = refusals_left - 1, smaller
                        continue
                    part = vectors_in(await read(response), len(batch), provider=self._provider, asked=model)
                    spent.usage += part.usage
                    parts.append(part)
                    done += len(batch)
                self._batches.learn(model, most)
                return joined(parts, provider=self._provider)

    async def models(self, *, timeout_s: float) -> list[str]:
        """
        The ids of the models that the key may use, as the provider lists them.

        Raises:
            AttemptError: As a completion does; so this also tells whether the server answers and takes the key.
        """
        async with deadline(self._provider, timeout_s):
            with self._translated(Gathered()):
                # Not by the SDK, which imports half of itself for it: on the event loop, for seconds on a busy machine.
                request = httpx2.Request("GET", self._models_url, headers=self._headers)
                response = await self._http.send(request, stream=True)
                if not response.is_success:
                    raise (await error_answer(response, provider=self._provider)).failure
                return [model.id for model in _decode_models(await read(response)).data]

    async def aclose(self) -> None:
        """Close the HTTP client."""
        await self._sdk.close()

    async def _whole(self, call: ModelCall, gathered: Gathered) -> None:
        response, without = await self._answered(call, stream=False)
        body = await read(response)
        reading = Reading(self._provider, call.model, gathered)
        stops = StopWords(call.stop if "stop" in without.names else ())
        if not is_event_stream(response.headers.get("content-type", ""), body):
            gathered.add(stops.feed(reading.take(decode_answer(body))))
        else:
            async with aclosing(self._events(body, _nothing(), reading)) as answers:
                async for answer in answers:
                    gathered.add(stops.feed(reading.take(answer)))
        gathered.add(stops.feed(reading.end()) + stops.end())
        gathered.complete = gathered.complete or stops.reached

    async def _pieces(self, call: ModelCall, gathered: Gathered) -> AsyncGenerator[str]:
        with self._translated(gathered):
            response, without = await self._answered(call, stream=True)
            reading = Reading(self._provider, call.model, gathered)
            stops = StopWords(call.stop if "stop" in without.names else ())
            try:
                async with aclosing(self._answers(response, reading)) as answers:
                    async for answer in answers:
                        if piece := stops.feed(reading.take(answer)):
                            yield piece
                        if stops.reached and reading.streamed:
                            return
            finally:
                await response.aclose()
            if piece := stops.feed(reading.end()) + stops.end():
                yield piece
            gathered.complete = gathered.complete or stops.reached

    async def _answered(self, call: ModelCall, *, stream: bool) -> tuple[httpx2.Response, Without]:
        """The response to a call, perhaps without what the model does not take; whoever gets it closes it."""
        without = self._requests.known(call)
        for requests_left in range(REQUESTS_MAX - 1, -1, -1):
            streams = stream and "stream" not in without.names
            body = self._requests.body(call, without, stream=streams)
            response = await self._sent(self._chat_url, body, self._stream_headers if streams else self._headers)
            if response.is_success:
                self._requests.went_well(call, without)
                return response, without
            error = await error_answer(response, provider=self._provider)
            less = self._requests.refused(call, without, error.status, error.text, param=error.param, stream=streams)
            if less is None or not requests_left:
                raise error.failure
            without = less
        raise AssertionError  # the last request returns or raises

    async def _sent(self, url: httpx2.URL, body: bytes, headers: dict[str, str]) -> httpx2.Response:
        return await self._http.send(httpx2.Request("POST", url, headers=headers, content=body), stream=True)

    async def _answers(self, response: httpx2.Response, reading: Reading) -> AsyncGenerator[Answer | list[Any]]:
        """The chunks of a stream, or the whole answer as one: whichever the server sends."""
        content_type = response.headers.get("content-type", "")
        body = chunks(response)
        first = await beginning(body)
        if not is_event_stream(content_type, first):
            whole = b"".join([first, *[chunk async for chunk in body]])
            if not is_event_stream(content_type, whole):
                yield decode_answer(whole)
                return
            first = whole
        async for answer in self._events(first, body, reading):
            yield answer

    async def _events(
        self, first: bytes, rest: AsyncIterator[bytes], reading: Reading
    ) -> AsyncGenerator[Answer | list[Any]]:
        reading.streamed = True
        async with aclosing(events(chained(first, rest), provider=self._provider)) as found:
            async for event in found:
                if event.data.strip() == END:
                    if self._keeps_streams:
                        await drained(found)
                    return
                raw = event.data.encode()
                if event.event == "error":
                    raise failure_inside(loads(raw), self._provider)
                yield decode_answer(raw)

    @contextlib.contextmanager
    def _translated(self, gathered: Gathered) -> Generator[None]:
        provider = self._provider
        try:
            yield
        except httpx2.TimeoutException as error:
            raise too_slow(provider, error, spent_by(provider, error, gathered.usage)) from error
        except httpx2.HTTPError as error:
            raise unreachable(provider, error, spent_by(provider, error, gathered.usage)) from error
        except msgspec.ValidationError as error:
            raise misshapen(provider).with_usage(spent_by(provider, error, gathered.usage)) from error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise not_json(provider).with_usage(spent_by(provider, error, gathered.usage)) from error


def connect(access: Access) -> OpenAIChat:
    """The adapter, as `access.connect` makes it."""
    return OpenAIChat(
        api_key=access.api_key,
        base_url=access.base_url,
        provider=access.provider.name,
        egress=access.egress,
        connections_max=access.connections_max,
        headers=access.headers,
    )


async def _nothing() -> AsyncGenerator[bytes]:
    for chunk in ():
        yield chunk
