"""A frozen orchestrator swallows what it is sent: callers of the client ask another one, and the server lets it go."""

import asyncio
import json
from pathlib import Path

import nats.errors

from flotilla.client import Fleet
from flotilla.testkit.fleet import running_fleet
from flotilla.testkit.plain_client import BODIES, eventually

CLASSIFY = BODIES["classify"]
ASKS = 100
IN_A_ROW = 8
DROPPED_WITHIN_S = 60.0
"""The server drops a silent member after 9 s at the latest; the rest is for a machine that is busy with other things."""


async def test_every_ask_beside_a_frozen_orchestrator_is_answered(tmp_path: Path):
    """
    Half of them go to the frozen one at first. Plain clients have none of this; but soon the server chooses it no more.
    """
    async with running_fleet(tmp_path, orchestrators=2, latency_ms=20, slots=32) as fleet:
        frozen, other = fleet.orchestrators
        client = await fleet.client()
        async with Fleet.connect(fleet.url) as caller:
            frozen.freeze()

            async def the_frozen_one_is_out() -> bool:
                try:
                    for _ in range(IN_A_ROW):
                        await client.ask("classify", CLASSIFY, timeout_s=2.0)
                except (TimeoutError, nats.errors.Error):
                    return False
                return True

            out, *answers = await asyncio.gather(
                eventually(the_frozen_one_is_out, DROPPED_WITHIN_S),
                *(caller.ask("classify", CLASSIFY, deadline_s=60) for _ in range(ASKS)),
                return_exceptions=True,
            )

        assert other.is_running
        assert out is None, "it is chosen yet"
        assert [] == [repr(answer) for answer in answers if isinstance(answer, BaseException)]


async def test_only_who_wants_it_is_told_that_an_ask_was_taken(tmp_path: Path):
    """
    And only when the answer takes longer than a moment.
    """
    async with running_fleet(tmp_path) as fleet:
        await fleet.start_worker("cloud", latency_ms=1_000, env={"FLOTILLA_CAPABILITIES": "summarize"})
        client = await fleet.client()
        inbox = client.nc.new_inbox()
        async with client.hearing(inbox) as heard:
            for capability, headers, words in (
                ("classify", {"Flotilla-Accepted": "true"}, ["ok"]),
                ("summarize", {"Flotilla-Accepted": "true", "Flotilla-Route": "cloud"}, ["accepted", "ok"]),
                ("summarize", {"Flotilla-Accepted": "false", "Flotilla-Route": "cloud"}, ["ok"]),
                ("summarize", {"Flotilla-Route": "cloud"}, ["ok"]),
            ):
                heard.messages.clear()
                await client.nc.publish(
                    f"ask.{capability}", json.dumps(BODIES[capability]).encode(), inbox, headers=headers
                )
                # The last is the empty one that ends the way back.
                await heard.until(lambda heard: any(not message.data for message in heard.messages))
                bodies = [json.loads(message.data) for message in heard.messages if message.data]
                assert [body.get("type") or body["status"] for body in bodies] == words
                marked = [(message.headers or {}).get("Flotilla-Accepted") for message in heard.messages]
                assert marked.count("true") == words.count("accepted")
