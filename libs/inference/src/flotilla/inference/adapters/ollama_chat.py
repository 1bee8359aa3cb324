"""
Ollama: a local server, or one in the cluster (github.com/ollama/ollama, docs/api.md and api/types.go).

Embeddings, the list of models and pulling go through Ollama's Python package (`ollama_package`). What it cannot do is
asked for here, and the call says why.
"""

import contextlib
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import aclosing
from typing import Any, Final, TypeVar

import httpx2
import msgspec
from msgspec import Struct

from flotilla.capabilities.errors import AttemptError
from flotilla.contracts.failures import FailureKind
from flotilla.inference.adapters.access import Access
from flotilla.inference.adapters.answer_bodies import drained
from flotilla.inference.adapters.egress import HOME, Egress
from flotilla.inference.adapters.endpoints import ollama_url
from flotilla.inference.adapters.failures import (
    CONNECTIONS_MAX,
    deadline,
    misshapen,
    not_json,
    too_slow,
    unreachable,
)
from flotilla.inference.adapters.http_clients import provider_client
from flotilla.inference.adapters.json_lines import documents
from flotilla.inference.adapters.ollama_answers import ElsewhereError, Reading, decode_chunk
from flotilla.inference.adapters.ollama_package import OllamaPackage, refused
from flotilla.inference.adapters.own_models import KeptModel, PullProgress
from flotilla.inference.adapters.schemas import grammar_schema
from flotilla.inference.adapters.streams import Gathered
from flotilla.inference.backend import Completion, Embedding, Emit, ModelCall

REMEMBERED_MAX: Final = 256
"""Models, and schemas, about which the server has been asked."""
NO_GRAMMAR: Final = "JSON schema in format"
"""What the server says of a schema that it can make no grammar of."""

Kept = TypeVar("Kept", str, bytes)
_JSON: Final = {"content-type": "application/json"}
_JSON_LINES: Final = {**_JSON, "accept": "application/x-ndjson, application/json"}


class _NoGrammarError(AttemptError):
    """The server can make no grammar of a schema."""


class _Shown(Struct):
    remote_host: Any = None


class _Details(Struct, frozen=True):
    family: str | None = None


class _Installed(Struct, frozen=True):
    """A model as a server lists it; one with a `remote_host` runs on another server."""

    name: str
    details: _Details = _Details()
    remote_host: str = ""


class _Tags(Struct):
    models: list[_Installed]


_encode: Final = msgspec.json.Encoder().encode
_decode_shown: Final = msgspec.json.Decoder(_Shown).decode
_decode_tags: Final = msgspec.json.Decoder(_Tags).decode


