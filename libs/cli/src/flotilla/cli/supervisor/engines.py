"""
Which engine serves which zone: what was asked for, or the best that this machine has.

Pure; `models_here.py` asks what this machine has.
"""

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from flotilla.cli.supervisor.errors import OptionError
from flotilla.cli.supervisor.options import Engine
from flotilla.contracts.presence import MODELS_MAX
from flotilla.contracts.providers import OLLAMA_MODELS, ON_THIS_MACHINE, Provider, providers_of

SHOWN_MODELS_MAX: Final = 3

APIS: Final = providers_of("cloud")
"""In the order of preference when several keys are set."""


class Engines(Struct, frozen=True, kw_only=True):
    """
    What serves each zone.

    Attributes:
        local: A provider's name, or `embedded` or `noop`; "" where nothing runs.
        cloud: The same of the cloud zone.
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
    installed: tuple[str, ...] | None,
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
        installed: The models of the server on this machine, None when none answers.
        local_models: Those that were asked for: then that server serves, be it that it comes later.
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
    has_local = bool(installed or local_models)
    if not has_local and cloud is None:
        notes = (
            f"local: {_why_no_models(installed)}; the embedded engine serves, which is no language model",
            "cloud: no API key is set; the embedded engine stands in, and nothing leaves this machine",
        )
        return Engines(local="embedded", cloud="embedded", notes=notes)
    return Engines(
        local=ON_THIS_MACHINE.name if has_local else "",
        cloud=cloud.name if cloud is not None else "",
        local_models=(installed or ())[:MODELS_MAX],
        cloud_models=(cloud.default_model,) if cloud is not None else (),
        notes=(*_of_local(installed, local_models), _of_cloud(cloud)),
    )


def _why_no_models(installed: tuple[str, ...] | None) -> str:
    title = OLLAMA_MODELS.title
    return f"{title} has no chat model of its own" if installed is not None else f"no {title} server answers"


def _of_local(installed: tuple[str, ...] | None, asked: str) -> list[str]:
    pull = OLLAMA_MODELS.pull_command
    if not installed and not asked:
        why = _why_no_models(installed)
        mend = f"`{pull} {OLLAMA_MODELS.chat_model}` mends it"
        return [f"local: {why}; nothing runs there, and restricted data has no route ({mend})"]
    models = [part.strip() for part in asked.split(",")] if asked else list(installed or ())
    shown = ", ".join(models[:SHOWN_MODELS_MAX]) + (", ..." if len(models) > SHOWN_MODELS_MAX else "")
    notes = [f"local: {OLLAMA_MODELS.title} serves ({shown})"]
    if not any("embed" in model.partition("=")[2] for model in models):
        notes.append(f"embed: no model serves it (`{pull} {OLLAMA_MODELS.embedding_model}` mends it)")
    return notes


def _of_cloud(cloud: Provider | None) -> str:
    if cloud is None:
        return "cloud: no API key is set; nothing runs there, and nothing leaves this machine"
    return f"cloud: {cloud.name} serves ({cloud.key} is set); tasks in the cloud zone leave this machine"


def _stands_in(engine: Engine) -> str:
    if engine == "noop":
        return "both zones: the noop engine answers, and means nothing by it; nothing leaves this machine"
    return "both zones: the embedded engine stands in for the models; nothing leaves this machine"
