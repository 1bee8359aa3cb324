"""A cluster of three real NATS servers under load: nodes die and come back, the one that leads included."""

import asyncio
import time
from collections import Counter
from pathlib import Path
from typing import cast

import pytest

from flotilla.contracts.subjects import BUCKETS, SHARED_BEFORE, blackboard_bucket, bucket_stream
from flotilla.fabric.connection import connected
from flotilla.fabric.inbox import Requests
from flotilla.testkit.callers import ASK_DEADLINE_S, ASK_MARGIN_S, Asked, Callers, calling, client_off, committed
from flotilla.testkit.fleet import running_fleet
from flotilla.testkit.nats_cluster import NODES, ClusterNode, RunningCluster
from flotilla.testkit.plain_client import BODIES, new_task
from flotilla.testkit.stores_before import leave_stores, note_before

CLASSIFY = BODIES["classify"]
TASKS_STREAM = "TASKS_default"
KEPT = (*BUCKETS, blackboard_bucket("default"))
STREAMS = (TASKS_STREAM, "RESULTS_default", "EVENTS_default", "DEAD_default", *(bucket_stream(name) for name in KEPT))
PAUSE_MAX_S = 20.0
"""The server elects a leader 4 to 9 s after it last heard of one; streams and their consumers have leaders each."""
CALM_S = 2.0
NOTICED_S = 1.0
"""In which the other nodes and every client notice that a node is dead, on a busy machine."""
ROLLS = 5


async def test_orchestrators_that_start_with_a_fresh_cluster_agree_on_its_streams(tmp_path: Path):
    """
    Nobody leads yet, and three create the same streams at once: all become ready, every stream has three replicas.
    """
    began = time.monotonic()
    async with running_fleet(tmp_path, orchestrators=3, local=1, nodes=NODES) as fleet:
        _say(f"fresh cluster: ready after {time.monotonic() - began:.1f} s")
        admin, client = await fleet.admin(), await fleet.client()
        found = {name: (await admin.nc.jetstream().stream_info(name)).config.num_replicas for name in STREAMS}  # pyright: ignore[reportUnknownMemberType]
        answer = await client.ask("classify", CLASSIFY)

    assert found == dict.fromkeys(STREAMS, NODES)
    assert answer.kind == ""


async def test_a_cluster_of_the_version_before_is_taken_over_while_a_node_dies(tmp_path: Path):
    """
    Three orchestrators start on its stores, and the node that leads the old blackboard is killed: nothing is lost.
    """
    scopes, notes = ("default", "acme"), 500
    async with running_fleet(tmp_path, orchestrators=0, local=0, scopes=scopes, nodes=NODES) as fleet:
        cluster = cast("RunningCluster", fleet.server)
        await leave_stores(cluster.admin(), scopes, waiting=new_task(), replicas=NODES)
        async with connected(cluster.admin(), name="before") as connection:
            before = Requests(connection)
            await before.start()
            for number in range(notes):
                await note_before(before, "acme", f"note.{number}", number)
            await before.stop()
        leader = await cluster.leader_of("KV_blackboard")
        starting = [await fleet.start_orchestrator(wait=False) for _ in range(3)]
        await asyncio.sleep(1.5)
        await leader.kill()
        await asyncio.gather(*(fleet.until_ready(process, 60) for process in starting))
        client, _ = await client_off(fleet, leader)
        dead = await client.api("dead", {"verb": "list"})
        admin = await fleet.admin()
        streams = {stream.config.name for stream in await admin.nc.jetstream().streams_info()}  # pyright: ignore[reportUnknownMemberType]
        kept = await admin.messages_in("KV_blackboard_acme")

    assert not streams & set(SHARED_BEFORE)
    assert len(dead["dead"]) == 3
    assert kept == notes + 12


async def test_a_replica_on_another_node_swallows_no_request_while_it_leaves(tmp_path: Path):
    """
    Between nodes the news that a replica left its queue group travels: what is dropped meanwhile is found at once.
    """
    workers, tasks, latency_s = 3, 120, 0.03
    async with running_fleet(
        tmp_path, orchestrators=2, local=workers, slots=1, latency_ms=latency_s * 1000, nodes=NODES
    ) as fleet:
        client = await fleet.client()
        began = time.monotonic()
        answers = await asyncio.gather(*(client.ask("classify", CLASSIFY, timeout_s=30) for _ in range(tasks)))
        took_s = time.monotonic() - began

    outcomes = Counter(attempt["outcome"] for answer in answers for attempt in answer.result["attempts"])
    ideal_s = tasks * latency_s / workers
    _say(
        f"leaving between nodes: {tasks} tasks, {workers} slots, {took_s:.2f} s, ideal {ideal_s:.2f} s; {dict(outcomes)}"
    )
    assert outcomes == {"ok": tasks}


