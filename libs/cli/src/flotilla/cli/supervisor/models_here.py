"""The server of models on this machine, and what it has: asked as the local workers will ask."""

from collections.abc import Mapping
from typing import Final

from flotilla.capabilities.errors import AttemptError
from flotilla.cli.supervisor.errors import OptionError
from flotilla.cli.supervisor.provider_checks import access_of
from flotilla.contracts.providers import ON_THIS_MACHINE
from flotilla.inference.adapters.access import connect
from flotilla.inference.adapters.own_models import FetchesModels

LIST_TIMEOUT_S: Final = 2.0


async def installed_models(environ: Mapping[str, str]) -> tuple[str, ...] | None:
    """
    The models of the server on this machine (`ON_THIS_MACHINE`), as `FLOTILLA_MODELS` takes them.

    Asked as the local workers ask, so what is found here is reached there. Without those that the server hands on to
    another one: what these are given leaves the machine. Empty when it has none that can answer; None when no server
    answers in time.

    Raises:
        OptionError: Its address is none, or none of one's own; or the proxy or the hosts that are set.
    """
    server = server_here(environ)
    if server is None:
        return None
    try:
        installed = await server.installed(timeout_s=LIST_TIMEOUT_S)
    except AttemptError:
        return None
    finally:
        await server.aclose()
    own = [model for model in installed if not model.runs_elsewhere]
    chat = tuple(model.name for model in own if not model.is_for_embedding)
    return chat and (*chat, *(f"{model.name}=embed" for model in own if model.is_for_embedding))


def server_here(environ: Mapping[str, str]) -> FetchesModels | None:
    """
    The server on this machine, reached as the local workers reach it; None without what they need installed.

    Raises:
        OptionError: Its address is none, or none of one's own; or the proxy or the hosts that are set.
    """
    try:
        adapter = connect(access_of(ON_THIS_MACHINE, environ))
    except ImportError:
        return None
    except ValueError as error:
        raise OptionError(f"{ON_THIS_MACHINE.address}: {error}") from error
    if not isinstance(adapter, FetchesModels):  # pragma: no cover
        raise TypeError(f"{ON_THIS_MACHINE.adapter} does not tell which models its server keeps")
    return adapter
