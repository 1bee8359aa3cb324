"""How the room for pulled tasks is shared out among pullers that come one after the other."""

from types import SimpleNamespace
from typing import cast

from flotilla.fabric.pull_consumers import Grant, Puller
from orchestrator.state.pulled_bytes import PulledBytes
from orchestrator.state.shared_quota import Room


def idle() -> Puller:
    """One that waits for a first message."""
    return cast("Puller", SimpleNamespace(refused_bytes=0, outstanding=0, backlog=0, last_bytes=0))


def test_the_first_pullers_leave_room_for_those_of_ten_capabilities():
    """
    A request that waits for a message keeps its room for seconds, and so long nobody would be served whose puller came later.
    """
    pulled = PulledBytes(Room(["default"], total_max=12_000_000, share_max=1.0), "default", payload_bytes_max=1_000_000)

    first = pulled.grant(idle(), 64)
    later: list[Grant | None] = []
    for capability in range(10):
        pulled.pullers = 3 * (capability + 1) + 1
        later += [pulled.grant(idle(), 8) for _ in range(3)]

    assert first is not None
    assert first.waits
    assert all(grant is not None and grant.waits for grant in later)
