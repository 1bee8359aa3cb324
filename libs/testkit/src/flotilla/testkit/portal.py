"""
A portal over a fleet under test, and its stream as a browser reads it.

    portal = await start_portal(fleet)
    async with portal.browser() as browser, portal.stream(browser) as stream:
        await stream.until(lambda stream: stream.state and stream.state["connected"])
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import httpx

from flotilla.testkit.fleet import RunningFleet
from flotilla.testkit.fleet_process import FleetProcess
from flotilla.testkit.patient_client import WAIT_S

TOKENS: Final = {role: f"token-of-the-{role}-0123456789" for role in ("viewer", "approver", "admin")}
"""What the people of `people_file` sign in with, by role."""


def people_file(folder: Path, *, approver_creds: Path | None = None) -> Path:
    """
    One person of each role, who acts without credentials, as the default scope's tenant; the admin may read documents, and
    the approver has the credentials that are given.
    """
    path = folder / "people.toml"
    tables = [
        f'[[person]]\nname = "{role} <b>"\nrole = "{role}"\ntoken_sha256 = "{sha256(token.encode()).hexdigest()}"\n'
        f"documents = {'true' if role == 'admin' else 'false'}\n"
        + (f'approver_creds = "{approver_creds}"\n' if approver_creds is not None and role == "approver" else "")
        for role, token in TOKENS.items()
    ]
    path.write_text("\n".join(tables), encoding="utf-8")
    return path


class Stream:
    """
    What a stream has sent.

    Attributes:
        state: The newest snapshot; None before the first.
        states: How many have come.
        events: Of tasks, in order.
        dropped: How many events were left out.
        last_id: What a browser would send as `Last-Event-ID`.
        is_over: The portal has ended it, as it ends a whole answer.
    """

    def __init__(self) -> None:
        self.state: dict[str, Any] | None = None
        self.states = 0
        self.events: Final[list[dict[str, Any]]] = []
        self.dropped = 0
        self.frames = 0
        self.last_id = ""
        self.is_over = False
        self._changed: Final = asyncio.Event()

    def take(self, kind: str, body: str) -> None:
        """Take one message."""
        data = json.loads(body)
        if kind == "state":
            self.state = data
            self.states += 1
        else:
            self.frames += 1
            self.dropped += data["dropped"]
            self.events.extend(data["events"])
        self._changed.set()

    def end(self) -> None:
        """Nothing more comes."""
        self.is_over = True
        self._changed.set()

    async def until(self, holds: "Callable[[Stream], object]", timeout_s: float = WAIT_S) -> None:
        """
        Return when a condition holds of what has come.

        Raises:
            TimeoutError: It does not in time; tells of the newest snapshot.
        """
        try:
            async with asyncio.timeout(timeout_s):
                while not holds(self):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise TimeoutError(f"not within {timeout_s:g} s; {len(self.events)} events, state {self.state}") from None


class PortalHere:
    """
    A portal that runs.

    Attributes:
        url: Where browsers find it.
        process: Ends with the fleet.
    """

    def __init__(self, process: FleetProcess, port: int) -> None:
        self.process: Final = process
        self.port: Final = port
        self.url: Final = f"http://127.0.0.1:{port}"

    def browser(self, **options: Any) -> httpx.AsyncClient:
        """A client with cookies of its own."""
        return httpx.AsyncClient(base_url=self.url, timeout=WAIT_S, **options)

    @asynccontextmanager
    async def signed_in(self, role: str) -> AsyncGenerator[httpx.AsyncClient]:
        """A browser of the person of `people_file` with this role; it sends the token against forgery by itself."""
        async with self.browser() as browser:
            answer = await browser.post("/session", json={"token": TOKENS[role]})
            browser.headers["x-csrf-token"] = answer.raise_for_status().json()["csrf"]
            yield browser

    @asynccontextmanager
    async def stream(self, browser: httpx.AsyncClient, *, last_id: str = "") -> AsyncGenerator[Stream]:
        """Its stream while the block runs."""
        stream = Stream()
        headers = {"last-event-id": last_id} if last_id else {}
        async with browser.stream("GET", "/stream", headers=headers) as response:
            if not response.is_success:
                raise ConnectionError(f"{response.status_code}: {(await response.aread()).decode()}")
            reading = asyncio.create_task(_read(response, stream))
            try:
                yield stream
            finally:
                reading.cancel()
                with suppress(asyncio.CancelledError, httpx.HTTPError):
                    await reading


async def start_portal(
    fleet: RunningFleet, name: str = "portal", *, people: Path | None = None, env: Mapping[str, str] | None = None
) -> PortalHere:
    """Start one as an observer of the fleet's server, on a free port of loopback; returns when it serves."""
    observer = fleet.server.observer()
    environ = {
        "FLOTILLA_NATS_URL": observer.url,
        "FLOTILLA_NATS_CREDS": str(observer.creds),
        "FLOTILLA_INSTANCE": name,
        "FLOTILLA_PORTAL_PORT": "0",
        **({} if people is None else {"FLOTILLA_PORTAL_PEOPLE": str(people)}),
        **(env or {}),
    }
    process = await fleet.spawn(name, ("-m", "portal"), environ)
    await fleet.until_ready(process)
    lines = [json.loads(line) for line in process.log_text().splitlines()]
    return PortalHere(process, next(line["port"] for line in lines if line["event"] == "ready"))


async def _read(response: httpx.Response, stream: Stream) -> None:
    kind = body = frame = ""
    async for line in response.aiter_lines():
        name, _, value = line.partition(": ")
        if name == "event":
            kind = value
        elif name == "data":
            body = value
        elif name == "id":
            frame = value
        elif not line and body:
            # As a browser does: an id counts once the whole message is there.
            stream.last_id = frame or stream.last_id
            stream.take(kind, body)
            kind = body = frame = ""
    stream.end()
