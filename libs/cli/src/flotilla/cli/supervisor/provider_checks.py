"""Whether the providers that this machine's environment names can serve: asked as the workers will ask."""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Final, Protocol

from flotilla.inference.adapters.egress import HOSTS_SETTING, PROXY_SETTING, Egress
from flotilla.inference.adapters.own_hosts import OwnHosts
from flotilla.inference.checks import KEYS, Finding, ListsModels, check_provider

OLLAMA: Final = "ollama"
OWN_SERVER: Final = "openai-compatible"
"""A server of one's own that speaks OpenAI's protocol: vLLM, llama.cpp."""


class Provider(ListsModels, Protocol):
    """An adapter that is closed after use."""

    async def aclose(self) -> None:
        """Close its HTTP client."""
        ...


def named_models(text: str) -> list[str]:
    """The names in a list of models as `FLOTILLA_MODELS` takes it."""
    return [name for part in text.split(",") if (name := part.partition("=")[0].strip())]


async def check_named(provider: str, models: Iterable[str], environ: Mapping[str, str]) -> list[Finding]:
    """
    Look whether a provider answers, takes the key and has these models.

    Args:
        provider: `ollama`, OWN_SERVER, or one of `KEYS`.
        models: Their names.
        environ: Its address, key and proxy.
    """
    try:
        adapter = _adapter(provider, environ)
    except ImportError:
        mend = f"install the extra {provider} of the inference package"
        return [Finding(subject=provider, state="wrong", says="its SDK is not installed", mend=mend)]
    except ValueError as error:
        return [Finding(subject=provider, state="wrong", says=str(error), mend="correct that variable, or unset it")]
    try:
        return await check_provider(adapter, list(models))
    finally:
        await adapter.aclose()


async def check_all(wanted: Mapping[str, Iterable[str]], environ: Mapping[str, str]) -> list[Finding]:
    """`check_named` of several providers, side by side."""
    found = await asyncio.gather(*(check_named(provider, models, environ) for provider, models in wanted.items()))
    return [finding for findings in found for finding in findings]


def _adapter(provider: str, environ: Mapping[str, str]) -> Provider:
    """
    The adapter as a worker would make it.

    Raises:
        ImportError: Its SDK is not there.
        ValueError: An address, or a setting of the network, cannot be used.
    """
    proxy_url = environ.get(PROXY_SETTING) or None
    at_home = Egress(zone="local", proxy_url=proxy_url, own=OwnHosts.parse(environ.get(HOSTS_SETTING, "")))
    if provider == OLLAMA:
        from flotilla.inference.adapters.ollama_chat import OllamaChat  # noqa: PLC0415  (an extra, and slow to import)

        return OllamaChat(environ.get("OLLAMA_HOST"), egress=at_home)
    egress = Egress(zone="cloud", proxy_url=proxy_url)
    key = environ.get(KEYS.get(provider, ""), "")
    if provider == "anthropic":
        from flotilla.inference.adapters.anthropic_messages import AnthropicMessages  # noqa: PLC0415

        return AnthropicMessages(api_key=key, base_url=environ.get("ANTHROPIC_BASE_URL"), egress=egress)
    from flotilla.inference.adapters.openai_chat import OpenAIChat  # noqa: PLC0415

    base_url = environ.get("OPENAI_BASE_URL")
    if provider == OWN_SERVER:
        return OpenAIChat(api_key=None, base_url=base_url, provider=provider, egress=at_home)
    base_url = base_url if provider == "openai" else None
    return OpenAIChat(api_key=key, base_url=base_url, provider=provider, egress=egress)
