"""What is wrong with a provider, and what mends it."""

from collections.abc import Callable

import pytest

from flotilla.inference.adapters.anthropic_messages import AnthropicMessages
from flotilla.inference.adapters.ollama_chat import OllamaChat
from flotilla.inference.adapters.openai_chat import OpenAIChat
from flotilla.inference.checks import ListsModels, check_provider, is_listed
from flotilla.testkit.ports import free_ports
from flotilla.testkit.provider_anthropic import AnthropicServer
from flotilla.testkit.provider_ollama import OllamaServer
from flotilla.testkit.provider_openai import OpenAIServer
from flotilla.testkit.providers import ProviderServer

KEY = "sk-right"


def ollama(url: str, _key: str) -> OllamaChat:
    return OllamaChat(url)


def anthropic(url: str, key: str) -> AnthropicMessages:
    return AnthropicMessages(api_key=key, base_url=url)


def openai(url: str, key: str) -> OpenAIChat:
    return OpenAIChat(api_key=key, base_url=url)


def vllm(url: str, key: str) -> OpenAIChat:
    return OpenAIChat(api_key=key, base_url=url, provider="vllm")


Make = Callable[[str, str], OllamaChat | AnthropicMessages | OpenAIChat]
KINDS: list[tuple[type[ProviderServer], Make]] = [
    (OllamaServer, ollama),
    (AnthropicServer, anthropic),
    (OpenAIServer, openai),
    (OpenAIServer, vllm),
]
every_kind = pytest.mark.parametrize(("kind", "make"), KINDS, ids=["ollama", "anthropic", "openai", "vllm"])


@every_kind
async def test_a_provider_that_is_well_has_nothing_to_mend(kind: type[ProviderServer], make: Make):
    """
    It answers, and has the models.
    """
    async with kind(api_key=None if make is ollama else KEY, models=("m", "n")) as server:
        model = make(server.url, KEY)
        assert isinstance(model, ListsModels)
        found = await check_provider(model, ["m", "n"])
        await model.aclose()

    assert ["ok", "ok", "ok"] == [finding.state for finding in found]
    assert not any(finding.mend for finding in found)


@every_kind
async def test_a_model_that_is_not_there_is_named_with_what_mends_it(kind: type[ProviderServer], make: Make):
    """
    The command, or the models that there are.
    """
    async with kind(models=("other",)) as server:
        model = make(server.url, KEY)
        found = await check_provider(model, ["llama3.2"])
        await model.aclose()

    assert ("model llama3.2", "wrong") == (found[-1].subject, found[-1].state)
    assert ("ollama pull llama3.2" if make is ollama else "other") in found[-1].mend


@pytest.mark.parametrize(
    ("kind", "make", "named"),
    [(*KINDS[1], "ANTHROPIC_API_KEY"), (*KINDS[2], "OPENAI_API_KEY"), (*KINDS[3], "OPENAI_API_KEY")],
    ids=["anthropic", "openai", "vllm"],
)
async def test_a_key_that_is_refused_is_said_and_never_shown(kind: type[ProviderServer], make: Make, named: str):
    """
    The provider quotes it in its error.
    """
    async with kind(api_key=KEY) as server:
        model = make(server.url, "sk-wrong-1234")
        [found] = await check_provider(model, ["m"])
        await model.aclose()

    assert "wrong" == found.state
    assert f"set a valid key in {named}" == found.mend
    assert "Incorrect API key provided" in found.says
    assert "sk-wrong" not in f"{found}"


@every_kind
async def test_a_server_that_is_not_there_is_said(kind: type[ProviderServer], make: Make):
    """
    With how to start or find it.
    """
    model = make(f"http://127.0.0.1:{free_ports(1)[0]}", KEY)
    [found] = await check_provider(model, ["m"])
    await model.aclose()

    assert "wrong" == found.state
    assert found.mend


async def test_a_server_without_a_list_of_models_is_not_called_wrong():
    """
    Some gateways have none.
    """
    async with OpenAIServer() as server:
        server.base_path = "/elsewhere"
        model = vllm(server.url, KEY)
        [found] = await check_provider(model, ["m"])
        await model.aclose()

    assert "note" == found.state


async def test_what_a_server_says_is_told_without_what_was_sent_in_headers():
    """
    It may repeat a gateway's key in an error of another kind.
    """
    async with OpenAIServer() as server:
        server.base_path = "/elsewhere"
        model = vllm(server.url, KEY)
        [whole] = await check_provider(model, ["m"])
        [found] = await check_provider(model, ["m"], secrets=("such-a-key",))
        await model.aclose()

    assert "no such path" in whole.says
    assert "such" not in found.says


async def test_a_server_that_goes_by_no_name_has_any_model():
    """
    llama.cpp's server lists the path of its file.
    """
    async with OpenAIServer(models=("/models/it.gguf",)) as server:
        model = OpenAIChat(api_key=None, base_url=server.url, provider="llamacpp")
        found = await check_provider(model, ["m"])
        await model.aclose()

    assert ["ok"] == [finding.state for finding in found]


@pytest.mark.parametrize(
    ("name", "listed", "there"),
    [
        ("llama3.2", "llama3.2:latest", True),
        ("llama3.2", "llama3.2:1b", False),
        ("claude-haiku-4-5", "claude-haiku-4-5-20251001", True),
        ("gemini-2.5-flash", "models/gemini-2.5-flash", True),
        ("gpt-4o", "gpt-4o", True),
        ("gpt-4", "gpt-4o", False),
    ],
)
def test_a_model_is_known_by_its_short_name(name: str, listed: str, *, there: bool):
    """
    As the provider itself knows it.
    """
    assert there is is_listed(name, ["x", listed])
