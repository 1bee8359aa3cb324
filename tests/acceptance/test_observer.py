"""What an observer sees of a fleet, from the account that it has for that."""

import asyncio
import json
from typing import Any

import pytest
from nats.aio.msg import Msg

from flotilla.testkit.fleet import RunningFleet
from flotilla.testkit.plain_client import BODIES, PlainClient, eventually, new_task

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_an_observer_reads_the_buckets_as_any_nats_client_does(calm_fleet: RunningFleet, caller: PlainClient):
    """
    With a library's key-value store: the info of the bucket, its keys by direct get, and what is written from then on.
    """
    observer = await calm_fleet.connect(calm_fleet.server.observer())
    jetstream: Any = observer.nc.jetstream()  # pyright: ignore[reportUnknownMemberType]  # nats-py's is partly untyped
    await caller.ask("classify", BODIES["classify"])

    buckets = {name: await jetstream.key_value(name) for name in ("presence", "stats", "policy")}
    async with observer.hearing("$KV.presence.local.>") as heard:
        # The fleet may have only just come up: the first cards are written within seconds. A card that goes is empty.
        await heard.until(lambda heard: {"local-w1", "slow-w1"} <= {_replica(each) for each in heard.messages})
    card = json.loads((await buckets["presence"].get("local.local.local-w1")).value)

    assert ("local", "local", "local-w1") == (card["zone"], card["pool"], card["replica"])
    cards = {"$KV.presence.local.local.local-w1", "$KV.presence.local.slow.slow-w1"}

    async def are_listed() -> bool:
        return cards <= await _listed(observer, "KV_presence")

    await eventually(are_listed)


async def test_an_observer_hears_events_and_reads_those_that_have_been(calm_fleet: RunningFleet, caller: PlainClient):
    """
    Of every scope.
    """
    observer = await calm_fleet.connect(calm_fleet.server.observer())
    task = new_task()
    async with observer.hearing("scope.*.events.>") as heard:
        await caller.submit("classify", BODIES["classify"], task=task)
        await heard.until(lambda heard: "finished" in [json.loads(each.data)["kind"] for each in heard.about(task)])
    info = json.loads((await observer.nc.request("$JS.API.STREAM.INFO.EVENTS_default", timeout=60)).data)

    assert {"scope.default.events.classify.finished"} == {
        each.subject for each in heard.about(task) if json.loads(each.data)["kind"] == "finished"
    }
    assert info["state"]["messages"] > 0


async def test_an_observer_asks_and_discovers(calm_fleet: RunningFleet):
    """
    The questions that hold no document, and every member whatever account it is in.
    """
    observer = await calm_fleet.connect(calm_fleet.server.observer())
    answers = {
        verb: json.loads((await observer.nc.request(f"scope.default.api.{verb}", body, timeout=60)).data)
        for verb, body in (
            ("status", b""),
            ("replicas", b""),
            ("stats", b""),
            ("explain", b'{"capability":"classify"}'),
        )
    }
    async with observer.hearing("_INBOX.observer.found") as found:
        await observer.nc.publish("$SRV.PING", b"", reply="_INBOX.observer.found")

        async def everybody() -> bool:
            members = {body["metadata"].get("instance") or body["metadata"]["replica"] for body in found.bodies()}
            return {"o1", "o2", "local-w1", "slow-w1"} <= members

        await eventually(everybody)

    assert {"local-w1", "slow-w1"} <= {card["replica"] for card in answers["replicas"]["replicas"]}
    assert not [verb for verb, answer in answers.items() if "error" in answer]


def _replica(written: Msg) -> str:
    return json.loads(written.data)["replica"] if written.data else ""


async def _listed(client: PlainClient, stream: str) -> set[str]:
    """The subjects that a batch of direct gets lists; its end comes as a status."""
    inbox = client.nc.new_inbox()
    async with client.hearing(inbox) as heard:
        body = json.dumps({"seq": 1, "batch": 100, "next_by_subj": ">"}).encode()
        await client.nc.publish(f"$JS.API.DIRECT.GET.{stream}", body, reply=inbox)
        async with asyncio.timeout(60):
            await heard.until(lambda heard: heard.messages and not heard.messages[-1].data)
    return {(message.headers or {}).get("Nats-Subject", "") for message in heard.messages}
