"""How a service starts and ends: settings, logs, the event loop, exit codes."""

import gc
import os
import secrets
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from types import FrameType
from typing import Final

from flotilla.chassis.logs import configure_logs, log_loop_errors
from flotilla.chassis.memory import return_large_blocks
from flotilla.chassis.plain_structlog import structlog
from flotilla.chassis.settings import ServiceSettings, SettingsT, load_settings
from flotilla.chassis.signals import STOP_SIGNALS, StoppedAtStartError
from flotilla.chassis.terminal_text import clean_line
from flotilla.contracts.errors import FlotillaError, SettingsError
from flotilla.contracts.names import is_replica

GC_THRESHOLDS: Final = (20_000, 20, 20)
EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2

Run = Callable[[SettingsT, str], Awaitable[None]]


def run_service(name: str, kind: type[SettingsT], run: Run[SettingsT]) -> int:
    """
    Run a service until it ends; gives the exit code.

    `run` gets the settings and the instance's name. Settings that are wrong end it at once with one line and code 2; an
    error that the service raises ends it with a log line and code 1. A stop signal before the service looks out for
    them (`stop_signals`), or while it waits to be able to work (`starting`), ends it with code 0.
    """
    for number in STOP_SIGNALS:
        signal.signal(number, _leave_at_once)
    try:
        settings = load_settings(kind, os.environ)
        settings.check_files()
    except SettingsError as error:
        print(clean_line(f"{name}: {error}"), file=sys.stderr)  # noqa: T201  (logs are not set up yet)
        return EXIT_USAGE
    instance = settings.instance or instance_name()
    configure_logs(service=name, instance=instance, level=settings.log_level)
    logger = structlog.get_logger(name)

    async def whole() -> None:
        await run(settings, instance)

    spare_the_collector()
    return_large_blocks()
    try:
        _run_loop(whole)
    except SettingsError as error:
        print(clean_line(f"{name}: {error}"), file=sys.stderr)  # noqa: T201  (one line, like every other wrong setting)
        return EXIT_USAGE
    except StoppedAtStartError:
        logger.info("stopped")
    except FlotillaError as error:
        # The reason is for people, and whole; a traceback would only hide it.
        logger.error("stopped", error=type(error).__name__, reason=str(error))  # noqa: TRY400
        return EXIT_FAILED
    except Exception:
        logger.exception("crashed")
        return EXIT_FAILED
    return EXIT_OK


def _leave_at_once(_number: int, _frame: FrameType | None) -> None:
    sys.exit(EXIT_OK)


def _run_loop(main: Callable[[], Awaitable[None]]) -> None:
    import asyncio  # noqa: PLC0415

    async def whole() -> None:
        log_loop_errors(asyncio.get_running_loop())
        await main()

    try:
        import uvloop  # noqa: PLC0415
    except ImportError:  # there is none for Windows
        asyncio.run(whole())
    else:
        uvloop.run(whole())


def spare_the_collector() -> None:
    """
    Have the garbage collector look at what a service allocates less often, and never at what it imported.

    A task makes a few dozen containers that all die with it; by default the collector looks after every 700.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


def instance_name() -> str:
    """
    A name for this process that no other has: the host's (a pod's name) and a random part.

    The random part tells two processes on one host apart.
    """
    host = socket.gethostname().replace(".", "-")[:48]
    suffix = secrets.token_hex(3)
    name = f"{host}-{suffix}"
    return name if is_replica(name) else f"replica-{suffix}"


__all__ = ["EXIT_FAILED", "EXIT_OK", "EXIT_USAGE", "ServiceSettings", "instance_name", "run_service"]
