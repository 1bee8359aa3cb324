"""Which lanes a caller has, and who serves the sealed one."""

from typing import Final, Literal

from msgspec import UNSET, Struct

from flotilla.client.errors import NoFleetError
from flotilla.client.fleet import Fleet
from flotilla.contracts.api import FleetStatus
from flotilla.contracts.errors import DecodeFailedError, TaskError

NOBODY: Final = "nobody serves it"


class SealedLane(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """
    The sealed lane, as a caller sees it.

    Attributes:
        has: `both`: beside the ordinary one, behind `sealed.`; `alone`: all that the caller sends is sealed.
        orchestrator: One that serves it; empty when nobody does.
        local_replicas: Of workers that this one sees.
    """

    has: Literal["both", "alone"]
    orchestrator: str = ""
    local_replicas: int = 0


async def sealed_lane(fleet: Fleet, status: FleetStatus) -> SealedLane | None:
    """Ask for the sealed lane beside a status that was answered; None where the caller has none, or cannot ask it."""
    if status.lane is not UNSET:
        return _seen(status, "alone")
    try:
        sealed = await fleet.sealed_status()
    except (NoFleetError, TaskError, DecodeFailedError):
        return SealedLane(has="both")
    return None if sealed is None else _seen(sealed, "both")


def told(lane: SealedLane) -> str:
    """What is to be said of a sealed lane, in one line."""
    if not lane.orchestrator:
        return f"sealed lane: {NOBODY}"
    kept = "all that you send is sealed; " if lane.has == "alone" else ""
    return f"sealed lane: {kept}{lane.orchestrator} serves it, and sees {lane.local_replicas} local replicas"


def _seen(status: FleetStatus, has: Literal["both", "alone"]) -> SealedLane:
    replicas = sum(pool.replicas for pool in status.pools if pool.zone == "local")
    return SealedLane(has=has, orchestrator=status.orchestrator, local_replicas=replicas)
