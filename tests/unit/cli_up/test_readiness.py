"""When a fleet is ready: every orchestrator sees that every replica takes tasks."""

import pytest

from flotilla.cli.supervisor.readiness import Readiness, Wanted
from flotilla.contracts.api import FleetStatus, PoolStatus
from flotilla.contracts.subjects import Zone


def pool(zone: Zone, name: str, replicas: int, draining: int = 0, unheard: int = 0) -> PoolStatus:
    """So many replicas, of which some take nothing, and others were not heard."""
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
        unheard=unheard,
    )


def status(orchestrator: str, **replicas: int) -> FleetStatus:
    """What an orchestrator says that sees so many replicas."""
    zones: dict[str, Zone] = {"local": "local", "cloud": "cloud"}
    pools = [pool(zones[zone], zone, count) for zone, count in replicas.items()]
    return FleetStatus(scope="default", orchestrator=orchestrator, pools=pools, backlog=[])


def test_every_orchestrator_must_see_every_replica():
    """
    One that sees all says nothing about another.
    """
    readiness = Readiness(Wanted(orchestrators=2, replicas={"local": 2, "cloud": 1}))

    readiness.hear(status("orchestrator-1", local=2, cloud=1))
    readiness.hear(status("orchestrator-1", local=2, cloud=1))
    assert not readiness.is_ready
    assert readiness.missing == "1 of the orchestrators"
    readiness.hear(status("orchestrator-2", local=2))
    assert not readiness.is_ready
    assert readiness.missing == "1 of the cloud replicas"
    readiness.hear(status("orchestrator-2", local=2, cloud=1))
    assert readiness.is_ready


def test_of_the_sealed_lane_nobody_is_missing_where_nobody_is_wanted():
    """
    And it is named where somebody is.
    """
    assert Readiness(Wanted(orchestrators=0, replicas={"local": 2}), lane="sealed ").is_ready
    readiness = Readiness(Wanted(orchestrators=1, replicas={"local": 2}), lane="sealed ")
    assert readiness.missing == "no sealed orchestrator has answered"
    readiness.hear(status("orchestrator-sealed-1", local=1))
    assert not readiness.is_ready
    readiness.hear(status("orchestrator-sealed-1", local=2))
    assert readiness.is_ready


def test_a_fleet_without_workers_is_ready_with_its_orchestrators():
    """
    It takes tasks, which wait.
    """
    readiness = Readiness(Wanted(orchestrators=1, replicas={"local": 0, "cloud": 0}))
    assert readiness.missing == "no orchestrator has answered"

    readiness.hear(status("orchestrator-1"))

    assert readiness.is_ready


@pytest.mark.parametrize(
    ("pools", "missing"),
    [
        ([pool("local", "local", 1)], "1 of the local replicas"),
        ([pool("local", "local", 2)], ""),
        ([pool("local", "local", 1), pool("local", "redaction", 1)], ""),
        ([pool("local", "local", 1), pool("local", "redaction", 1, draining=1)], "1 of the local replicas"),
        ([pool("local", "local", 3, draining=1)], ""),
        ([pool("local", "local", 2, unheard=2)], "2 of the local replicas"),
        ([pool("local", "local", 1, unheard=1), pool("local", "redaction", 1, draining=1)], "2 of the local replicas"),
        ([pool("local", "local", 4, draining=1, unheard=1)], ""),
        ([pool("local", "local", 2, draining=2), pool("cloud", "cloud", 2)], "2 of the local replicas"),
    ],
)
def test_a_replica_that_takes_no_tasks_does_not_count(pools: list[PoolStatus], missing: str):
    """
    One is known before it has joined its pool, and while it leaves; a card in the bucket may be that of a dead one.
    """
    readiness = Readiness(Wanted(orchestrators=1, replicas={"local": 2, "cloud": 0}))
    readiness.hear(FleetStatus(scope="default", orchestrator="o1", pools=pools, backlog=[]))

    assert (not missing) == readiness.is_ready
    assert missing in readiness.missing
