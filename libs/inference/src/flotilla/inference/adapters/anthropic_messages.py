"""
Anthropic: the Messages API (platform.claude.com/docs/en/api/messages), version 2026-10-21 as the SDK sends it.

That version refuses `temperature` and `top_p`, whatever their value, so a call's are left out here. Requests go through
the SDK's HTTP client, and answers are decoded here from their bytes: the SDK builds its objects without checking them.
"""

import contextlib
import logging
import re
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import aclosing
from http import HTTPStatus
from typing import Any, Final

import anthropic
import httpx2
import msgspec
from msgspec import Struct

from flotilla.capabilities.errors import AttemptError
from flotilla.contracts.failures import FailureKind
from flotilla.inference.adapters import pricing
from flotilla.inference.adapters.access import Access
from flotilla.inference.adapters.answer_bodies import STREAM_ACCEPT, drained, error_answer, parts, read, spent_by
from flotilla.inference.adapters.anthropic_answers import PROVIDER, Reading, decode_said
from flotilla.inference.adapters.egress import OUTWARD, Egress
from flotilla.inference.adapters.endpoints import anthropic_url
from flotilla.inference.adapters.failures import (
    CONNECTIONS_MAX,
    ROOM_TOKENS_MIN,
    deadline,
    misshapen,
    not_json,
    too_slow,
    unreachable,
)
from flotilla.inference.adapters.http_clients import TIMEOUT, provider_client
from flotilla.inference.adapters.schemas import has_open_object, is_recursive, rooted
from flotilla.inference.adapters.streams import Gathered
from flotilla.inference.backend import Completion, Embedding, Emit, ModelCall

LISTED_MAX: Final = 1000
"""Models in one page of the list: the most that the API gives."""

MODELS_REMEMBERED_MAX: Final = 256
"""Of which the most that they can write is known."""

_OUTPUT_MAX: Final = re.compile(r"max_tokens: \d{1,9} > (\d{1,9})\b")
_NO_ROOM: Final = re.compile(r"exceed context limit: (\d{1,9}) \+ \d{1,9} > (\d{1,9})\b")
"""What the prompt takes, and what it and the answer may take together."""

# At debug level the SDK logs whole requests, prompts included: `ANTHROPIC_LOG` must not turn that on.
logging.getLogger("anthropic").setLevel(logging.WARNING)


class _Listed(Struct):
    id: str


class _Models(Struct):
    data: list[_Listed]


_encode: Final = msgspec.json.Encoder().encode
_decode_models: Final = msgspec.json.Decoder(_Models).decode


