"""Tasks at a steady rate, and what became of each: for tests that change the fleet under load."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final

from msgspec import Struct

from flotilla.testkit.patient_client import WAIT_S
from flotilla.testkit.plain_client import BODIES, PlainClient

CAPABILITY: Final = "classify"


class Sample(Struct, frozen=True, kw_only=True):
    """
    One task of the load.

    Attributes:
        sent_at: By the monotonic clock, as is `ended_at`.
        kind: Of its error; "" when it went well.
        pools: Where it was tried, in order.
        outcomes: What came of each attempt.
        probe: Its first attempt was one of the trickle on a route that was left.
    """

    sent_at: float
    ended_at: float
    kind: str
    pools: tuple[str, ...]
    outcomes: tuple[str, ...]
    probe: bool


class SteadyLoad:
    """
    Interactive tasks, one every `1 / rate_hz` seconds whatever becomes of those before.

    Attributes:
        samples: Of the tasks that have ended, in that order.
    """

    def __init__(self, client: PlainClient, rate_hz: float, headers: Mapping[str, str]) -> None:
        self.samples: Final[list[Sample]] = []
        self._client = client
        self._pause_s = 1 / rate_hz
        self._headers = dict(headers)
        self._asking: set[asyncio.Task[None]] = set()
        self._ended = asyncio.Event()

    def sent(self, since: float, until: float = float("inf"), *, probes: bool = False) -> list[Sample]:
        """The tasks sent in a span of time; probes only if asked for."""
        return [each for each in self.samples if since <= each.sent_at < until and (probes or not each.probe)]

    @property
    def failed(self) -> list[Sample]:
        """The tasks that failed."""
        return [each for each in self.samples if each.kind]

    def moved_at(self, since: float, pool: str) -> float:
        """Seconds from `since` until every task, but for probes, was tried first on this pool; inf for never."""
        elsewhere = [each.sent_at for each in self.sent(since) if each.pools[:1] != (pool,)]
        settled = max(elsewhere, default=since)
        return settled - since if self.sent(settled + self._pause_s) else float("inf")

    async def until(self, holds: Callable[["SteadyLoad"], object], timeout_s: float = WAIT_S) -> None:
        """
        Return when a condition holds of what has ended.

        Raises:
            TimeoutError: It does not in time.
        """
        async with asyncio.timeout(timeout_s):
            while not holds(self):
                self._ended.clear()
                await self._ended.wait()

    async def run(self) -> None:
        """Send until cancelled."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            asking = loop.create_task(self._ask())
            self._asking.add(asking)
            asking.add_done_callback(self._asking.discard)
            due += self._pause_s
            await asyncio.sleep(max(0.0, due - loop.time()))

    async def finish(self) -> None:
        """Await what was sent."""
        await asyncio.gather(*self._asking)

    async def _ask(self) -> None:
        sent_at = time.monotonic()
        answer = await self._client.ask(CAPABILITY, BODIES[CAPABILITY], headers=self._headers or None)
        attempts = answer.result.get("attempts", [])
        self.samples.append(
            Sample(
                sent_at=sent_at,
                ended_at=time.monotonic(),
                kind=answer.kind,
                pools=tuple(attempt["pool"] for attempt in attempts),
                outcomes=tuple(attempt["outcome"] for attempt in attempts),
                probe=bool(attempts) and attempts[0]["reason"].startswith("probe"),
            )
        )
        self._ended.set()


@asynccontextmanager
async def steady_load(
    client: PlainClient, rate_hz: float, headers: Mapping[str, str] | None = None
) -> AsyncGenerator[SteadyLoad]:
    """A load while the block runs; afterwards everything that was sent has ended."""
    load = SteadyLoad(client, rate_hz, headers or {})
    running = asyncio.get_running_loop().create_task(load.run())
    try:
        yield load
    finally:
        running.cancel()
        await load.finish()
