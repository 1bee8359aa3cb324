"""
Anthropic: the Messages API (platform.claude.com/docs/en/api/messages), version 2026-10-21 as the SDK sends it.

That version refuses `temperature` and `top_p`, whatever their value, so a call's are left out here.
"""

import contextlib
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import aclosing
from json import JSONDecodeError
from typing import Any, Final, cast

import anthropic
import httpx2
import msgspec
from anthropic import AsyncAPIResponse
from anthropic.types import Message, RawMessageStreamEvent
from msgspec import Struct

from flotilla.contracts.attempts import Usage
from flotilla.contracts.failures import FailureKind
from flotilla.inference.adapters import pricing
from flotilla.inference.adapters.egress import OUTWARD, Egress
from flotilla.inference.adapters.endpoints import anthropic_url
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
from flotilla.inference.adapters.schemas import has_open_object, is_recursive, rooted
from flotilla.inference.adapters.streams import Gathered
from flotilla.inference.adapters.token_counts import token_count, usage_of
from flotilla.inference.backend import Completion, Embedding, Emit, ModelCall
from flotilla.inference.errors import AttemptError

OUTPUT_TOKENS_DEFAULT: Final = 16_384
"""The API wants a bound, and a model's thinking counts towards it."""

STREAM_HEADERS: Final = {"Accept": "text/event-stream, application/json"}

CUT_SHORT: Final = frozenset({"max_tokens", "model_context_window_exceeded", "pause_turn"})
"""Stop reasons after which the text is not the whole answer."""

# At debug level the SDK logs whole requests, prompts included: `ANTHROPIC_LOG` must not turn that on.
logging.getLogger("anthropic").setLevel(logging.WARNING)


class _Tokens(Struct):
    """Counts, unchecked."""

    input_tokens: Any = None
    output_tokens: Any = None
    cache_read_input_tokens: Any = None
    cache_creation_input_tokens: Any = None


class _Block(Struct):
    type: str
    text: str | None = None


class _Answer(Struct):
    content: list[_Block]
    model: str = ""
    stop_reason: str | None = None
    usage: _Tokens = msgspec.field(default_factory=_Tokens)


class _Started(Struct):
    model: str | None = None
    usage: _Tokens | None = None


class _Delta(Struct):
    type: str | None = None
    text: str | None = None
    stop_reason: str | None = None


class _Event(Struct):
    """Every event of the stream at once: which fields are there goes by `type`."""

    type: str
    message: _Started | None = None
    content_block: _Block | None = None
    delta: _Delta | None = None
    usage: _Tokens | None = None


_Create = Callable[..., Awaitable[AsyncAPIResponse[Message]]]
_decode_answer: Final = msgspec.json.Decoder(_Answer).decode


class AnthropicMessages:
    """
    Anthropic's models.

    Args:
        api_key: The only credential that is used; profiles and variables of the environment are not.
        base_url: With or without `/v1`; None for the public API. ValueError when it is no URL.
        egress: Which way its calls take; by default as the environment says.
        connections_max: Calls that may run at once; more wait for a connection within their own timeout.
    """

    def __init__(
        self,
        *,
        api_key: str,
        base_url: str | None = None,
        egress: Egress = OUTWARD,
        connections_max: int = CONNECTIONS_MAX,
    ) -> None:
        if not api_key:
            raise ValueError("an Anthropic API key is needed")
        pricing.load("anthropic")
        url = anthropic_url(base_url)
        self._client = anthropic.AsyncAnthropic(
            api_key=api_key,
            base_url=url,
            timeout=TIMEOUT,
            max_retries=0,
            # Given explicitly, or the environment could have it put prompts into spans.
            open_telemetry=False,
            http_client=provider_client("anthropic", url, egress, api_key=api_key, connections_max=connections_max),
        )

    @property
    def provider(self) -> str:
        """`anthropic`."""
        return "anthropic"

    async def complete(self, call: ModelCall, emit: Emit | None = None) -> Completion:
        """Run one completion; see `flotilla.inference.backend.Model`. Temperature and top_p are left out."""
        async with deadline("anthropic", call.timeout_s):
            gathered = Gathered()
            if emit is None:
                with _translated(gathered):
                    await self._whole(call, gathered)
            else:
                async with aclosing(self._pieces(call, gathered)) as pieces:
                    async for piece in pieces:
                        await emit(piece)
        if gathered.end == "refusal":
            raise refused("anthropic", gathered.end, gathered.usage)
        return Completion(
            text=gathered.text,
            model=gathered.model or call.model,
            usage=gathered.usage,
            complete=gathered.end not in CUT_SHORT,
        )

    async def embed(self, texts: list[str], *, model: str, timeout_s: float) -> Embedding:
        """Anthropic has no embeddings: AttemptError(REFUSED)."""
        del texts, model, timeout_s
        raise AttemptError(FailureKind.REFUSED, "anthropic: the provider has no embeddings")

    async def aclose(self) -> None:
        """Close the HTTP client."""
        await self._client.close()

    async def _whole(self, call: ModelCall, gathered: Gathered) -> None:
        create = cast("_Create", self._client.messages.with_raw_response.create)
        response = await create(**_request(call))
        answer = _decode_answer(await response.read())
        gathered.model = answer.model
        gathered.usage = _usage(answer.model, call.model, answer.usage)
        gathered.end = answer.stop_reason or "end_turn"
        for block in answer.content:
            if block.type == "text":
                gathered.add(block.text or "")

    async def _pieces(self, call: ModelCall, gathered: Gathered) -> AsyncGenerator[str]:
        tokens = _Tokens()
        stopped = False
        with _translated(gathered):
            async with await self._client.messages.create(
                stream=True, extra_headers=STREAM_HEADERS, **_request(call)
            ) as stream:
                async for received in stream:
                    event = _event(received)
                    if event.message is not None:
                        gathered.model = event.message.model or ""
                        tokens = event.message.usage or tokens
                    if event.usage is not None:
                        tokens = _later(tokens, event.usage)
                    if event.message is not None or event.usage is not None:
                        gathered.usage = _usage(gathered.model, call.model, tokens)
                    if event.type == "message_delta" and event.delta is not None:
                        gathered.end = event.delta.stop_reason or gathered.end
                    stopped = stopped or event.type == "message_stop"
                    if piece := _text(event):
                        gathered.add(piece)
                        yield piece
        if not stopped:
            raise gathered.cut("anthropic")


