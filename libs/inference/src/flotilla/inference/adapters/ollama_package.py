"""
Ollama's Python package (`ollama` on PyPI) over the HTTP client that every adapter has.

It lists models, embeds and pulls, and decodes what the server answers. Its requests are sent by the adapter's own client
(`http_clients`): no proxy and no credential of the environment, one's own hosts only, bounded answers.
"""

import contextlib
import json
import os
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Sequence
from typing import Any, Final, cast

import httpx
import httpx2
import msgspec
import pydantic

from flotilla.capabilities.errors import AttemptError
from flotilla.inference.adapters.errors_told import says_an_error, sentence_of
from flotilla.inference.adapters.failures import failure_of, misshapen, not_json, too_slow, unreachable
from flotilla.inference.adapters.ollama_answers import PROVIDER, failure_inside
from flotilla.inference.adapters.own_models import PullProgress
from flotilla.inference.adapters.streams import model_name
from flotilla.inference.adapters.token_counts import token_count, usage_of
from flotilla.inference.backend import Embedding
from flotilla.inference.lenient_json import loads

PROGRESS_LENGTH_MAX: Final = 200
_READ_AT_IMPORT: Final = frozenset({"ollama_host", "ollama_api_key", "ssl_cert_file", "ssl_cert_dir"})
_ANY_HOST: Final = "http://ollama"
"""The address is that of the adapter's client; only the path of a request counts."""


@contextlib.contextmanager
def _environment_hidden() -> Generator[None]:
    """
    Hide what the package and httpx read of the environment.

    While it is imported, the package makes a client for `OLLAMA_HOST` and the proxies of the environment, and fails at
    addresses that Ollama takes (`::1`) and at proxies and certificates that no request here would use.
    """
    hidden = {
        name: os.environ.pop(name)
        for name in list(os.environ)
        if name.lower() in _READ_AT_IMPORT or name.lower().endswith("_proxy")
    }
    try:
        yield
    finally:
        os.environ.update(hidden)


with _environment_hidden():
    import ollama


class OllamaPackage:
    """
    The calls for which the package is used.

    Every failure is an AttemptError, named as that of a completion is.

    Args:
        http: The adapter's client, which stays its owner's to close.
    """

    def __init__(self, http: httpx2.AsyncClient) -> None:
        self._client = ollama.AsyncClient(
            host=_ANY_HOST, transport=_AdapterTransport(http), trust_env=False, follow_redirects=False
        )

    async def models(self) -> list[str]:
        """The names of the models that are installed."""
        with _failures_named():
            listed = await self._client.list()
        return [model.model for model in listed.models if model.model]

    async def embed(self, texts: Sequence[str], *, model: str) -> Embedding:
        """
        Embed texts; one that exceeds the model's context is refused by the server, not cut.

        Raises:
            AttemptError: The answer does not hold one vector of one length for each text.
        """
        with _failures_named():
            answer = await self._client.embed(model=model, input=texts, truncate=False)
        vectors = cast("list[list[float]]", answer.embeddings)
        if len(vectors) != len(texts) or len({len(vector) for vector in vectors}) != 1 or not vectors[0]:
            raise misshapen(PROVIDER)
        named = model_name(answer.model)
        counted = token_count(answer.prompt_eval_count)
        usage = usage_of(PROVIDER, named, model, input_tokens=counted, output_tokens=None, embedding=True)
        return Embedding(vectors=vectors, model=named or model, usage=usage)

    async def pull(self, model: str) -> AsyncGenerator[PullProgress]:
        """Have the server pull a model; tells how far it is until it is done."""
        with _failures_named():
            async for told in await self._client.pull(model, stream=True):
                yield PullProgress(
                    status=(told.status or "")[:PROGRESS_LENGTH_MAX],
                    completed_bytes=told.completed or 0,
                    total_bytes=told.total or 0,
                )

    async def aclose(self) -> None:
        """Close the package's client."""
        await self._client.close()


def refused(response: httpx.Response | httpx2.Response) -> AttemptError:
    """The failure that a response means which is no success; its body has been read."""
    try:
        said = sentence_of(loads(response.content))
    except msgspec.DecodeError:
        said = sentence_of(response.text)
    return failure_of(PROVIDER, response.status_code, text=response.text, headers=response.headers, said=said)


@contextlib.contextmanager
def _failures_named() -> Generator[None]:
    try:
        yield
    except AttemptError:
        raise
    except Exception as error:
        failure = _named(error)
        if failure is None:
            raise
        raise failure from error


def _named(error: Exception) -> AttemptError | None:
    """The failure behind an error of the package, or of what is below it; None for a mistake of this program."""
    failure: AttemptError | None = None
    answered = error.__context__
    if isinstance(answered, httpx.HTTPStatusError):
        # ResponseError has no headers (`Retry-After`), and cannot be made of a body whose JSON is no object; but
        # whatever came of that, the response is behind it.
        return refused(answered.response)
    match error:
        case ollama.ResponseError():
            failure = failure_inside(error.error)
        case httpx2.TimeoutException():
            failure = too_slow(PROVIDER, error)
        case httpx2.HTTPError():
            failure = unreachable(PROVIDER, error)
        case pydantic.ValidationError():
            failure = _error_in(error) or misshapen(PROVIDER)
        case json.JSONDecodeError() | UnicodeDecodeError() | RecursionError():
            failure = not_json(PROVIDER)
        case TypeError() | AttributeError() | ValueError():
            failure = misshapen(PROVIDER)  # JSON, but no object, or with a number that is none
        case _:
            pass
    return failure


def _error_in(invalid: pydantic.ValidationError) -> AttemptError | None:
    """The error that stood in a success, in the place of what is missing."""
    for each in invalid.errors(include_url=False, include_context=False):
        answered: Any = each["input"]
        if each["type"] == "missing" and isinstance(answered, dict):
            said: Any = cast("dict[str, Any]", answered).get("error")
            if says_an_error(said):
                return failure_inside(said)
    return None


class _AdapterTransport(httpx.AsyncBaseTransport):
    """Sends the package's requests with the adapter's client, which sets headers, chooses the way and bounds answers."""

    def __init__(self, http: httpx2.AsyncClient) -> None:
        self._http = http

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        streams = request.url.path == "/api/pull"
        sent = self._http.build_request(
            request.method,
            request.url.path,
            content=await request.aread() or None,
            headers={
                "content-type": "application/json",
                "accept": "application/x-ndjson" if streams else "application/json",
            },
        )
        answer = await self._http.send(sent, stream=True)
        return httpx.Response(answer.status_code, headers=answer.headers.raw, stream=_Body(answer))


class _Body(httpx.AsyncByteStream):
    """The body of one response."""

    def __init__(self, response: httpx2.Response) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._response.aiter_raw():
            yield chunk

    async def aclose(self) -> None:
        await self._response.aclose()
