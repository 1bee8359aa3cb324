"""
Callers that go on whatever happens to the fleet, and remember what they got.

They are plain NATS clients: a durable task that got no PubAck is published again under the same id, an interactive one
is not repeated.
"""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any, Final, cast

import nats.errors
from msgspec import Struct
from nats.aio.msg import Msg

from flotilla.testkit.fleet import RunningFleet
from flotilla.testkit.nats_cluster import ClusterNode, RunningCluster
from flotilla.testkit.plain_client import BODIES, PlainClient, new_task

CAPABILITY: Final = "classify"
PUBACK_TIMEOUT_S: Final = 2.0
PUBLISH_AGAIN_S: Final = 0.25
ASK_DEADLINE_S: Final = 8.0
ASK_MARGIN_S: Final = 1.0
ASK_PAUSE_S: Final = 0.02
COMMITTED_POLL_S: Final = 0.1
CLIENTS_MAX: Final = 30

_BODY: Final = json.dumps(BODIES[CAPABILITY]).encode()


class Asked(Struct, frozen=True, kw_only=True):
    """
    What came of an interactive task.

    Attributes:
        ended_at: By the monotonic clock.
        outcome: `ok`, the kind of the error, or the name of what nats-py raised.
        retryable: What the error said of itself.
        cut_off: The caller's own connection was lost meanwhile.
    """

    ended_at: float
    took_s: float
    outcome: str
    retryable: bool = False
    cut_off: bool = False


class Callers:
    """
    Durable and interactive tasks at a pace.

    Attributes:
        accepted_at: When the PubAck of each durable task came, by the monotonic clock.
        unacknowledged: Publishes without a PubAck, by what nats-py raised or the server said.
        duplicates: Tasks that were accepted under a repeated publish that the server knew already.
        asked: Interactive tasks that ended, in this order.
        heard_at: When each result of a durable task came, by the monotonic clock.
    """

    def __init__(self) -> None:
        self.accepted_at: Final[dict[str, float]] = {}
        self.unacknowledged: Final[Counter[str]] = Counter()
        self.duplicates = 0
        self.asked: Final[list[Asked]] = []
        self.heard_at: Final[list[float]] = []
        self._stop = asyncio.Event()
        self._publishing: Final[set[asyncio.Task[None]]] = set()

    @property
    def outcomes(self) -> dict[str, int]:
        """How many interactive tasks ended how; those of callers that were cut off say so."""
        return dict(Counter(f"cut off: {each.outcome}" if each.cut_off else each.outcome for each in self.asked))

    def ask_ms(self, fraction: float, since: float = 0.0) -> float:
        """A quantile of how long the interactive tasks took that went well after a moment."""
        took = sorted(each.took_s for each in self.asked if each.outcome == "ok" and each.ended_at >= since)
        return took[min(len(took) - 1, int(len(took) * fraction))] * 1000

    def ask_pause_s(self, since: float) -> float:
        """The longest time after a moment in which no interactive task went well."""
        return _longest_gap([each.ended_at for each in self.asked if each.outcome == "ok"], since)

    def accept_pause_s(self, since: float) -> float:
        """The longest time after a moment in which no durable task was accepted."""
        return _longest_gap(list(self.accepted_at.values()), since)

    def result_pause_s(self, since: float) -> float:
        """The longest time after a moment in which no result of a durable task came."""
        return _longest_gap(self.heard_at, since)

    async def hear(self, _message: Msg) -> None:
        """A result of a durable task came."""
        self.heard_at.append(time.monotonic())

    async def publish(self, client: PlainClient, task: str) -> None:
        """Publish a durable task until it is accepted."""
        again = False
        while True:
            try:
                reply = await client.nc.request(
                    f"tasks.{CAPABILITY}", _BODY, timeout=PUBACK_TIMEOUT_S, headers={"Nats-Msg-Id": task}
                )
            except (TimeoutError, OSError, nats.errors.Error) as error:
                self.unacknowledged[type(error).__name__] += 1
            else:
                ack: dict[str, Any] = json.loads(reply.data)
                if "error" not in ack:
                    self.duplicates += bool(again and ack.get("duplicate"))
                    self.accepted_at[task] = time.monotonic()
                    return
                self.unacknowledged[str(ack["error"].get("err_code"))] += 1
            again = True
            await asyncio.sleep(PUBLISH_AGAIN_S)

    async def publish_steadily(self, client: PlainClient, per_s: float) -> None:
        """Publish durable tasks at a pace, until told to stop; one that waits holds up no other."""
        while not self._stop.is_set():
            publishing = asyncio.get_running_loop().create_task(self.publish(client, new_task("steady")))
            self._publishing.add(publishing)
            publishing.add_done_callback(self._publishing.discard)
            await asyncio.sleep(1 / per_s)
        await asyncio.gather(*self._publishing)

    async def ask_steadily(self, client: PlainClient) -> None:
        """Ask one interactive task after the other, until told to stop."""
        headers = {"Flotilla-Deadline-Ms": str(round(ASK_DEADLINE_S * 1000))}
        while not self._stop.is_set():
            began, before = time.monotonic(), client.nc.stats["reconnects"]
            retryable = False
            try:
                reply = await client.nc.request(
                    f"ask.{CAPABILITY}", _BODY, timeout=ASK_DEADLINE_S + ASK_MARGIN_S, headers=headers
                )
                refusal: dict[str, Any] = json.loads(reply.data).get("error") or {}
                outcome, retryable = refusal.get("kind", "ok"), bool(refusal.get("retryable"))
            except (TimeoutError, OSError, nats.errors.Error) as error:
                outcome = type(error).__name__
            now = time.monotonic()
            self.asked.append(
                Asked(
                    ended_at=now,
                    took_s=now - began,
                    outcome=outcome,
                    retryable=retryable,
                    cut_off=not client.nc.is_connected or client.nc.stats["reconnects"] != before,
                )
            )
            await asyncio.sleep(ASK_PAUSE_S)

    def stop(self) -> None:
        """Begin nothing new."""
        self._stop.set()


