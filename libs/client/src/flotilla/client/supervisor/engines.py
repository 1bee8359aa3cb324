"""
Which engine serves which zone: what was asked for, or the best that this machine has.

Pure but for `ollama_models`, which asks the Ollama server.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from msgspec import Struct

from flotilla.client.supervisor.errors import OptionError
from flotilla.client.supervisor.options import Engine
from flotilla.contracts.presence import MODELS_MAX
from flotilla.inference.adapters.egress import HOSTS_SETTING, PROXY_SETTING, Egress
from flotilla.inference.adapters.own_hosts import OwnHosts
from flotilla.inference.errors import AttemptError

OLLAMA_TIMEOUT_S: Final = 2.0


class Provider(NamedTuple):
    """A proprietary API, the environment variable of its key, and a model of its smaller ones: nobody was asked."""

    name: str
    key: str
    model: str


PROVIDERS: Final = (
    Provider("anthropic", "ANTHROPIC_API_KEY", "claude-haiku-5-5"),
    Provider("openai", "OPENAI_API_KEY", "gpt-5.4-mini"),
    Provider("gemini", "GEMINI_API_KEY", "gemini-3.5-flash"),
)
"""In the order of preference when several keys are set."""


class Engines(Struct, frozen=True, kw_only=True):
    """
    What serves each zone.

    Attributes:
        local: A provider's name: `ollama`, `embedded` or `noop`.
        cloud: `anthropic`, `openai`, `gemini`, `embedded` or `noop`.
        local_models: As `FLOTILLA_MODELS` takes them; empty where the engine knows its own.
        cloud_models: The same.
        notes: What people should know about the choice, a line each.
    """

    local: str
    cloud: str
    local_models: tuple[str, ...] = ()
    cloud_models: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def choose(engine: Engine, environ: Mapping[str, str], ollama: tuple[str, ...] | None) -> Engines:
    """Choose the engines; `ollama` holds the models of the Ollama server, None when none answers."""
    if engine != "auto":
        return Engines(local=engine, cloud=engine, notes=(_stands_in(engine),))
    notes: list[str] = []
    if ollama:
        local = "ollama"
        shown = ", ".join(ollama[:3]) + (", ..." if len(ollama) > 3 else "")  # noqa: PLR2004
        notes.append(f"local: Ollama serves ({shown})")
    else:
        local = "embedded"
        where = "Ollama has no chat model of its own" if ollama is not None else "no Ollama server answers"
        notes.append(f"local: {where}; the embedded engine serves, which is no language model")
    cloud = next((provider for provider in PROVIDERS if environ.get(provider.key)), None)
    if cloud is None:
        notes.append("cloud: no API key is set; the embedded engine stands in, and nothing leaves this machine")
    else:
        notes.append(f"cloud: {cloud.name} serves ({cloud.key} is set); tasks in the cloud zone leave this machine")
    return Engines(
        local=local,
        cloud=cloud.name if cloud is not None else "embedded",
        local_models=(ollama or ())[:MODELS_MAX],
        cloud_models=(cloud.model,) if cloud is not None else (),
        notes=tuple(notes),
    )


def _stands_in(engine: Engine) -> str:
    if engine == "noop":
        return "both zones: the noop engine answers, and means nothing by it; nothing leaves this machine"
    return "both zones: the embedded engine stands in for the models; nothing leaves this machine"


async def ollama_models(environ: Mapping[str, str]) -> tuple[str, ...] | None:
    """
    The models of the Ollama server at `OLLAMA_HOST` (this machine by default), as `FLOTILLA_MODELS` takes them.

    Asked as the local workers ask, so what is found here is reached there. Without Ollama's cloud models, which run on
    another server: what they are given leaves the machine. Empty when it has none that can answer; None when no server
    answers in time.

    Raises:
        OptionError: `OLLAMA_HOST` is not an address, or none of one's own; or the proxy or the hosts that are set.
    """
    try:
        from flotilla.inference.adapters.ollama_chat import OllamaChat  # noqa: PLC0415  (an extra, and slow to import)
    except ImportError:  # then no worker could serve it either
        return None
    try:
        own = OwnHosts.parse(environ.get(HOSTS_SETTING, ""))
        egress = Egress(zone="local", proxy_url=environ.get(PROXY_SETTING) or None, own=own)
        ollama = OllamaChat(environ.get("OLLAMA_HOST"), egress=egress)
    except ValueError as error:
        raise OptionError(f"OLLAMA_HOST: {error}") from error
    try:
        installed = await ollama.installed(timeout_s=OLLAMA_TIMEOUT_S)
    except AttemptError:
        return None
    finally:
        await ollama.aclose()
    own_models = [model for model in installed if not model.remote_host]
    chat = tuple(model.name for model in own_models if not model.is_for_embedding)
    return chat and (*chat, *(f"{model.name}=embed" for model in own_models if model.is_for_embedding))