def _request(call: ModelCall) -> dict[str, Any]:
    request: dict[str, Any] = {
        "model": call.model,
        "max_tokens": call.max_output_tokens or OUTPUT_TOKENS_DEFAULT,
        "system": call.system or None,
        "messages": [{"role": turn.role, "content": turn.content} for turn in call.turns],
        "stop_sequences": list(call.stop) or None,
    }
    if (schema := _output_schema(call)) is not None:
        request["output_config"] = {"format": {"type": "json_schema", "schema": schema}}
    return {name: value for name, value in request.items() if value is not None}


def _output_schema(call: ModelCall) -> dict[str, Any] | None:
    """
    The schema as the API takes it: bounds moved into descriptions, objects closed; None when it cannot be had so.

    Then the model has only the prompt to go by, and the kit's validation. A forced tool is no way round: models that
    think do not take one.
    """
    if call.output_schema is None:
        return None
    schema = rooted(call.output_schema)
    if has_open_object(schema) or is_recursive(schema):
        return None
    try:
        return anthropic.transform_schema(schema)
    except ValueError:
        return None


def _event(received: RawMessageStreamEvent) -> _Event:
    return msgspec.convert(received, _Event, from_attributes=True)


def _text(event: _Event) -> str:
    if event.type == "content_block_start" and event.content_block is not None and event.content_block.type == "text":
        return event.content_block.text or ""
    if event.type == "content_block_delta" and event.delta is not None and event.delta.type == "text_delta":
        return event.delta.text or ""
    return ""


def _later(tokens: _Tokens, update: _Tokens) -> _Tokens:
    """Counts are cumulative; those that an update leaves out stand."""
    return _Tokens(
        **{
            name: now if (now := getattr(update, name)) is not None else getattr(tokens, name)
            for name in _Tokens.__struct_fields__
        }
    )


def _usage(model: str, asked: str, tokens: _Tokens) -> Usage:
    read = token_count(tokens.cache_read_input_tokens) or 0
    written = token_count(tokens.cache_creation_input_tokens) or 0
    uncached = token_count(tokens.input_tokens)
    return usage_of(
        "anthropic",
        model,
        asked,
        input_tokens=None if uncached is None else uncached + read + written,
        output_tokens=token_count(tokens.output_tokens),
        cache_read_tokens=read,
        cache_write_tokens=written,
    )


@contextlib.contextmanager
def _translated(gathered: Gathered) -> Generator[None]:
    try:
        yield
    except anthropic.APIStatusError as error:
        raise failure_of(
            "anthropic",
            error.status_code,
            labels=(error.type, error.error_code),
            text=str(error.body),
            headers=error.response.headers,
            usage=gathered.usage,
        ) from error
    except anthropic.APITimeoutError as error:
        raise too_slow("anthropic", error, gathered.usage) from error
    except (anthropic.APIConnectionError, httpx2.HTTPError) as error:
        raise unreachable("anthropic", error.__cause__ or error, gathered.usage) from error
    except anthropic.AnthropicError as error:
        raise AttemptError(FailureKind.CRASHED, f"anthropic: {type(error).__name__}") from error
    except msgspec.ValidationError as error:
        raise misshapen("anthropic") from error
    except (msgspec.DecodeError, JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise not_json("anthropic") from error
