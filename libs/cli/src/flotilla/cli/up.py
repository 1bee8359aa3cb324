"""
`flotilla up`: a whole fleet on this machine, in the foreground, until it is told to stop.

The ready line and the portal's address go to standard output; what happens on the way, and afterwards, to standard error.
"""

import asyncio
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from flotilla.capabilities.catalogue import Catalogue
from flotilla.chassis.errors import PrivateFileError
from flotilla.chassis.policy_toml import read_policy
from flotilla.chassis.service import EXIT_FAILED, EXIT_OK, EXIT_USAGE
from flotilla.cli.applied_policy import put_in_force
from flotilla.cli.console import terminal
from flotilla.cli.supervisor.engines import Engines
from flotilla.cli.supervisor.errors import FleetRunningError, OptionError
from flotilla.cli.supervisor.model_pulls import pull_missing
from flotilla.cli.supervisor.options import UpOptions, check
from flotilla.cli.supervisor.provider_checks import check_all, named_models
from flotilla.cli.supervisor.signals import Stop, stop_signals
from flotilla.cli.supervisor.supervisor import ApplyPolicy, Supervisor, supervised
from flotilla.contracts.errors import FlotillaError, PolicyError, SettingsError
from flotilla.contracts.providers import ON_THIS_MACHINE
from flotilla.fabric.connection import NatsSettings
from flotilla.fabric.errors import CredentialsError
from flotilla.inference.checks import KEYS, Finding
from flotilla.pipelines.pipeline_files import load_pipelines
from flotilla.provisioning.errors import DirectoryInUseError, PortInUseError, ServerNotFoundError, ServerSpecError

USAGE_ERRORS: Final = (
    OptionError,
    FleetRunningError,
    CredentialsError,
    DirectoryInUseError,
    PortInUseError,
    PrivateFileError,
    ServerNotFoundError,
    ServerSpecError,
)
"""What whoever called can mend."""


class PolicyRefusedError(OptionError):
    """The file given with --policy cannot be put in force."""


def up(options: UpOptions, *, apply_policy: ApplyPolicy | None = None) -> int:
    """
    Run a fleet until a stop signal; gives the exit code.

    0 after a drain, 1 when the fleet could not be brought up, 2 (and one line on standard error) when an option is
    wrong, the port is in use or the directory belongs to a running fleet.
    """
    try:
        check(options)
        if options.policy is not None:
            _check_policy(options.policy)
        if options.capabilities is not None:
            _check_capabilities(options.capabilities)
        return asyncio.run(_run(options, apply_policy or _apply_policy))
    except PortInUseError as error:
        say(f"{error}; name another with --port, or take a free one with --port 0")
        return EXIT_USAGE
    except USAGE_ERRORS as error:
        say(str(error))
        return EXIT_USAGE
    except FlotillaError as error:
        say(str(error))
        return EXIT_FAILED


def say(line: str) -> None:
    """Tell people; a terminal that is gone is no reason to stop."""
    terminal.error((f"flotilla: {line}",))


def _check_policy(path: Path) -> None:
    """
    Refuse a file that is no policy before anything is started.

    Raises:
        PolicyRefusedError: With its first fault.
    """
    try:
        read_policy(path)
    except PolicyError as error:
        first, *others = error.faults
        more = f" (and {len(others)} more: flotilla policy check {path})" if others else ""
        raise PolicyRefusedError(f"--policy {first}{more}") from error


def _check_capabilities(folder: Path) -> None:
    """
    Refuse files with which no service could start.

    Raises:
        OptionError: With the file and what is wrong in it.
    """
    try:
        load_pipelines(folder, Catalogue.load(folder))
    except SettingsError as error:
        raise OptionError(f"--capabilities {error}") from error


async def _apply_policy(path: Path, settings: NatsSettings) -> None:
    for warning in await put_in_force(path, settings):
        say(f"--policy {path}: {warning}")


async def _run(options: UpOptions, apply_policy: ApplyPolicy) -> int:
    with stop_signals(_on_signal) as stop:
        async with supervised(options, stop, say) as supervisor:
            await _serve(options, supervisor, stop, apply_policy)
        say("drained")
    return EXIT_OK


async def _serve(options: UpOptions, supervisor: Supervisor, stop: Stop, apply_policy: ApplyPolicy) -> None:
    starting = asyncio.ensure_future(_start(options, supervisor, apply_policy))
    stopped = asyncio.ensure_future(stop.asked.wait())
    telling: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    try:
        await asyncio.wait((starting, stopped), return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            return
        await starting
        _announce(options, supervisor)
        telling = asyncio.ensure_future(_tell_of_portal(options, supervisor))
        await stopped
    finally:
        for waiting in (starting, stopped, telling):
            waiting.cancel()
        await asyncio.gather(starting, stopped, telling, return_exceptions=True)


async def _tell_of_portal(options: UpOptions, supervisor: Supervisor) -> None:
    """Say where the portal is once it answers; the ready line does not wait for it."""
    if not supervisor.portal_url:
        return
    if not await supervisor.portal_ready():
        say(f"the portal does not answer yet on {supervisor.portal_url}")
        return
    if not options.json:
        with suppress(OSError, ValueError):
            terminal.write(f"portal {supervisor.portal_url}\n")
        say(f"to change things there, sign in with what stands in {supervisor.facts().portal_token}")


async def _start(options: UpOptions, supervisor: Supervisor, apply_policy: ApplyPolicy) -> None:
    """
    Bring the fleet up, and look at its providers meanwhile.

    Whatever is wrong with these is said before the ready line: the fleet runs all the same, and they may be mended.
    """
    if options.pull:
        await pull_missing(named_models(options.local_models), os.environ, say)
    checking = asyncio.ensure_future(_check(options, supervisor.engines))
    try:
        await supervisor.start(apply_policy)
        for found in await checking:
            if found.state == "wrong":
                say(f"{found.subject}: {found.says}; {found.mend}")
    finally:
        checking.cancel()


async def _check(options: UpOptions, engines: Engines) -> list[Finding]:
    wanted: dict[str, list[str]] = {}
    if options.local and engines.local == ON_THIS_MACHINE.name:
        wanted[engines.local] = named_models(options.local_models or ",".join(engines.local_models))
    if options.cloud and engines.cloud in KEYS:
        wanted[engines.cloud] = named_models(options.cloud_models or ",".join(engines.cloud_models))
    return await check_all(wanted, os.environ)


def _announce(options: UpOptions, supervisor: Supervisor) -> None:
    with suppress(OSError, ValueError):
        if options.json:
            terminal.json_line(msgspec.json.encode(supervisor.facts()))
        else:
            terminal.write(f"ready {supervisor.url}\n")


def _on_signal(again: bool) -> None:  # noqa: FBT001  (called by position)
    say("stopping at once" if again else "draining; once more to stop at once")
