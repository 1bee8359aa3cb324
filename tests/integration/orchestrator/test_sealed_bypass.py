"""
Routing bypassed on purpose: an orchestrator of the sealed lane that would send a task to a cloud pool.

What holds then is the server. The task is told so; it is not left to a timeout.
"""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest

from flotilla.contracts.presence import ModelCard, ReplicaCard
from flotilla.contracts.subjects import Zone, infer, infer_control, presence_key
from flotilla.routing import eligibility
from flotilla.testkit.nats_server import RunningServer, running_server
from flotilla.testkit.orchestrator_here import running_orchestrator
from flotilla.testkit.patient_client import WAIT_S
from flotilla.testkit.plain_client import BODIES, connect_plainly, settled

POOLS: tuple[tuple[Zone, str], ...] = (("local", "local"), ("cloud", "cloud"))
CLOUD: Final = ReplicaCard(
    zone="cloud",
    pool="cloud",
    replica="c1",
    provider="noop",
    models=[ModelCard(name="m", capabilities=["classify"])],
    slots=4,
)
POLICY: Final = '[default]\nstrategy = "failover"\nroutes = [{ pool = "cloud" }]\n'


def lets_all_in(*_: object) -> bool:
    """In the place of the rule that keeps restricted data out of the cloud."""
    return True


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RunningServer]:
    """
    With a sealed lane and a cloud pool.
    """
    async with running_server(tmp_path, pools=POOLS, sealed=True) as server:
        yield server


@pytest.mark.parametrize("bypassed", [True, False], ids=["routing bypassed", "routing as it is"])
async def test_the_server_refuses_what_routing_would_let_through(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch, *, bypassed: bool
):
    """
    The policy names the cloud pool alone, the orchestrator believes that it is live, and no rule bars it: the pool hears
    nothing, and the caller why. With routing as it is, nothing is tried.
    """
    if bypassed:
        monkeypatch.setattr(eligibility, "may_enter", lets_all_in)
    role = server.worker("cloud", "cloud")
    pool = await connect_plainly(server.url, nkeys_seed=str(role.creds), inbox_prefix=role.inbox_prefix)
    async with running_orchestrator(server, sealed=True) as here:
        here.fleet.on_card(presence_key("cloud", "cloud", "c1"), CLOUD)
        body = json.dumps(BODIES["classify"]).encode()
        async with (
            pool.hearing(infer("cloud", "cloud", "*")) as attempts,
            pool.hearing(infer_control("cloud", "cloud", "*")) as control,
        ):
            asked: Any = {"verb": "set", "toml": POLICY, "force": True}
            await here.client.nc.request("sealed.api.policy", json.dumps(asked).encode(), timeout=WAIT_S)
            reply = await here.client.nc.request("sealed.ask.classify", body, timeout=WAIT_S)
            await settled(pool.nc)
            result = json.loads(reply.data)
    await pool.nc.close()

    assert ([], []) == (attempts.messages, control.messages)
    assert "failed" == result["status"], result
    if bypassed:
        assert ["not_releasable"] == [attempt["outcome"] for attempt in result["attempts"]]
        assert "lets no attempt through to the pool cloud" in result["attempts"][0]["message"]
        assert result["latency_ms"] < WAIT_S * 1000 / 2
    else:
        assert "no_route" == result["error"]["kind"]
        assert [] == result["attempts"]
