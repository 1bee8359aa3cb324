"""
OpenAI and everything that speaks its chat completions: vLLM, llama.cpp's server, LM Studio, Gemini.

Whole answers are decoded here from their bytes, not by the SDK: it builds its objects without checking them, and hands
back the text of a page that is not JSON as if it were an answer.
"""

import contextlib
import logging
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from contextlib import aclosing
from http import HTTPStatus
from json import JSONDecodeError
from typing import Any, Final, Protocol, cast

import httpx2
import msgspec
import openai
from msgspec import Struct
from openai.types.chat import ChatCompletionChunk

from flotilla.contracts.attempts import Usage
from flotilla.contracts.failures import FailureKind
from flotilla.inference.adapters import pricing
from flotilla.inference.adapters.egress import OUTWARD, Egress
from flotilla.inference.adapters.endpoints import openai_url
from flotilla.inference.adapters.failures import (
    CONNECTIONS_MAX,
    deadline,
    failure_of,
    misshapen,
    not_json,
    refused,
    too_slow,
    unreachable,
)
from flotilla.inference.adapters.http_clients import TIMEOUT, provider_client
from flotilla.inference.adapters.schemas import grammar_schema, rooted, strict_schema
from flotilla.inference.adapters.streams import Gathered
from flotilla.inference.adapters.token_counts import token_count, unknown_usage, usage_of
from flotilla.inference.backend import Completion, Embedding, Emit, ModelCall
from flotilla.inference.errors import AttemptError

HINTS: Final = ("temperature", "top_p")
"""What a call may lose when the model does not take it: reasoning models refuse requests that set either."""
LLAMA_CPP: Final = frozenset({"llamacpp", "openai-compatible"})
"""Servers that are llama.cpp, or may be: they get no schema that it is known to die of."""
OF_ONES_OWN: Final = LLAMA_CPP | {"vllm"}
"""Servers that make a grammar of a schema, and may find that they cannot: then they do without."""
REQUESTS_MAX: Final = len(HINTS) + 2
"""Of one call: one more for each thing that it may lose."""
MODELS_REMEMBERED_MAX: Final = 256
SCHEMAS_REMEMBERED_MAX: Final = 256
STREAM_HEADERS: Final = {"Accept": "text/event-stream, application/json"}

_SCHEMA_AT_FAULT: Final = re.compile(r"json.?schema|grammar", re.IGNORECASE)

# At debug level the SDK would log URLs and options; `OPENAI_LOG` in the environment must not turn that on.
logging.getLogger("openai").setLevel(logging.WARNING)


class _CachedTokens(Struct):
    cached_tokens: Any = None


class _Tokens(Struct):
    prompt_tokens: Any = None
    completion_tokens: Any = None
    prompt_tokens_details: _CachedTokens | None = None


class _Message(Struct):
    content: str | None = None
    refusal: str | None = None


class _Choice(Struct):
    message: _Message
    finish_reason: str | None = None


class _Answer(Struct):
    choices: list[_Choice]
    model: str | None = None
    usage: _Tokens | None = None


class _Part(Struct):
    delta: _Message | None = None
    finish_reason: str | None = None


class _Chunk(Struct):
    choices: list[_Part] | None = None
    model: str | None = None
    usage: _Tokens | None = None


class _Vector(Struct):
    embedding: list[float]
    index: int = 0


class _Vectors(Struct):
    data: list[_Vector]
    model: str | None = None
    usage: _Tokens | None = None


class _Listed(Struct):
    id: str


class _Models(Struct):
    data: list[_Listed]


class _Body(Protocol):
    @property
    def content(self) -> bytes: ...


_Create = Callable[..., Awaitable[_Body]]
_encode: Final = msgspec.json.Encoder().encode
_decode_answer: Final = msgspec.json.Decoder(_Answer).decode
_decode_vectors: Final = msgspec.json.Decoder(_Vectors).decode
_decode_models: Final = msgspec.json.Decoder(_Models).decode


