"""A viewer who does not read, and a portal that is started again: neither costs the others anything."""

import asyncio
import json
import socket
from pathlib import Path
from typing import Any

import pytest

from flotilla.testkit.fleet import RunningFleet
from flotilla.testkit.patient_client import WAIT_S
from flotilla.testkit.plain_client import BODIES, PlainClient
from flotilla.testkit.portal import PortalHere, people_file, start_portal

pytestmark = pytest.mark.asyncio(loop_scope="session")

LABELS = {f"Flotilla-Label-L{number}": "x" * 120 for number in range(16)}
GROWTH_BYTES_MAX = 48 * 1024 * 1024
ASKS_AT_ONCE = 100
ROUNDS = 30


class Frames:
    """The messages of kind `events` in a stream, each read once: it comes in thousands of pieces."""

    def __init__(self) -> None:
        self._rest = b""

    def take(self, piece: bytes) -> list[dict[str, Any]]:
        """Those that are whole with this piece."""
        *parts, self._rest = (self._rest + piece).split(b"\n\n")
        bodies = [part.partition(b"event: events\n")[2].partition(b"data: ")[2] for part in parts]
        return [json.loads(body) for body in bodies if body]


def told_of_loss(frame: dict[str, Any]) -> bool:
    """Whether a message says only how much was missed."""
    return bool(frame["dropped"] and not frame["events"])


async def test_who_does_not_read_is_held_for_nothing_and_gets_what_is_new_when_he_does(
    portal_fleet: RunningFleet, portal: PortalHere, caller: PlainClient
):
    """
    Megabytes of events pass him by: the portal does not grow with them, the other viewer misses none, and he is told how
    many he has missed; or he is cut off, where a busy machine made it longer than the half minute that he has.
    """
    loop = asyncio.get_running_loop()
    slow = socket.socket()
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    slow.setblocking(False)
    await loop.sock_connect(slow, ("127.0.0.1", portal.port))
    await loop.sock_sendall(slow, f"GET /stream HTTP/1.1\r\nHost: 127.0.0.1:{portal.port}\r\n\r\n".encode())
    async with portal.browser() as browser, portal.stream(browser) as other:
        await other.until(lambda stream: stream.last_id)
        before = portal.process.resident_bytes()
        rounds = 0
        while rounds < ROUNDS:
            seen = len(other.events) + other.dropped
            asks = [caller.ask("classify", BODIES["classify"], headers=LABELS) for _ in range(ASKS_AT_ONCE)]
            assert not [answer.kind for answer in await asyncio.gather(*asks) if answer.kind]
            await other.until(lambda stream, seen=seen: len(stream.events) + stream.dropped >= seen + 3 * ASKS_AT_ONCE)
            rounds += 1
        grown = portal.process.resident_bytes() - before
        frames, told, cut_off = Frames(), False, False
        with slow:
            async with asyncio.timeout(WAIT_S):
                while not cut_off and not told:
                    try:
                        piece = await loop.sock_recv(slow, 1024 * 1024)
                    except ConnectionResetError:
                        piece = b""
                    told = any(map(told_of_loss, frames.take(piece)))
                    cut_off = not piece

    assert grown < GROWTH_BYTES_MAX
    assert cut_off or told


async def test_a_portal_that_is_started_again_takes_the_sessions_that_were_open(
    portal_fleet: RunningFleet, tmp_path: Path
):
    """
    By the key in a file; the page goes on with a whole snapshot.
    """
    key = tmp_path / "session.key"
    key.write_bytes(bytes(range(32)))
    people = people_file(tmp_path)
    env = {"FLOTILLA_PORTAL_SESSION_KEY_FILE": str(key)}
    first = await start_portal(portal_fleet, "first", people=people, env=env)
    async with first.signed_in("admin") as browser, first.stream(browser) as stream:
        await stream.until(lambda stream: stream.last_id)
        cookies = dict(browser.cookies)
        last_id = stream.last_id
        first.process.terminate()
        assert 0 == await first.process.wait()
    again = await start_portal(
        portal_fleet, "again", people=people, env={**env, "FLOTILLA_PORTAL_PORT": str(first.port)}
    )
    async with again.browser(cookies=cookies) as browser, again.stream(browser, last_id=last_id) as stream:
        await stream.until(lambda stream: stream.state and stream.last_id)
        session = (await browser.get("/session")).json()
    again.process.kill()

    assert ("admin <b>", True) == (session["name"], session["signed_in"])