class AnthropicMessages:
    """
    Anthropic's models.

    Args:
        api_key: The only credential that is used; profiles and variables of the environment are not.
        base_url: With or without `/v1`; None for the public API. ValueError when it is no URL.
        egress: Which way its calls take; by default as the environment says.
        connections_max: Calls that may run at once; more wait for a connection within their own timeout.
        headers: Sent with every request, as `extra_headers` reads them.
    """

    def __init__(
        self,
        *,
        api_key: str,
        base_url: str | None = None,
        egress: Egress = OUTWARD,
        connections_max: int = CONNECTIONS_MAX,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        if not api_key:
            raise ValueError("an Anthropic API key is needed")
        pricing.load("anthropic")
        url = anthropic_url(base_url)
        self._output_tokens_max: dict[str, int] = {}
        self._messages_url = httpx2.URL(f"{url}/v1/messages")
        self._models_url = httpx2.URL(f"{url}/v1/models?limit={LISTED_MAX}")
        self._http = provider_client(
            PROVIDER, url, egress, api_key=api_key, connections_max=connections_max, headers=headers
        )
        self._sdk = anthropic.AsyncAnthropic(
            api_key=api_key,
            base_url=url,
            timeout=TIMEOUT,
            max_retries=0,
            # Given explicitly, or the environment could have it put prompts into spans.
            open_telemetry=False,
            http_client=self._http,
        )
        self._headers = {
            "accept": "application/json",
            "content-type": "application/json",
            "anthropic-version": str(self._sdk.default_headers["anthropic-version"]),
        }
        self._stream_headers = self._headers | {"accept": STREAM_ACCEPT}

    @property
    def provider(self) -> str:
        """`anthropic`."""
        return "anthropic"

    async def complete(self, call: ModelCall, emit: Emit | None = None) -> Completion:
        """Run one completion; see `flotilla.inference.backend.Model`. Temperature and top_p are left out."""
        gathered = Gathered()
        async with (
            deadline(PROVIDER, call.timeout_s, lambda: gathered.usage),
            aclosing(self._pieces(call, gathered, stream=emit is not None)) as pieces,
        ):
            async for piece in pieces:
                gathered.add(piece)
                if emit is not None:
                    await emit(piece)
        return Completion(
            text=gathered.text, model=gathered.model or call.model, usage=gathered.usage, complete=gathered.complete
        )

    async def embed(self, texts: list[str], *, model: str, timeout_s: float) -> Embedding:
        """Anthropic has no embeddings: AttemptError(REFUSED)."""
        del texts, model, timeout_s
        raise AttemptError(FailureKind.REFUSED, "anthropic: the provider has no embeddings")

    async def models(self, *, timeout_s: float) -> list[str]:
        """
        The ids of the models that the key may use, as the provider lists them.

        Raises:
            AttemptError: As a completion does; so this also tells whether the server answers and takes the key.
        """
        async with deadline(PROVIDER, timeout_s):
            with _translated(Gathered()):
                request = httpx2.Request("GET", self._models_url, headers=self._headers)
                response = await self._http.send(request, stream=True)
                if not response.is_success:
                    raise (await error_answer(response, provider=PROVIDER)).failure
                return [model.id for model in _decode_models(await read(response)).data]

    async def aclose(self) -> None:
        """Close the HTTP client."""
        await self._sdk.close()

    async def _answered(self, call: ModelCall, *, stream: bool) -> httpx2.Response:
        """
        The response to a call; one that asked for more output than there is room for is asked again within its bound.

        That is no retry of a failure: nothing was computed or billed. The model's own bound is remembered for it; what
        this call's prompt leaves of the context is not.
        """
        headers = self._stream_headers if stream else self._headers
        most = self._output_tokens_max.get(call.model, call.max_output_tokens)
        for again in (True, False):
            content = _encode(_request(call, most, stream=stream))
            request = httpx2.Request("POST", self._messages_url, headers=headers, content=content)
            response = await self._http.send(request, stream=True)
            if response.is_success:
                return response
            error = await error_answer(response, provider=PROVIDER)
            left, found = _left(error.text), _OUTPUT_MAX.search(error.text)
            bound = int(found[1]) if left is None and found else left or 0
            if not again or error.status != HTTPStatus.BAD_REQUEST or not 0 < bound < most:
                raise error.failure
            if left is None:
                if len(self._output_tokens_max) >= MODELS_REMEMBERED_MAX:
                    self._output_tokens_max.clear()
                self._output_tokens_max[call.model] = bound
            most = bound
        raise AssertionError  # the last request returns or raises

    async def _pieces(self, call: ModelCall, gathered: Gathered, *, stream: bool) -> AsyncGenerator[str]:
        with _translated(gathered):
            response = await self._answered(call, stream=stream)
            reading = Reading(call.model, gathered)
            try:
                async with aclosing(parts(response, provider=PROVIDER)) as found:
                    async for part in found:
                        if piece := reading.take(decode_said(part.data), whole=part.event is None):
                            yield piece
                        if reading.stopped:
                            await drained(found)
                            break
            finally:
                await response.aclose()
            if piece := reading.end():
                yield piece


def connect(access: Access) -> AnthropicMessages:
    """The adapter, as `access.connect` makes it."""
    return AnthropicMessages(
        api_key=access.api_key or "",
        base_url=access.base_url,
        egress=access.egress,
        connections_max=access.connections_max,
        headers=access.headers,
    )


def _left(refusal: str) -> int | None:
    """What a prompt leaves of the context, 0 where that is no use; None when a refusal is about something else."""
    room = _NO_ROOM.search(refusal)
    if room is None:
        return None
    left = int(room[2]) - int(room[1])
    return left if left >= ROOM_TOKENS_MIN else 0


def _request(call: ModelCall, most: int, *, stream: bool) -> dict[str, Any]:
    request: dict[str, Any] = {
        "model": call.model,
        "max_tokens": min(call.max_output_tokens, most),
        "system": call.system or None,
        "messages": [{"role": turn.role, "content": turn.content} for turn in call.turns],
        "stop_sequences": list(call.stop) or None,
        "stream": stream or None,
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


@contextlib.contextmanager
def _translated(gathered: Gathered) -> Generator[None]:
    try:
        yield
    except httpx2.TimeoutException as error:
        raise too_slow(PROVIDER, error, spent_by(PROVIDER, error, gathered.usage)) from error
    except httpx2.HTTPError as error:
        raise unreachable(PROVIDER, error, spent_by(PROVIDER, error, gathered.usage)) from error
    except msgspec.ValidationError as error:
        raise misshapen(PROVIDER).with_usage(spent_by(PROVIDER, error, gathered.usage)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise not_json(PROVIDER).with_usage(spent_by(PROVIDER, error, gathered.usage)) from error
