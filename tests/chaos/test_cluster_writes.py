"""What a cluster of servers answers to writes that a single one would not: two at once, and none while nobody leads."""

import asyncio
import json
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import cast

import nats.errors

from flotilla.contracts.subjects import blackboard_bucket, dead_stream
from flotilla.fabric import keyvalue
from flotilla.fabric.connection import connected
from flotilla.fabric.inbox import Requests
from flotilla.provisioning.streams import ensure
from flotilla.provisioning.topology import TopologyLimits, topology
from flotilla.testkit.callers import client_off
from flotilla.testkit.fleet import running_fleet
from flotilla.testkit.nats_cluster import NODES, RunningCluster, running_cluster
from flotilla.testkit.plain_client import PlainClient, new_task

CONSUMER = "TASKS_default.classify_normal"
ROUNDS = 50
WRITERS = 4
PATIENCE_S = 40.0

BLACKBOARD = blackboard_bucket("default")
DEAD = dead_stream("default")


async def test_of_several_compare_and_set_at_once_one_wins_and_the_others_are_told(tmp_path: Path):
    """
    While one write is being agreed on the server has a second code for "not the newest": it is a conflict as well.
    """
    async with (
        running_cluster(tmp_path) as cluster,
        connected(cluster.orchestrator(), name="one") as one,
        connected(cluster.orchestrator(), name="other") as other,
    ):
        writers = [Requests(one), Requests(other)]
        for writer in writers:
            await writer.start()
        await ensure(writers[0], topology(limits=TopologyLimits(replicas=NODES)))
        won: list[int] = []
        for _ in range(ROUNDS):
            revisions = await asyncio.gather(
                *(
                    keyvalue.put(writer, BLACKBOARD, "k", b"1", expected_revision=won[-1] if won else 0)
                    for writer in writers * (WRITERS // len(writers))
                )
            )
            winners = [revision for revision in revisions if revision is not None]
            assert len(winners) == 1, revisions
            won += winners
        for writer in writers:
            await writer.stop()

    assert won == sorted(set(won))


async def test_what_failed_while_nobody_led_the_dead_letters_is_on_record_all_the_same(tmp_path: Path):
    """
    The node that leads DEAD is killed, and tasks that cannot be done come in the same moment.
    """
    async with running_fleet(tmp_path, nodes=NODES) as fleet:
        cluster, admin = cast("RunningCluster", fleet.server), await fleet.admin()
        leader = await cluster.leader_of(DEAD)
        for stream in ("TASKS_default", "RESULTS_default"):
            # Tasks are taken and fail without a pause, so that their records are what comes while nobody leads.
            while await cluster.leader_of(stream) is leader:
                await _step_down(admin, f"STREAM.LEADER.STEPDOWN.{stream}")
        while (led_by := await _leader_of_consumer(admin, CONSUMER)) in (None, leader.name):
            if led_by is not None:
                await _step_down(admin, f"CONSUMER.LEADER.STEPDOWN.{CONSUMER}")
            await asyncio.sleep(0.2)
        client, _ = await client_off(fleet, leader)
        bad = [new_task("bad") for _ in range(20)]
        async with client.hearing("results.>") as results:
            await leader.kill()
            await client.submit_many("classify", b"not JSON", bad)
            await results.until(lambda heard: set(heard.counts()) >= set(bad), PATIENCE_S)
            async with asyncio.timeout(PATIENCE_S):
                await _until_messages(admin, DEAD, len(bad))
        log = fleet.orchestrators[0].log_text()

    assert Counter(body["error"]["kind"] for body in results.bodies()) == {"bad_request": len(bad)}
    assert '"dead_letter_lost"' not in log


async def _step_down(admin: PlainClient, request: str) -> None:
    """A leader that is just being replaced does not answer."""
    with suppress(nats.errors.TimeoutError):
        await admin.nc.request(f"$JS.API.{request}", timeout=2)


async def _leader_of_consumer(admin: PlainClient, consumer: str) -> str | None:
    """None while there is none, and then nobody may answer."""
    with suppress(nats.errors.TimeoutError):
        reply = await admin.nc.request(f"$JS.API.CONSUMER.INFO.{consumer}", timeout=2)
        return json.loads(reply.data).get("cluster", {}).get("leader")
    return None


async def _until_messages(admin: PlainClient, stream: str, count: int) -> None:
    while True:
        with suppress(nats.errors.Error):
            if (await admin.nc.jetstream().stream_info(stream)).state.messages == count:  # pyright: ignore[reportUnknownMemberType]
                return
        await asyncio.sleep(0.2)