@asynccontextmanager
async def calling(fleet: RunningFleet, *, durable_per_s: float = 40.0, askers: int = 4) -> AsyncGenerator[Callers]:
    """Load while the block runs; when it ends, every durable task was accepted, every interactive one has ended."""
    callers = Callers()
    publisher = await fleet.client()
    await publisher.nc.subscribe("results.>", cb=callers.hear)  # pyright: ignore[reportUnknownMemberType]
    askers_clients = [await fleet.client() for _ in range(askers)]
    loop = asyncio.get_running_loop()
    running = [loop.create_task(callers.publish_steadily(publisher, durable_per_s))]
    running += [loop.create_task(callers.ask_steadily(client)) for client in askers_clients]
    try:
        yield callers
    finally:
        callers.stop()
        await asyncio.gather(*running)


async def committed(fleet: RunningFleet, tasks: int, timeout_s: float = 40.0) -> tuple[int, int]:
    """
    How many results are stored, and how many were ever stored, once no task is left in the stream.

    Raises:
        TimeoutError: Tasks are left after `timeout_s`; says how many.
    """
    stream = (await fleet.admin()).nc.jetstream()  # pyright: ignore[reportUnknownMemberType]
    left = -1
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                await asyncio.sleep(COMMITTED_POLL_S)
                try:
                    left = (await stream.stream_info("TASKS_default")).state.messages
                    results = (await stream.stream_info("RESULTS_default")).state
                except (nats.errors.TimeoutError, nats.errors.NoRespondersError):
                    continue
                if left == 0 and results.messages >= tasks:
                    return results.messages, results.last_seq
    except TimeoutError:
        raise TimeoutError(f"{left} tasks are left after {timeout_s:g} s\n{fleet.report()}") from None


async def client_off(fleet: RunningFleet, node: ClusterNode) -> tuple[PlainClient, ClusterNode]:
    """A caller that is connected to another node of the fleet's cluster than this one, and its node."""
    cluster = cast("RunningCluster", fleet.server)
    for _ in range(CLIENTS_MAX):
        client = await fleet.client()
        url = client.nc.connected_url
        connected = next(each for each in cluster.nodes if url is not None and each.url.endswith(f":{url.port}"))
        if connected is not node:
            return client, connected
    raise AssertionError("every client went to the same node")


def _longest_gap(moments: list[float], since: float) -> float:
    moments = [since, *sorted(moment for moment in moments if moment >= since)]
    return max((later - earlier for earlier, later in pairwise(moments)), default=0.0)
