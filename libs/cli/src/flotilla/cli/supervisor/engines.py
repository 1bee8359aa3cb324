"""
Which engine serves which zone: what was asked for, or the best that this machine has.

Pure but for `ollama_models`, which asks the Ollama server.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from flotilla.capabilities.errors import AttemptError
from flotilla.cli.supervisor.errors import OptionError
from flotilla.cli.supervisor.options import Engine
from flotilla.contracts.presence import MODELS_MAX
from flotilla.contracts.providers import Provider, providers_of
from flotilla.inference.adapters.egress import HOSTS_SETTING, PROXY_SETTING, Egress
from flotilla.inference.adapters.own_hosts import OwnHosts

if TYPE_CHECKING:
    from flotilla.inference.adapters.ollama_chat import OllamaChat

OLLAMA_TIMEOUT_S: Final = 2.0
SHOWN_MODELS_MAX: Final = 3


APIS: Final = providers_of("cloud")
"""In the order of preference when several keys are set."""


class Engines(Struct, frozen=True, kw_only=True):
    """
    What serves each zone.

    Attributes:
        local: A provider's name: `ollama`, `embedded` or `noop`; "" where nothing runs.
        cloud: The same of the cloud zone: `anthropic`, ..., `embedded` or `noop`.
        local_models: As `FLOTILLA_MODELS` takes them; empty where the engine knows its own.
        cloud_models: The same.
        notes: What people should know about the choice, a line each.
    """

    local: str
    cloud: str
    local_models: tuple[str, ...] = ()
    cloud_models: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def choose(
    engine: Engine,
    environ: Mapping[str, str],
    ollama: tuple[str, ...] | None,
    *,
    local_models: str = "",
    cloud_models: str = "",
) -> Engines:
    """
    Choose the engines.

    The embedded engine stands in for models only where there is none at all: beside a model, even in the other zone,
    its answers would be taken for a model's.

    Args:
        engine: As it was asked for.
        environ: Has the keys.
        ollama: The models of the Ollama server, None when none answers.
        local_models: Those that were asked for: then Ollama serves, be it that it comes later.
        cloud_models: Those that were asked for.

    Raises:
        OptionError: Models of an API are asked for, and no key is set.
    """
    if engine != "auto":
        return Engines(local=engine, cloud=engine, notes=(_stands_in(engine),))
    cloud = next((provider for provider in APIS if environ.get(provider.key)), None)
    if cloud is None and cloud_models:
        keys = ", ".join(provider.key for provider in APIS)
        raise OptionError(f"--cloud-models {cloud_models}: no API key is set; set one of {keys}")
    has_local = bool(ollama or local_models)
    if not has_local and cloud is None:
        notes = (
            f"local: {_why_no_ollama(ollama)}; the embedded engine serves, which is no language model",
            "cloud: no API key is set; the embedded engine stands in, and nothing leaves this machine",
        )
        return Engines(local="embedded", cloud="embedded", notes=notes)
    return Engines(
        local="ollama" if has_local else "",
        cloud=cloud.name if cloud is not None else "",
        local_models=(ollama or ())[:MODELS_MAX],
        cloud_models=(cloud.default_model,) if cloud is not None else (),
        notes=(*_of_local(ollama, local_models), _of_cloud(cloud)),
    )


def _why_no_ollama(ollama: tuple[str, ...] | None) -> str:
    return "Ollama has no chat model of its own" if ollama is not None else "no Ollama server answers"


def _of_local(ollama: tuple[str, ...] | None, asked: str) -> list[str]:
    if not ollama and not asked:
        why = _why_no_ollama(ollama)
        return [f"local: {why}; nothing runs there, and restricted data has no route (`ollama pull llama3.2` mends it)"]
    models = [part.strip() for part in asked.split(",")] if asked else list(ollama or ())
    shown = ", ".join(models[:SHOWN_MODELS_MAX]) + (", ..." if len(models) > SHOWN_MODELS_MAX else "")
    notes = [f"local: Ollama serves ({shown})"]
    if not any("embed" in model.partition("=")[2] for model in models):
        notes.append("embed: no model serves it (`ollama pull nomic-embed-text` mends it)")
    return notes


def _of_cloud(cloud: Provider | None) -> str:
    if cloud is None:
        return "cloud: no API key is set; nothing runs there, and nothing leaves this machine"
    return f"cloud: {cloud.name} serves ({cloud.key} is set); tasks in the cloud zone leave this machine"


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
    ollama = ollama_server(environ)
    if ollama is None:
        return None
    try:
        installed = await ollama.installed(timeout_s=OLLAMA_TIMEOUT_S)
    except AttemptError:
        return None
    finally:
        await ollama.aclose()
    own_models = [model for model in installed if not model.remote_host]
    chat = tuple(model.name for model in own_models if not model.is_for_embedding)
    return chat and (*chat, *(f"{model.name}=embed" for model in own_models if model.is_for_embedding))


def ollama_server(environ: Mapping[str, str]) -> "OllamaChat | None":
    """
    The Ollama server at `OLLAMA_HOST`, reached as the local workers reach it; None without what they need installed.

    Raises:
        OptionError: `OLLAMA_HOST` is not an address, or none of one's own; or the proxy or the hosts that are set.
    """
    try:
        from flotilla.inference.adapters.ollama_chat import OllamaChat  # noqa: PLC0415  (an extra, and slow to import)
    except ImportError:
        return None
    try:
        own = OwnHosts.parse(environ.get(HOSTS_SETTING, ""))
        egress = Egress(zone="local", proxy_url=environ.get(PROXY_SETTING) or None, own=own)
        return OllamaChat(environ.get("OLLAMA_HOST"), egress=egress)
    except ValueError as error:
        raise OptionError(f"OLLAMA_HOST: {error}") from error