class OpenAIChat:
    """
    The models behind one OpenAI-compatible API.

    Structured output is strict where the provider is OpenAI and the schema allows it; elsewhere the schema goes as it
    is, since servers of one's own build their grammar from the whole of it, or without what llama.cpp dies of.

    Args:
        api_key: None for a server that wants none.
        base_url: With or without `/v1`; None for the public endpoint of `openai` or `gemini`. ValueError when it is no
            URL, or missing for another provider.
        provider: Names it in results, errors and the price list: `openai`, `gemini`, `vllm`, `llamacpp`, ...
        egress: Which way its calls take; by default as the environment says.
        connections_max: Calls that may run at once; more wait for a connection within their own timeout.
    """

    def __init__(
        self,
        *,
        api_key: str | None,
        base_url: str | None = None,
        provider: str = "openai",
        egress: Egress = OUTWARD,
        connections_max: int = CONNECTIONS_MAX,
    ) -> None:
        pricing.load(provider)
        self._provider = provider
        self._refused_hints: dict[str, frozenset[str]] = {}
        self._refused_schemas: set[bytes] = set()
        url = openai_url(base_url, provider)
        # llama.cpp's server promises to keep a connection and closes it after a stream, others close it when it was
        # idle for as long as a client keeps it: the next call would fail. A new one to a neighbour costs next to nothing.
        kept = 0 if provider in OF_ONES_OWN else connections_max
        self._client = openai.AsyncOpenAI(
            # The hook below sets the real authorization; an empty key would send the SDK to the environment for one.
            api_key=api_key or "none",
            base_url=url,
            organization="",
            project="",
            timeout=TIMEOUT,
            max_retries=0,
            http_client=provider_client(
                provider, url, egress, api_key=api_key, connections_max=connections_max, kept_max=kept
            ),
        )

    @property
    def provider(self) -> str:
        """As given."""
        return self._provider

    async def complete(self, call: ModelCall, emit: Emit | None = None) -> Completion:
        """Run one completion; see `flotilla.inference.backend.Model`."""
        async with deadline(self._provider, call.timeout_s):
            gathered = Gathered()
            if emit is None:
                with self._translated(gathered):
                    await self._whole(call, gathered)
            else:
                async with aclosing(self._pieces(call, gathered)) as pieces:
                    async for piece in pieces:
                        await emit(piece)
        if gathered.declined or gathered.end == "content_filter":
            raise refused(self._provider, "refusal" if gathered.declined else gathered.end, gathered.usage)
        return Completion(
            text=gathered.text,
            model=gathered.model or call.model,
            usage=gathered.usage,
            complete=gathered.end != "length",
        )

    async def embed(self, texts: list[str], *, model: str, timeout_s: float) -> Embedding:
        """Embed texts, all of them in one call."""
        async with deadline(self._provider, timeout_s):
            with self._translated(Gathered()):
                # The SDK would ask for base64, which not every compatible server knows.
                response = await self._client.embeddings.with_raw_response.create(
                    model=model, input=texts, encoding_format="float"
                )
                answer = _decode_vectors(response.content)
        vectors = [vector.embedding for vector in sorted(answer.data, key=lambda vector: vector.index)]
        if len(vectors) != len(texts):
            raise misshapen(self._provider)
        named = answer.model or model
        return Embedding(vectors=vectors, model=named, usage=self._usage(named, model, answer.usage))

    async def models(self, *, timeout_s: float) -> list[str]:
        """
        The ids of the models that the key may use, as the provider lists them.

        Raises:
            AttemptError: As a completion does; so this also tells whether the server answers and takes the key.
        """
        async with deadline(self._provider, timeout_s):
            with self._translated(Gathered()):
                response = await self._client.models.with_raw_response.list()
                return [model.id for model in _decode_models(response.content).data]

    async def aclose(self) -> None:
        """Close the HTTP client."""
        await self._client.close()

    async def _whole(self, call: ModelCall, gathered: Gathered) -> None:
        create = cast("_Create", self._client.chat.completions.with_raw_response.create)
        for _ in range(REQUESTS_MAX):
            request = self._request(call)
            try:
                response = await create(**request)
                break
            except openai.BadRequestError as error:
                self._learn(call, error)
                if self._request(call) == request:
                    raise
        else:
            raise misshapen(self._provider)
        answer = _decode_answer(response.content)
        if not answer.choices:
            raise misshapen(self._provider)
        choice = answer.choices[0]
        gathered.model = answer.model or ""
        gathered.usage = self._usage(gathered.model, call.model, answer.usage)
        gathered.declined = bool(choice.message.refusal)
        gathered.end = choice.finish_reason or "stop"
        gathered.add(choice.message.content or "")

    async def _pieces(self, call: ModelCall, gathered: Gathered) -> AsyncGenerator[str]:
        with self._translated(gathered):
            async with await self._open(call) as stream:
                async for event in stream:
                    for piece in self._taken(call, event, gathered):
                        gathered.add(piece)
                        yield piece
        if not gathered.end:
            raise gathered.cut(self._provider)

    async def _open(self, call: ModelCall) -> openai.AsyncStream[ChatCompletionChunk]:
        for _ in range(REQUESTS_MAX):
            request = self._request(call)
            try:
                return await self._client.chat.completions.create(
                    stream=True, stream_options={"include_usage": True}, extra_headers=STREAM_HEADERS, **request
                )
            except openai.BadRequestError as error:
                self._learn(call, error)
                if self._request(call) == request:
                    raise
        raise misshapen(self._provider)

    def _taken(self, call: ModelCall, event: ChatCompletionChunk, gathered: Gathered) -> Generator[str]:
        chunk = msgspec.convert(event, _Chunk, from_attributes=True)
        gathered.model = chunk.model or gathered.model
        if chunk.usage is not None:
            # In a last chunk without choices (OpenAI), or cumulative in every chunk (Gemini).
            gathered.usage = self._usage(gathered.model, call.model, chunk.usage)
        for choice in (chunk.choices or [])[:1]:
            gathered.end = choice.finish_reason or gathered.end
            if choice.delta is not None:
                gathered.declined = gathered.declined or bool(choice.delta.refusal)
                if choice.delta.content:
                    yield choice.delta.content

    def _request(self, call: ModelCall) -> dict[str, Any]:
        system = [{"role": "system", "content": call.system}] if call.system else []
        # Reasoning models refuse `max_tokens`; many compatible servers know nothing else.
        output_bound = "max_completion_tokens" if self._provider == "openai" else "max_tokens"
        request: dict[str, Any] = {
            "model": call.model,
            "messages": [*system, *({"role": turn.role, "content": turn.content} for turn in call.turns)],
            output_bound: call.max_output_tokens,
            "temperature": call.temperature,
            "top_p": call.top_p,
            "stop": list(call.stop) or None,
            "response_format": self._response_format(call),
        }
        left_out = self._refused_hints.get(call.model, frozenset())
        return {name: value for name, value in request.items() if value is not None and name not in left_out}

    def _response_format(self, call: ModelCall) -> dict[str, Any] | None:
        if call.output_schema is None:
            return None
        if self._refused_schemas and _encode(call.output_schema) in self._refused_schemas:
            return {"type": "json_object"} if rooted(call.output_schema).get("type") == "object" else None
        made = grammar_schema if self._provider in LLAMA_CPP else rooted
        wanted: dict[str, Any] = {"name": call.schema_name, "schema": made(call.output_schema)}
        if self._provider == "openai":
            strict = strict_schema(call.output_schema)
            wanted |= {"strict": False} if strict is None else {"schema": strict, "strict": True}
        return {"type": "json_schema", "json_schema": wanted}

    def _learn(self, call: ModelCall, error: openai.BadRequestError) -> None:
        """
        Remember a hint or a schema that is not taken, so that the call can be made without it.

        This is no retry of a failure: the same request would be refused for ever, and nothing was computed or billed.
        """
        if error.param in HINTS and (error.code or "").startswith("unsupported"):
            if len(self._refused_hints) >= MODELS_REMEMBERED_MAX:
                self._refused_hints.clear()
            known = self._refused_hints.get(call.model, frozenset())
            self._refused_hints[call.model] = known | {error.param}
        elif (
            self._provider in OF_ONES_OWN
            and call.output_schema is not None
            and _SCHEMA_AT_FAULT.search(str(error.body))
        ):
            if len(self._refused_schemas) >= SCHEMAS_REMEMBERED_MAX:
                self._refused_schemas.clear()
            self._refused_schemas.add(_encode(call.output_schema))

    def _usage(self, model: str, asked: str, tokens: _Tokens | None) -> Usage:
        if tokens is None:
            return unknown_usage(self._provider)
        details = tokens.prompt_tokens_details
        return usage_of(
            self._provider,
            model,
            asked,
            input_tokens=token_count(tokens.prompt_tokens),
            output_tokens=token_count(tokens.completion_tokens),
            cache_read_tokens=token_count(details.cached_tokens) if details else 0,
        )

    @contextlib.contextmanager
    def _translated(self, gathered: Gathered) -> Generator[None]:
        try:
            yield
        except openai.APIStatusError as error:
            raise self._failure(error, error.status_code, error.response.headers, gathered.usage) from error
        except openai.APITimeoutError as error:
            raise too_slow(self._provider, error, gathered.usage) from error
        except (openai.APIConnectionError, httpx2.HTTPError) as error:
            raise unreachable(self._provider, error.__cause__ or error, gathered.usage) from error
        except openai.APIError as error:
            raise self._failure(error, HTTPStatus.OK, {}, gathered.usage) from error
        except openai.OpenAIError as error:
            raise AttemptError(
                FailureKind.CRASHED, f"{self._provider}: {type(error).__name__}", usage=gathered.usage
            ) from error
        except msgspec.ValidationError as error:
            raise misshapen(self._provider) from error
        except (msgspec.DecodeError, JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
            raise not_json(self._provider) from error

    def _failure(self, error: openai.APIError, status: int, headers: Mapping[str, str], usage: Usage) -> AttemptError:
        labels = (error.type, error.code)
        return failure_of(self._provider, status, labels=labels, text=str(error.body), headers=headers, usage=usage)
