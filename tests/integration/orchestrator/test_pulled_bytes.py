"""What is pulled from the task streams stays within its room, whatever the sizes, and everything comes in the end."""

import asyncio
import contextlib
import random
from collections import Counter

import pytest

from flotilla.contracts import subjects
from flotilla.contracts.subjects import Priority
from flotilla.fabric.connection import Connection, connected
from flotilla.fabric.consumers import ensure_consumer
from flotilla.fabric.deliveries import Delivery
from flotilla.fabric.inbox import Requests
from flotilla.fabric.pull_consumers import Puller, tasks_of
from flotilla.provisioning.streams import ensure
from flotilla.provisioning.topology import topology
from flotilla.testkit.nats_server import RunningServer
from orchestrator.state.pulled_bytes import BESIDES_BYTES, PulledBytes
from orchestrator.state.shared_quota import Room
from orchestrator.ways_in.durable import PULL_TICK_S

KIB = 1024
SCOPES = ("default", "acme")
PAYLOAD_MAX = 64 * KIB
SIZES = (10, 300, 4 * KIB, 20 * KIB, 63 * KIB)
TASKS = 60
AT_ONCE = 16
LANES: tuple[tuple[str, Priority], ...] = (("classify", "normal"), ("classify", "high"), ("summarize", "normal"))


class Scope:
    """One scope's pullers, and what they have in hand."""

    def __init__(self, connection: Connection, requests: Requests, scope: str, room: Room) -> None:
        self.scope = scope
        self.pulled = PulledBytes(room, scope, payload_bytes_max=PAYLOAD_MAX)
        self.pulled.pullers = len(LANES)
        self.held: list[Delivery] = []
        self.came = Counter[str]()
        self.most = 0
        self.due = asyncio.Event()
        self.pullers = [
            Puller(
                connection,
                requests,
                source=tasks_of(scope, capability, priority),
                allowance=self.pulled,
                on_delivery=self.take,
                on_refused=self.due.set,
            )
            for capability, priority in LANES
        ]

    def take(self, delivery: Delivery) -> None:
        """Hold it."""
        self.held.append(delivery)
        self.came[delivery.subject] += 1
        self.most = max(self.most, sum(each.size_bytes for each in self.held))
        assert self.pulled.held >= sum(each.size_bytes for each in self.held)
        self.due.set()

    async def work(self, rng: random.Random) -> None:
        """Pull, and finish some of what is held at a time, until everything has come."""
        while self.came.total() < TASKS * len(LANES) or self.held:
            for puller in self.pullers:
                await puller.pull(AT_ONCE)
            self.due.clear()
            if self.held:
                done = self.held.pop(rng.randrange(len(self.held)))
                await done.acknowledge()
                self.pulled.give_back(done.size_bytes)
            else:
                # Room that the other scope gives back is told to nobody: an orchestrator looks again on a tick.
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.due.wait(), PULL_TICK_S)


@pytest.mark.parametrize(("total", "share"), [(100 * KIB, 0.5), (400 * KIB, 0.6), (40 * KIB, 0.5), (200 * KIB, 1.0)])
async def test_every_task_comes_and_none_beyond_the_room_but_one(nats_server: RunningServer, total: int, share: float):
    """
    Two scopes with tasks of every size, at once: all are delivered once, each scope stays within its part of the room
    and one message, and in the end nothing is held.
    """
    rng = random.Random(total)
    async with connected(nats_server.orchestrator(), name="orchestrator") as connection:
        requests = Requests(connection)
        await requests.start()
        await ensure(requests, topology(SCOPES))
        room = Room(SCOPES, total_max=total, share_max=share)
        scopes = [Scope(connection, requests, scope, room) for scope in SCOPES]
        for scope in SCOPES:
            for capability, priority in LANES:
                await ensure_consumer(
                    requests, scope=scope, capability=capability, priority=priority, ack_pending_max=1000
                )
                for _ in range(TASKS):
                    body = b"x" * rng.choice(SIZES)
                    await requests.request(subjects.tasks(scope, capability, priority), body)

        await asyncio.wait_for(asyncio.gather(*(scope.work(rng) for scope in scopes)), 60)

        for scope in scopes:
            assert {TASKS} == set(scope.came.values())
            assert scope.most <= room.largest + PAYLOAD_MAX + BESIDES_BYTES
            for puller in scope.pullers:
                puller.forget_pulls()
        assert [0, 0] == [scope.pulled.held for scope in scopes]
        assert [0, 0] == [room.of(scope) for scope in SCOPES]
        await requests.stop()