class OllamaChat:
    """
    The models of one Ollama server.

    A prompt that exceeds the model's context fails as TOO_LARGE instead of being cut by the server (Ollama 0.12 and
    later; older ones cut it silently).

    A model that the server would hand on to another one (Ollama's cloud models, `gpt-oss:120b-cloud`) is REFUSED before
    anything is sent: these look like any other, and a document given to one leaves the machine. The server is asked
    once about each model.

    Args:
        base_url: As `OLLAMA_HOST` takes it, None for this machine; ValueError when it is no URL, or none for `egress`.
        egress: Which way its calls take; by default straight, and to one's own hosts only.
        api_key: A bearer token, for a server behind a proxy that wants one.
        context_tokens: The context to load models with (`num_ctx`); None leaves it to the server, which chooses by its
            GPU's memory.
        connections_max: Calls that may run at once; more wait for a connection within their own timeout.
        headers: Sent with every request, as `extra_headers` reads them.
    """

    def __init__(
        self,
        base_url: str | None = None,
        *,
        egress: Egress = HOME,
        api_key: str | None = None,
        context_tokens: int | None = None,
        connections_max: int = CONNECTIONS_MAX,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._context_tokens = context_tokens
        self._at_home: set[str] = set()
        self._no_grammars: set[bytes] = set()
        self._client = provider_client(
            "ollama",
            ollama_url(base_url),
            egress,
            api_key=api_key,
            connections_max=connections_max,
            headers=headers,
        )
        self._package = OllamaPackage(self._client)

    @property
    def provider(self) -> str:
        """`ollama`."""
        return "ollama"

    async def complete(self, call: ModelCall, emit: Emit | None = None) -> Completion:
        """Run one completion; see `flotilla.inference.backend.Model`."""
        async with deadline("ollama", call.timeout_s):
            await self._keep_home(call.model)
            try:
                return await self._answer(call, emit)
            except _NoGrammarError:
                # The same request would be refused for ever, and nothing was computed: ask without the schema.
                _remember(self._no_grammars, _encode(call.output_schema))
                return await self._answer(call, emit)

    async def embed(self, texts: list[str], *, model: str, timeout_s: float) -> Embedding:
        """Embed texts; TOO_LARGE when one exceeds the model's context, instead of a vector of its beginning."""
        async with deadline("ollama", timeout_s):
            await self._keep_home(model)
            return await self._package.embed(texts, model=model)

    async def models(self, *, timeout_s: float) -> list[str]:
        """
        The names of the models that are installed, as Ollama lists them.

        Raises:
            AttemptError: As a completion does; so this also tells whether a server answers.
        """
        async with deadline("ollama", timeout_s):
            return await self._package.models()

    async def installed(self, *, timeout_s: float) -> list[KeptModel]:
        """
        The models that are installed, with what tells where they run.

        Raises:
            AttemptError: As a completion does; so this also tells whether a server answers.
        """
        async with deadline("ollama", timeout_s):
            with _translated():
                # The package's `ListResponse` has no `remote_host` (ollama 0.6.3).
                response = await self._client.get("/api/tags")
                if not response.is_success:
                    raise refused(response)
                return [_kept(model) for model in _decode_tags(response.content).models]

    def pull(self, model: str) -> AsyncGenerator[PullProgress]:
        """
        Have the server pull a model; gives how far it is, until it has it. There is no deadline: it may take hours.

        Raises:
            AttemptError: As a completion does; UNKNOWN_MODEL when nobody has such a model.
        """
        return self._package.pull(model)

    async def aclose(self) -> None:
        """Close the HTTP client."""
        await self._package.aclose()
        await self._client.aclose()

    def _body(self, call: ModelCall, *, stream: bool) -> dict[str, Any]:
        options: dict[str, Any] = {
            "num_predict": call.max_output_tokens,
            "num_ctx": self._context_tokens,
            "temperature": call.temperature,
            "top_p": call.top_p,
            "stop": list(call.stop) or None,
        }
        system = [{"role": "system", "content": call.system}] if call.system else []
        body: dict[str, Any] = {
            "model": call.model,
            "messages": [*system, *({"role": turn.role, "content": turn.content} for turn in call.turns)],
            "stream": stream,
            "truncate": False,
            "shift": False,
            "options": {name: value for name, value in options.items() if value is not None},
        }
        if (shape := self._format(call)) is not None:
            body["format"] = shape
        return body

    def _format(self, call: ModelCall) -> dict[str, Any] | str | None:
        if call.output_schema is None:
            return None
        schema = grammar_schema(call.output_schema)
        if self._no_grammars and _encode(call.output_schema) in self._no_grammars:
            return "json" if schema.get("type") == "object" else None
        return schema

    async def _answer(self, call: ModelCall, emit: Emit | None) -> Completion:
        gathered = Gathered()
        async with aclosing(self._pieces(call, gathered, stream=emit is not None)) as pieces:
            async for piece in pieces:
                gathered.add(piece)
                if emit is not None:
                    await emit(piece)
        return Completion(
            text=gathered.text, model=gathered.model or call.model, usage=gathered.usage, complete=gathered.complete
        )

    async def _keep_home(self, model: str) -> None:
        if model in self._at_home:
            return
        with _translated():
            # The package's `ShowResponse` has no `remote_host` (ollama 0.6.3), and that is the question here.
            response = await self._client.post("/api/show", content=_encode({"model": model}), headers=_JSON)
            if not response.is_success:
                raise refused(response)
            if _decode_shown(response.content).remote_host:
                raise ElsewhereError
        _remember(self._at_home, model)

    async def _pieces(self, call: ModelCall, gathered: Gathered, *, stream: bool) -> AsyncGenerator[str]:
        # The package's `chat` has no `truncate` and no `shift` (ollama 0.6.3): without them the server drops the middle
        # of a document that exceeds the model's context, and answers as if it had read it all.
        body = _encode(self._body(call, stream=stream))
        headers = _JSON_LINES if stream else _JSON
        reading = Reading(call.model, gathered, stream=stream)
        with _translated():
            async with self._client.stream("POST", "/api/chat", content=body, headers=headers) as response:
                if not response.is_success:
                    await response.aread()
                    raise _failure(response)
                async with aclosing(documents(response.aiter_bytes())) as found:
                    async for document in found:
                        if piece := self._taken(call, reading, document):
                            yield piece
                        if reading.done:
                            await drained(found)
                            break
            if piece := reading.end():
                yield piece

    def _taken(self, call: ModelCall, reading: Reading, document: bytes) -> str:
        try:
            return reading.take(decode_chunk(document))
        except ElsewhereError:
            # It was another model when the server was asked about it.
            self._at_home.discard(call.model)
            raise


def connect(access: Access) -> OllamaChat:
    """The adapter, as `access.connect` makes it."""
    return OllamaChat(
        access.base_url,
        egress=access.egress,
        api_key=access.api_key,
        context_tokens=access.context_tokens,
        connections_max=access.connections_max,
        headers=access.headers,
    )


def _kept(model: _Installed) -> KeptModel:
    # By its family or its name: the list does not say what a model can do.
    embeds = "bert" in (model.details.family or "") or "embed" in model.name
    return KeptModel(name=model.name, runs_elsewhere=bool(model.remote_host), is_for_embedding=embeds)


def _remember(known: set[Kept], one: Kept) -> None:
    if len(known) >= REMEMBERED_MAX:
        known.clear()
    known.add(one)


def _failure(response: httpx2.Response) -> AttemptError:
    failure = refused(response)
    return _NoGrammarError(FailureKind.REFUSED, failure.message) if NO_GRAMMAR in response.text else failure


@contextlib.contextmanager
def _translated() -> Generator[None]:
    try:
        yield
    except httpx2.TimeoutException as error:
        raise too_slow("ollama", error) from error
    except httpx2.HTTPError as error:
        raise unreachable("ollama", error) from error
    except msgspec.ValidationError as error:
        raise misshapen("ollama") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise not_json("ollama") from error
