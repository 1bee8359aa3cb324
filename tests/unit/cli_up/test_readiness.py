"""When a fleet is ready: every orchestrator sees every replica."""

from flotilla.cli.supervisor.readiness import Readiness, Wanted
from flotilla.contracts.api import FleetStatus, PoolStatus
from flotilla.contracts.subjects import Zone


def status(orchestrator: str, **replicas: int) -> FleetStatus:
    """What an orchestrator says that sees so many replicas."""
    zones: dict[str, Zone] = {"local": "local", "cloud": "cloud"}
    pools = [
        PoolStatus(
            zone=zones[zone],
            pool=zone,
            provider="noop",
            replicas=count,
            slots=count,
            busy=0,
            models=["noop-1"],
            capabilities=["classify"],
        )
        for zone, count in replicas.items()
    ]
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
