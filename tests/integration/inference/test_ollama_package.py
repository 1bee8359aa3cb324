"""Ollama's own package, as the adapter uses it: over the adapter's HTTP client, whatever the environment says."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncGenerator
from typing import Final

import ollama
import pytest

from flotilla.capabilities.errors import AttemptError
from flotilla.contracts.failures import FailureKind
from flotilla.inference.adapters.egress import Egress
from flotilla.inference.adapters.ollama_chat import OllamaChat
from flotilla.testkit.provider_ollama import OllamaServer
from flotilla.testkit.provider_steps import Fails, Garbage
from flotilla.testkit.raw_http import RawHttpServer, RawRequest, whole

TEXTS: Final = ["PATIENT-4711 has diabetes"]
PROXIES: Final = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")
ANSWERS: Final = {
    "/api/show": b"{}",
    "/api/tags": b'{"models":[{"name":"m","model":"m"}]}',
    "/api/embed": b'{"model":"m","embeddings":[[0.25,0.5]]}',
}
IMPORTS: Final = """
import importlib, json, os, sys
import httpx, pydantic  # what takes the time, and looks at no variable when it is imported

def attempt(module, environ):
    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:
        os.environ.update(environ)
        code = 1
        try:
            importlib.import_module(module)
            code = 0
        finally:
            os.write(writes, json.dumps(dict(os.environ)).encode())
            os._exit(code)
    os.close(writes)
    with os.fdopen(reads) as after:
        return after.read(), os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

for environ in [*json.loads(sys.argv[1]), {}]:
    assert "ollama" not in sys.modules
    _, theirs = attempt("ollama", environ)
    after, ours = attempt("flotilla.inference.adapters.ollama_chat", environ)
    print(json.dumps({"environ": environ, "theirs": theirs, "ours": ours, "after": json.loads(after)}))
