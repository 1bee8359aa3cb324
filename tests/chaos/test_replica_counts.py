"""What `kubectl scale` does: more replicas serve in proportion, fewer fail no task."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median

from nats.aio.msg import Msg

from flotilla.testkit.callers import committed
from flotilla.testkit.fleet import RunningFleet, running_fleet
from flotilla.testkit.plain_client import BODIES, PlainClient, new_task

CLASSIFY = BODIES["classify"]
COUNTS = (1, 2, 4, 8)
SLOTS = 4
LATENCY_S = 0.1
LINEAR_WITHIN = 0.05
ROUNDS = 8
WINDOWS_MAX = 4
BACKLOG = 300


class Backlog:
    """
    A task stream that never runs empty, and when its results came.

    Attributes:
        tasks: Accepted.
        failed: Results that are not ok.
    """

    def __init__(self, client: PlainClient) -> None:
        self._client = client
        self._heard_at: list[float] = []
        self._heard = asyncio.Event()
        self.tasks = 0
        self.failed = 0

    async def hear(self, message: Msg) -> None:
        self._heard_at.append(time.monotonic())
        self.failed += b'"status":"ok"' not in message.data
        self._heard.set()

    async def fill(self) -> None:
        while True:
            while self.tasks - len(self._heard_at) < BACKLOG:
                await self._client.submit_many("classify", CLASSIFY, [new_task("scale") for _ in range(50)])
                self.tasks += 50
            await asyncio.sleep(0.05)

    async def least_slot_seconds(self, slots: int, good_s: float) -> float:
        """The least of a few windows, or of fewer when one is good enough."""
        windows = [await self.slot_seconds(slots)]
        while len(windows) < WINDOWS_MAX and min(windows) > good_s:
            windows.append(await self.slot_seconds(slots))
        return min(windows)

    async def slot_seconds(self, slots: int) -> float:
        """
        Slot-seconds that one task took: how long the fleet's slots need for as many tasks as there are slots.

        The median over every such span in ROUNDS rounds: what other work on the machine holds up now and then, and the
        waves in which equal tasks end, do not move it.
        """
        first = len(self._heard_at) + slots
        last = first + ROUNDS * slots
        async with asyncio.timeout(20):
            while len(self._heard_at) <= last:
                self._heard.clear()
                await self._heard.wait()
        at = self._heard_at
        return median(at[index + slots] - at[index] for index in range(first, last - slots))


async def test_throughput_is_linear_in_replicas_and_scaling_down_fails_no_task(tmp_path: Path):
    """
    1, 2, 4 and 8 replicas under one load, each task taking 100 ms; then six of eight are told to leave.

    Noise only ever adds time. So each count may show what it can in the best of a few windows, and the one replica that
    the others are compared with, too.
    """
    took: dict[int, float] = {}
    async with running_fleet(tmp_path, orchestrators=2, local=1, slots=SLOTS, latency_ms=LATENCY_S * 1000) as fleet:
        async with _backlog(fleet) as backlog:
            for count in COUNTS:
                await _scale_up(fleet, count)
                good_s = took.get(1, LATENCY_S) * (1 + LINEAR_WITHIN / 2)
                took[count] = await backlog.least_slot_seconds(count * SLOTS, good_s)
            leavers = fleet.workers[2:]
            for leaver in leavers:
                leaver.terminate()
            codes = [await leaver.wait() for leaver in leavers]
            after = await backlog.least_slot_seconds(2 * SLOTS, took[1] * (1 + LINEAR_WITHIN / 2))
        stored = await committed(fleet, backlog.tasks)
        errors = [line for worker in fleet.workers for line in worker.log_text().splitlines() if '"error"' in line]

    for count, seconds in took.items():
        _say(
            f"{count} replicas of {SLOTS} slots: {count * SLOTS / seconds:.1f} tasks/s, {seconds * 1000:.1f} ms of slot "
            f"a task, {took[1] / seconds * 100:.1f} % of linear"
        )
    _say(f"8 to 2 by SIGTERM: {2 * SLOTS / after:.1f} tasks/s, {backlog.tasks} tasks in all, {backlog.failed} failed")
    assert all(seconds <= took[1] * (1 + LINEAR_WITHIN) for seconds in took.values()), took
    assert after <= took[1] * (1 + LINEAR_WITHIN)
    assert codes == [0] * 6
    assert backlog.failed == 0
    assert stored == (backlog.tasks, backlog.tasks)
    assert not errors


async def _scale_up(fleet: RunningFleet, count: int) -> None:
    started = [
        await fleet.start_worker(slots=SLOTS, latency_ms=LATENCY_S * 1000, wait=False)
        for _ in range(count - len(fleet.workers))
    ]
    await asyncio.gather(*(fleet.until_ready(worker) for worker in started))
    await fleet.until_replicas({worker.name for worker in fleet.workers})


@asynccontextmanager
async def _backlog(fleet: RunningFleet) -> AsyncGenerator[Backlog]:
    client = await fleet.client()
    backlog = Backlog(client)
    subscription = await client.nc.subscribe("results.>", cb=backlog.hear)  # pyright: ignore[reportUnknownMemberType]
    filling = asyncio.get_running_loop().create_task(backlog.fill())
    try:
        yield backlog
    finally:
        filling.cancel()
        await asyncio.wait([filling])
        await subscription.unsubscribe()


def _say(text: str) -> None:
    print(f"\n{text}", end="")  # noqa: T201  (the figures are worth a look)
