"""
A worker without the project's code: nats-py, `json`, and a script of what it says to each request.

It shows what a worker in another language must do, and does what no honest worker would.
"""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from nats.aio.msg import Msg

from flotilla.testkit.plain_client import Json, PlainClient, settled

REFRESH_S: Final = 2.0

Line = Json | bytes | float
"""A reply as JSON, a reply as raw bytes, or a pause in seconds."""

Script = Callable[[Json], Iterable[Line]]
"""What to say to a request."""

OUTPUT: Final = {"label": "billing", "confidence": 1.0}


def finished(output: Any = None, **more: Any) -> Json:
    """A good last word; of a `classify`, if no output is given."""
    given = OUTPUT if output is None else output
    return {"type": "finished", "output": given, "provider": "scripted", "model": "m1", **more}


def failed(kind: str, message: str = "as the script says", **more: Any) -> Json:
    """A bad last word."""
    return {"type": "failed", "kind": kind, "message": message, **more}


class ScriptedWorker:
    """
    A replica that says what it is told to, of the capabilities that it announces; others it refuses, as a worker does.

    Attributes:
        requests: Every request it was sent, as JSON, in order.
        replies: The reply subject of each.
        controls: Every word to this replica alone, in-flight checks among them.
    """

    def __init__(
        self, client: PlainClient, *, zone: str, pool: str, replica: str, script: Script, capabilities: Collection[str]
    ) -> None:
        self.requests: Final[list[Json]] = []
        self.replies: Final[list[str]] = []
        self.controls: Final[list[Json]] = []
        self.script = script
        self._client = client
        self._lane = f"{zone}.{pool}"
        self._replica = replica
        self._capabilities = frozenset(capabilities)
        self._saying: set[asyncio.Task[None]] = set()

    async def join(self) -> None:
        """Become a member of the pool's queue group."""
        nc = self._client.nc
        await nc.subscribe(f"infer.{self._lane}.*", queue=self._lane.split(".")[1], cb=self._take)  # pyright: ignore[reportUnknownMemberType]  # nats-py's is partly untyped
        await nc.subscribe(f"infer-control.{self._lane}.{self._replica}", cb=self._control)  # pyright: ignore[reportUnknownMemberType]  # nats-py's is partly untyped
        await settled(nc)

    async def stop(self) -> None:
        """Say nothing more."""
        for saying in self._saying:
            saying.cancel()

    async def _take(self, message: Msg) -> None:
        request = json.loads(message.data)
        self.requests.append(request)
        self.replies.append(message.reply)
        saying = asyncio.get_running_loop().create_task(self._say(message.reply, request))
        self._saying.add(saying)
        saying.add_done_callback(self._saying.discard)

    async def _control(self, message: Msg) -> None:
        control = json.loads(message.data)
        self.controls.append(control)
        if control["type"] == "roll_call":
            # One that does not say what it holds is taken for one in trouble, and its attempts for lost.
            sent = {request["attempt"] for request in self.requests}
            held = [attempt for attempt in control["attempts"] if attempt in sent]
            answer = json.dumps({"replica": self._replica, "attempts": held}).encode()
            await self._client.nc.publish(message.reply, answer)

    async def _say(self, reply: str, request: Json) -> None:
        capability = request["capability"]
        # A pool is routed to for a while by the card of a replica that has left.
        is_served = capability in self._capabilities
        for line in self.script(request) if is_served else [failed("refused", f"does not serve {capability}")]:
            if isinstance(line, (int, float)):
                await asyncio.sleep(line)
                continue
            body = json.dumps({"replica": self._replica, **line}).encode() if isinstance(line, dict) else line
            await self._client.nc.publish(reply, body)
            if isinstance(line, dict) and line["type"] == "accepted":
                # On its way before what comes next is made: that may take longer than an acceptance is waited for.
                await self._client.nc.flush()


@asynccontextmanager
async def scripted_worker(
    client: PlainClient,
    script: Script,
    *,
    zone: str = "local",
    pool: str = "scripted",
    replica: str = "scripted-w1",
    capabilities: Sequence[str] = ("classify", "summarize"),
    models: Sequence[str] = ("m1",),
    slots: int = 8,
) -> AsyncGenerator[ScriptedWorker]:
    """
    Serve while the block runs, with a heartbeat; `client` has the credentials of the pool's workers.

    The caller waits until the fleet sees the replica.
    """
    card = {
        "zone": zone,
        "pool": pool,
        "replica": replica,
        "provider": "scripted",
        "models": [{"name": name, "capabilities": list(capabilities)} for name in models],
        "slots": slots,
        "started_unix_ms": time.time_ns() // 1_000_000,
    }
    subject = f"heartbeat.{zone}.{pool}.{replica}"
    body = json.dumps(card).encode()

    async def refresh() -> None:
        while True:
            await asyncio.sleep(REFRESH_S)
            await client.nc.publish(subject, body)

    worker = ScriptedWorker(client, zone=zone, pool=pool, replica=replica, script=script, capabilities=capabilities)
    await worker.join()
    await client.nc.publish(subject, body)
    refreshing = asyncio.get_running_loop().create_task(refresh())
    try:
        yield worker
    finally:
        refreshing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await refreshing
        await worker.stop()
        await client.nc.publish(subject, b"")
        await client.nc.close()
