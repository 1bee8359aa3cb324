"""A fleet to be measured: `flotilla up` as a process of its own, with the no-op engine."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import msgspec

from flotilla.cli.bench.errors import FleetNotUpError
from flotilla.cli.supervisor.supervisor import FleetFacts
from flotilla.contracts.names import ADMIN
from flotilla.contracts.subjects import inbox_prefix
from flotilla.fabric.connection import Connection, NatsSettings, connected
from flotilla.fabric.unpatched_client import UnpatchedClient

READY_WITHIN_S: Final = 60.0
STOPPED_WITHIN_S: Final = 20.0

_decode_facts: Final = msgspec.json.Decoder(FleetFacts).decode


@asynccontextmanager
async def running_fleet(
    directory: Path, *, local: int, slots: int, capabilities: Path | None = None
) -> AsyncGenerator[FleetFacts]:
    """
    Run one orchestrator and `local` local workers while the block runs, with the files of a folder of capabilities.

    Raises:
        FleetNotUpError: It is not ready within READY_WITHIN_S, or ended; with the last line that it said.
    """
    said = _made(directory) / "up.stderr"
    with said.open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *(
                "-m",
                "flotilla.cli",
                "up",
                "--json",
                "--port",
                "0",
                "--redaction",
                "0",
                "--no-portal",
                "--dir",
                str(directory / "fleet"),
            ),
            *("--engine", "noop", "--local", str(local), "--cloud", "0", "--slots", str(slots)),
            *("--log-level", "warning"),
            *(("--capabilities", str(capabilities)) if capabilities is not None else ()),
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
            # Ctrl-C is for the benchmark, which then stops the fleet.
            start_new_session=True,
        )
    try:
        yield _decode_facts(await _ready_line(process, said))
    finally:
        await _stop(process)


async def _ready_line(process: asyncio.subprocess.Process, said: Path) -> bytes:
    line = b""
    if process.stdout is not None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(READY_WITHIN_S):
                line = await process.stdout.readline()
    if not line:
        raise FleetNotUpError(_last_line(said))
    return line


def _made(directory: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def _last_line(said: Path) -> str:
    return said.read_text(errors="replace").strip().rpartition("\n")[2]


async def _stop(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(STOPPED_WITHIN_S):
            await process.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


@asynccontextmanager
async def tenant(facts: FleetFacts) -> AsyncGenerator[Connection]:
    """A client as callers have it: plain nats-py, the default tenant on loopback, through the account's imports."""
    async with connected(NatsSettings(url=facts.url), name="flotilla bench", client=UnpatchedClient) as connection:
        yield connection


@asynccontextmanager
async def admin(facts: FleetFacts) -> AsyncGenerator[Connection]:
    """A client that may use any subject of the fleet's account: where the raw measurements happen."""
    settings = admin_settings(facts.url, facts.credentials[ADMIN])
    async with connected(settings, name="flotilla bench raw", client=UnpatchedClient) as connection:
        yield connection


def admin_settings(url: str, creds: str) -> NatsSettings:
    """How the fleet's admin connects."""
    return NatsSettings(url=url, creds=Path(creds), inbox_prefix=inbox_prefix(ADMIN))