async def test_nodes_killed_one_after_the_other_lose_nothing(tmp_path: Path):
    """
    Each node and then the leader: every accepted task has one committed result, callers wait or are told to retry.
    """
    async with running_fleet(
        tmp_path, orchestrators=2, local=2, slots=4, latency_ms=20, jitter=0.5, nodes=NODES
    ) as fleet:
        cluster = cast("RunningCluster", fleet.server)
        killed_at: list[float] = []
        async with calling(fleet) as callers:
            for choice in (*cluster.nodes, None):
                node = choice or await cluster.leader_of(TASKS_STREAM)
                killed_at.append(await _kill_and_restart(cluster, node, callers))
        stored = await committed(fleet, len(callers.accepted_at))
        assert all(process.is_running for process in fleet.processes)

    repeated = dict(callers.unacknowledged)
    _say(
        f"in all: {len(callers.accepted_at)} tasks accepted, published again after {repeated}; asks {callers.outcomes}"
    )
    # As many as were ever stored: no result was committed twice, or replaced.
    assert stored == (len(callers.accepted_at), len(callers.accepted_at))
    failed = [each for each in callers.asked if each.outcome != "ok" and not each.retryable]
    # What was inside the node that died is lost to core NATS, which keeps nothing: its caller times out, and may repeat.
    unexplained = [each for each in failed if not any(_was_asked_at(each, at) for at in killed_at)]
    assert not unexplained, unexplained[:5]
    assert {each.outcome for each in failed} <= {"TimeoutError", "NoRespondersError"}
    assert max(each.took_s for each in callers.asked) < ASK_DEADLINE_S + ASK_MARGIN_S + 1.0


def _was_asked_at(asked: Asked, killed_at: float) -> bool:
    began_at = asked.ended_at - asked.took_s
    return began_at < killed_at + NOTICED_S and asked.ended_at > killed_at - NOTICED_S


async def _kill_and_restart(cluster: RunningCluster, node: ClusterNode, callers: Callers) -> float:
    """Gives when it was killed."""
    await asyncio.sleep(CALM_S)
    led = await cluster.leader_of(TASKS_STREAM) is node
    killed_at = time.monotonic()
    await node.kill()
    await cluster.leader_of(TASKS_STREAM)
    led_again_s = time.monotonic() - killed_at
    results = len(callers.heard_at)
    async with asyncio.timeout(PAUSE_MAX_S + CALM_S):
        while len(callers.heard_at) < results + 10:
            await asyncio.sleep(0.05)
    await asyncio.sleep(CALM_S)
    pauses_s = callers.accept_pause_s(killed_at), callers.result_pause_s(killed_at), callers.ask_pause_s(killed_at)
    await node.start()
    await asyncio.gather(*(cluster.until_whole(stream) for stream in STREAMS))
    _say(
        f"{node.name} killed, the {'leader' if led else 'follower'} of {TASKS_STREAM}: led again after "
        f"{led_again_s:.1f} s; no task accepted for {pauses_s[0]:.2f} s, no result for {pauses_s[1]:.2f} s, "
        f"no ask answered for {pauses_s[2]:.2f} s"
    )
    assert max(pauses_s) < PAUSE_MAX_S
    return killed_at


async def test_orchestrators_replaced_in_a_cluster_fail_no_ask(tmp_path: Path):
    """
    One that leaves its queue group on another node than the caller's swallows nothing.
    """
    async with running_fleet(tmp_path, orchestrators=2, local=2, slots=16, nodes=NODES) as fleet:
        codes: list[int] = []
        async with calling(fleet, durable_per_s=10.0, askers=24) as callers:
            await asyncio.sleep(CALM_S)
            began = time.monotonic()
            for _ in range(ROLLS):
                old = fleet.orchestrators[-2]
                await fleet.start_orchestrator()
                old.terminate()
                codes.append(await old.wait())
        stored = await committed(fleet, len(callers.accepted_at))

    _say(
        f"{ROLLS} orchestrators replaced in a cluster: {len(callers.asked)} asks {callers.outcomes}, p99 "
        f"{callers.ask_ms(0.99, began):.0f} ms; published again {dict(callers.unacknowledged)}"
    )
    assert codes == [0] * ROLLS
    assert callers.outcomes == {"ok": len(callers.asked)}
    assert stored == (len(callers.accepted_at), len(callers.accepted_at))


@pytest.mark.parametrize("killed", ["leader", "node of the caller"])
async def test_a_publisher_without_a_puback_publishes_again_and_gets_one_result(tmp_path: Path, killed: str):
    """
    A node dies with publishes under way: the same id again is a duplicate or a fresh task, and has one result.
    """
    tasks, at_once = 2_000, 200
    async with running_fleet(tmp_path, orchestrators=2, local=2, slots=16, nodes=NODES) as fleet:
        cluster = cast("RunningCluster", fleet.server)
        leader = await cluster.leader_of(TASKS_STREAM)
        client, node = await client_off(fleet, leader)
        dying = leader if killed == "leader" else node
        callers, left = Callers(), iter(range(tasks))

        async def publish_next() -> None:
            for number in left:
                if number == tasks // 4:
                    asyncio.get_running_loop().create_task(dying.kill())
                await callers.publish(client, new_task("again"))

        await asyncio.gather(*(publish_next() for _ in range(at_once)))
        stored = await committed(fleet, tasks)

    _say(f"{killed} killed: no PubAck {dict(callers.unacknowledged)}; {callers.duplicates} of {tasks} were duplicates")
    assert callers.unacknowledged, "the kill hit no publish"
    assert stored == (tasks, tasks)


def _say(text: str) -> None:
    print(f"\n{text}")  # noqa: T201  (the figures are what these runs are for)