"""


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


async def answers(request: RawRequest, writer: asyncio.StreamWriter) -> None:
    """As an Ollama server, and as a proxy that asks it, answer."""
    path = "/" + request.target.split("/", 3)[3] if request.target.startswith("http") else request.target
    writer.write(whole(ANSWERS[path]))


async def test_no_variable_sends_a_local_text_to_a_proxy_or_takes_a_key_along(monkeypatch: pytest.MonkeyPatch):
    """
    The package reads `OLLAMA_API_KEY` and its HTTP library the proxies; a local worker takes none of them.
    """
    async with RawHttpServer(answers) as server, RawHttpServer(answers) as proxy:
        for name in PROXIES:
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.setenv("NO_PROXY", "")
        monkeypatch.setenv("OLLAMA_HOST", proxy.url)
        monkeypatch.setenv("OLLAMA_API_KEY", "sk-from-the-environment")
        model = OllamaChat(server.url)

        assert [[0.25, 0.5]] == (await model.embed(TEXTS, model="m", timeout_s=10.0)).vectors
        assert ["m"] == await model.models(timeout_s=10.0)
        await model.aclose()

    assert ["/api/show", "/api/embed", "/api/tags"] == [request.target for request in server.requests]
    assert [] == proxy.requests
    assert not [request for request in server.requests if "authorization" in request.headers]


async def test_a_text_is_sent_to_no_host_that_is_not_ones_own():
    """
    The package's requests are held to it as a completion is: nothing is connected to.
    """
    with pytest.raises(ValueError, match="FLOTILLA_LOCAL_HOSTS"):
        OllamaChat("http://203.0.113.7:11434", egress=Egress(zone="local"))


async def test_a_redirect_is_not_followed():
    """
    It could carry the text anywhere.
    """
    async with RawHttpServer(answers) as elsewhere:

        async def redirects(request: RawRequest, writer: asyncio.StreamWriter) -> None:
            if request.target == "/api/show":
                writer.write(whole(b"{}"))
            else:
                writer.write(whole(b"", f"location: {elsewhere.url}{request.target}", status="307 Temporary"))

        async with RawHttpServer(redirects) as server:
            model = OllamaChat(server.url)
            with pytest.raises(AttemptError) as caught:
                await model.embed(TEXTS, model="m", timeout_s=10.0)
            await model.aclose()

    assert FailureKind.UNAVAILABLE is caught.value.kind
    assert [] == elsewhere.requests


def test_the_package_is_imported_whatever_the_environment_says():
    """
    It makes a client for the environment's host and proxies at its import, which fails at each of these.
    """
    environs = [
        {"OLLAMA_HOST": "::1"},
        {"OLLAMA_HOST": "gpu-1:99999"},
        {"SSL_CERT_FILE": "/not/there.pem"},
        {"all_proxy": "socks4a://127.0.0.1:9"},
        {"NO_PROXY": "[::"},
    ]
    said = subprocess.run(
        [sys.executable, "-c", IMPORTS, json.dumps(environs)], capture_output=True, check=True, text=True
    ).stdout
    outcomes = [json.loads(line) for line in said.splitlines()]

    assert [*environs, {}] == [outcome["environ"] for outcome in outcomes]
    for outcome in outcomes:
        assert outcome["ours"] == 0, outcome
        assert outcome["environ"].items() <= outcome["after"].items(), "what was hidden is there again"
    *refused, taken = [outcome["theirs"] for outcome in outcomes]
    assert [1] * len(environs) == refused, "the package takes this now: hide less of the environment"
    assert taken == 0


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"error":"the input length exceeds the context length"}', FailureKind.TOO_LARGE),
        (b'"too slow down"', FailureKind.REFUSED),
        (b"[]", FailureKind.REFUSED),
        (b"<html>", FailureKind.REFUSED),
        (b"\xff\xfe", FailureKind.REFUSED),
    ],
)
async def test_an_error_is_named_by_its_status_and_words_whatever_its_body_is(
    server: OllamaServer, model: OllamaChat, body: bytes, kind: FailureKind
):
    """
    The package cannot make its ResponseError of every body.
    """
    server.script(Garbage(body, status=400, content_type="application/json"))

    with pytest.raises(AttemptError) as caught:
        await model.embed(TEXTS, model="llama3.2", timeout_s=10.0)

    assert kind is caught.value.kind
    assert "HTTP 400" in caught.value.message
    assert TEXTS[0] not in str(caught.value)


async def test_the_wait_that_a_server_asks_for_is_kept(server: OllamaServer, model: OllamaChat):
    """
    The package's ResponseError has no headers.
    """
    server.script(Fails(429, headers={"Retry-After": "7"}))

    with pytest.raises(AttemptError) as caught:
        await model.embed(TEXTS, model="llama3.2", timeout_s=10.0)

    assert (FailureKind.RATE_LIMITED, 7.0) == (caught.value.kind, caught.value.retry_after_s)


@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff", b"[" * 100_000, b"[]", b"5", b'{"embeddings":"ab"}'])
async def test_a_success_that_is_no_answer_is_a_failure(server: OllamaServer, model: OllamaChat, body: bytes):
    """
    Of a proxy or a login page, or of a server that imitates Ollama.
    """
    server.script(Garbage(body, content_type="application/json"))

    with pytest.raises(AttemptError) as caught:
        await model.embed(TEXTS, model="llama3.2", timeout_s=10.0)

    assert caught.value.kind in {FailureKind.UNAVAILABLE, FailureKind.CRASHED}


async def test_a_pull_tells_how_far_it_is(server: OllamaServer, model: OllamaChat):
    """
    In bytes, until the server has the model.
    """
    server.pullable = frozenset({"nomic-embed-text"})

    told = [progress async for progress in model.pull("nomic-embed-text")]

    assert "success" == told[-1].status
    assert [0, 700_000_000, 2_000_000_000] == [each.completed_bytes for each in told if each.total_bytes]
    assert ["llama3.2", "nomic-embed-text"] == await model.models(timeout_s=10.0)


async def test_a_pull_that_fails_on_the_way_is_a_failure(server: OllamaServer, model: OllamaChat):
    """
    The server says so in a line of its stream, after a status of 200.
    """
    with pytest.raises(AttemptError) as caught:
        [progress async for progress in model.pull("nobody-has-this")]

    assert "ollama: error in the stream" == caught.value.message


def test_the_package_still_cannot_do_what_the_adapter_does_itself():
    """
    Chat without `truncate` and `shift`, lists and details without `remote_host`: the day it can, use it for them.
    """
    chat = vars(ollama.AsyncClient)["chat"].__annotations__
    shown = ollama.ShowResponse.model_fields
    listed = ollama.ListResponse.Model.model_fields

    assert not {"truncate", "shift"} & set(chat)
    assert "remote_host" not in shown
    assert "remote_host" not in listed
    kept = ollama.ShowResponse(**json.loads('{"model_info":{},"remote_host":"https://ollama.com:443"}')).model_dump()
    assert "remote_host" not in kept
