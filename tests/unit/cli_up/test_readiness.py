"""When `flotilla up` takes a fleet for ready: when tasks would be served, and not before."""

import pytest

from flotilla.cli.supervisor.readiness import Readiness, Wanted
from flotilla.contracts.api import FleetStatus, PoolStatus
from flotilla.contracts.subjects import Zone


def pool(zone: Zone, name: str, replicas: int, draining: int = 0) -> PoolStatus:
    return PoolStatus(
        zone=zone,
        pool=name,
        provider="noop",
        replicas=replicas,
        slots=replicas,
        busy=0,
        models=["noop-1"],
        capabilities=["classify"],
        draining=draining,
    )


@pytest.mark.parametrize(
    ("pools", "missing"),
    [
        ([pool("local", "local", 1)], "1 of the local replicas"),
        ([pool("local", "local", 2)], ""),
        ([pool("local", "local", 1), pool("local", "redaction", 1)], ""),
        # A replica is known before it has joined its lane, and while it leaves: nobody is served by it.
        ([pool("local", "local", 1), pool("local", "redaction", 1, draining=1)], "1 of the local replicas"),
        ([pool("local", "local", 3, draining=1)], ""),
        ([pool("local", "local", 2, draining=2), pool("cloud", "cloud", 2)], "2 of the local replicas"),
    ],
)
def test_a_fleet_is_ready_when_every_replica_takes_tasks(pools: list[PoolStatus], missing: str):
    """
    By the word of every orchestrator.
    """
    readiness = Readiness(Wanted(orchestrators=2, replicas={"local": 2, "cloud": 0}))
    for name in ("o1", "o2"):
        readiness.hear(FleetStatus(scope="default", orchestrator=name, pools=pools, backlog=[]))

    assert (not missing) == readiness.is_ready
    assert missing in readiness.missing
