"""The portal of `flotilla up`: where it says, and at a port that nobody else gets while the fleet runs."""

import asyncio
import os
import signal
import socket
import stat
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import msgspec

from flotilla.cli.supervisor.supervisor import FleetFacts
from flotilla.testkit.commands import RunningCommand, start_command
from flotilla.testkit.plain_client import eventually

READY_TIMEOUT_S = 90.0
END_TIMEOUT_S = 60.0


@asynccontextmanager
async def with_portal(directory: Path) -> AsyncGenerator[RunningCommand]:
    """`flotilla up` with a portal at a free port; drained when the block ends, which goes well."""
    options = ("--engine", "noop", "--redaction", "0", "--cloud", "0", "--portal-port", "0")
    process = await start_command("up", "--dir", str(directory), "--port", "0", *options, environ=dict(os.environ))
    try:
        yield process
    finally:
        process.terminate()
        _, said = await asyncio.wait_for(process.communicate(), END_TIMEOUT_S)
    assert await process.wait() == 0, said.decode()


def is_taken(port: int) -> bool:
    """Whether nobody can listen there."""
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return True
    return False


async def test_its_portal_is_found_where_it_says_and_its_owner_can_sign_in(tmp_path: Path):
    """
    The ready line does not wait for it; its address follows on the next line, and the token is its owner's alone.
    """
    async with with_portal(tmp_path) as process:
        async with asyncio.timeout(READY_TIMEOUT_S):
            ready, portal = await process.stdout.readline(), await process.stdout.readline()
        assert ready.startswith(b"ready nats://127.0.0.1:")
        assert portal.startswith(b"portal http://127.0.0.1:")
        token = tmp_path / "portal" / "token"
        assert stat.S_IMODE(token.stat().st_mode) == stat.S_IRUSR | stat.S_IWUSR
        async with httpx.AsyncClient(base_url=portal.split()[1].decode(), timeout=END_TIMEOUT_S) as browser:
            assert (await browser.get("/session")).json()["role"] == "viewer"
            signed_in = (await browser.post("/session", json={"token": token.read_text().strip()})).json()
        assert (signed_in["signed_in"], signed_in["role"]) == (True, "admin")


async def test_nobody_else_gets_the_port_of_its_portal(tmp_path: Path):
    """
    Neither before the portal listens nor after it has died: whoever had it would be signed in at in its place.
    """

    def facts() -> FleetFacts:
        return msgspec.json.decode((tmp_path / "fleet.json").read_bytes(), type=FleetFacts)

    async with with_portal(tmp_path) as process:
        async with asyncio.timeout(READY_TIMEOUT_S):
            await process.stdout.readline()
        url = facts().portal
        port = int(url.rpartition(":")[2])
        assert is_taken(port)

        for _ in range(3):
            [pid] = facts().pids["portal"]
            os.kill(pid, signal.SIGKILL)

            async def is_another(before: int = pid) -> bool:
                assert is_taken(port)
                return facts().pids["portal"] not in ([], [before])

            await eventually(is_another)
        async with httpx.AsyncClient(base_url=url, timeout=END_TIMEOUT_S) as browser:
            assert (await browser.get("/session")).json()["role"] == "viewer"
