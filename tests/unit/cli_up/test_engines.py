"""Which engine serves which zone."""

import asyncio
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from flotilla.cli.supervisor.engines import APIS, choose
from flotilla.cli.supervisor.errors import OptionError
from flotilla.cli.supervisor.models_here import installed_models
from flotilla.contracts.providers import Provider
from flotilla.inference.adapters.pricing import cost_usd

KEYS = {"ANTHROPIC_API_KEY": "a", "OPENAI_API_KEY": "b", "GEMINI_API_KEY": "c"}


def test_without_models_the_embedded_engine_serves_both_zones_and_says_so():
    """
    Nobody may take it for a language model, or believe that data left.
    """
    chosen = choose("auto", {}, None)

    assert (chosen.local, chosen.cloud) == ("embedded", "embedded")
    assert "no language model" in chosen.notes[0]
    assert "stands in" in chosen.notes[1]
    assert "nothing leaves this machine" in chosen.notes[1]


def test_an_ollama_server_and_a_key_are_used_where_they_are():
    """
    And people are told that data will leave.
    """
    chosen = choose("auto", {"OPENAI_API_KEY": "b"}, ("llama3.2", "nomic-embed-text=embed"))

    assert (chosen.local, chosen.local_models) == ("ollama", ("llama3.2", "nomic-embed-text=embed"))
    assert (chosen.cloud, len(chosen.cloud_models)) == ("openai", 1)
    assert "leave this machine" in chosen.notes[1]


def test_the_first_provider_with_a_key_serves_the_cloud():
    """
    Anthropic, then OpenAI, then Gemini; an empty variable is no key.
    """
    found: list[str] = []
    left = dict(KEYS)
    for name in KEYS:
        found.append(choose("auto", left, None).cloud)
        left[name] = ""

    assert [*found, choose("auto", left, None).cloud] == ["anthropic", "openai", "gemini", "embedded"]


@pytest.mark.parametrize("ollama", [None, (), ("llama3.2",)])
@pytest.mark.parametrize("environ", [{}, {"OPENAI_API_KEY": "b"}])
def test_nothing_stands_in_beside_a_model(environ: dict[str, str], ollama: tuple[str, ...] | None):
    """
    Its answers would be taken for the model's, in the other zone as well.
    """
    chosen = choose("auto", environ, ollama)

    assert ("embedded" in (chosen.local, chosen.cloud)) is not (bool(environ) or bool(ollama))
    assert (chosen.local, chosen.cloud) in {
        ("embedded", "embedded"),
        ("ollama", ""),
        ("", "openai"),
        ("ollama", "openai"),
    }


def test_a_zone_in_which_nothing_runs_says_why_and_what_would_mend_it():
    """
    With a key alone, restricted data has no route.
    """
    with_key = choose("auto", {"OPENAI_API_KEY": "b"}, None).notes
    with_ollama = choose("auto", {}, ("llama3.2",)).notes

    assert any("restricted data has no route" in note and "ollama pull" in note for note in with_key)
    assert any("no API key is set; nothing runs there" in note for note in with_ollama)
    assert any("ollama pull nomic-embed-text" in note for note in with_ollama)


def test_models_that_are_asked_for_are_never_replaced():
    """
    A server that comes later serves them; models of an API without a key are a mistake.
    """
    chosen = choose("auto", {}, None, local_models="llama3.2,nomic-embed-text=embed")

    assert (chosen.local, chosen.cloud) == ("ollama", "")
    with pytest.raises(OptionError, match=r"--cloud-models gpt-4o.*OPENAI_API_KEY"):
        choose("auto", {}, None, cloud_models="gpt-4o")


@pytest.mark.parametrize("engine", ["embedded", "noop"])
def test_an_engine_that_is_asked_for_serves_whatever_keys_there_are(engine: str):
    """
    Keys in the shell must not send a demonstration's documents away.
    """
    chosen = choose(engine, KEYS, ("llama3.2",))  # pyright: ignore[reportArgumentType]

    assert (chosen.local, chosen.cloud) == (engine, engine)
    assert "nothing leaves this machine" in chosen.notes[0]


def test_an_ollama_server_without_models_is_not_used():
    """
    It would announce nothing.
    """
    chosen = choose("auto", {}, ())

    assert chosen.local == "embedded"
    assert "Ollama has no chat model" in chosen.notes[0]


@pytest.mark.parametrize("provider", APIS, ids=lambda provider: provider.name)
def test_the_default_model_of_each_provider_has_a_price(provider: Provider):
    """
    A model that the price list does not know would look free.
    """
    cost = cost_usd(provider.name, provider.default_model, input_tokens=1000, output_tokens=1000)

    assert (cost or 0) > 0


class Tags(BaseHTTPRequestHandler):
    """Answers as an Ollama server does."""

    body = b""

    def do_GET(self):
        """List the models."""
        assert self.path == "/api/tags"
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, format: str, *args: object):  # noqa: A002
        """Say nothing."""


async def models_of(body: bytes) -> tuple[str, ...] | None:
    """What is found of an Ollama server that answers with this body."""
    handler = type("OneBody", (Tags,), {"body": body})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            return await installed_models({"OLLAMA_HOST": f"127.0.0.1:{server.server_port}"})
        finally:
            await asyncio.to_thread(server.shutdown)
            thread.join()


async def test_models_are_listed_with_those_for_embedding_behind_and_marked():
    """
    A chat task given to an embedding model would fail.
    """
    body = b"""{"models":[{"name":"nomic-embed-text:latest","details":{"family":"nomic-bert"}},
      {"name":"llama3.2:3b","details":{"family":"llama"}},{"name":"all-minilm:22m","details":{"family":"bert"}}]}"""

    found = await models_of(body)

    assert found == ("llama3.2:3b", "nomic-embed-text:latest=embed", "all-minilm:22m=embed")


async def test_models_that_run_on_another_server_are_left_out():
    """
    Ollama lists its cloud models with those of this machine; the local zone is no place for them.
    """
    remote = b'{"name":"gpt-oss:120b-cloud","remote_model":"gpt-oss:120b","remote_host":"https://ollama.com:443"}'

    assert await models_of(b'{"models":[' + remote + b',{"name":"llama3.2"}]}') == ("llama3.2",)
    assert await models_of(b'{"models":[' + remote + b"]}") == ()


async def test_a_server_with_nothing_but_embeddings_has_no_models_that_can_answer():
    """
    The embedded engine serves more than it would.
    """
    assert await models_of(b'{"models":[{"name":"nomic-embed-text"}]}') == ()


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"models":"none"}'])
async def test_something_else_on_the_port_is_no_ollama_server(body: bytes):
    """
    And no reason to fail.
    """
    assert await models_of(body) is None


async def test_an_address_that_is_none_is_refused():
    """
    A misspelt OLLAMA_HOST must not quietly mean that there is no server.
    """
    with pytest.raises(OptionError, match="OLLAMA_HOST"):
        await installed_models({"OLLAMA_HOST": "ftp://somewhere"})
