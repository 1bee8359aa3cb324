"""The fleet as a browser sees it: the structs of the `state` event, each number with its unit in its name."""

from typing import Final, Literal

import msgspec
from msgspec import Struct

from flotilla.contracts.subjects import Zone
from portal.live.replicas import ReplicaStatus

RouteStatus = Literal["healthy", "ejected", "half_open", "open", "unavailable", "idle"]
"""`idle`: used in the last hour, but not now, so nothing is said of it but what was."""
Severity = Literal["bad", "warn", "info"]


class OrchestratorView(Struct, frozen=True, kw_only=True):
    """One orchestrator that answers."""

    instance: str
    version: str = ""
    lane: str = ""


class FleetHead(Struct, frozen=True, kw_only=True):
    """
    Who runs the fleet.

    Attributes:
        version: The orchestrators' newest.
    """

    orchestrators: list[OrchestratorView]
    version: str


class Totals(Struct, frozen=True, kw_only=True):
    """
    The line of figures; those per hour count from `since_unix_ms`, an hour ago at most.

    Attributes:
        ok_share: Of the tasks that ended; None when none did.
        local_ms_avg: Of the tasks whose last attempt was local, from acceptance to result.
        cost_usd_hour: As far as it is known.
    """

    tasks_per_s: float
    tasks_hour: int
    ok_share: float | None
    local_ms_avg: float | None
    cloud_ms_avg: float | None
    cost_usd_hour: float
    since_unix_ms: int


class ReplicaView(Struct, frozen=True, kw_only=True):
    """
    One replica.

    Attributes:
        age_s: Since its last card, or since it left; whole seconds.
    """

    instance: str
    slots: int
    slots_free: int
    status: ReplicaStatus
    words: str
    age_s: int
    version: str = ""


class PoolView(Struct, frozen=True, kw_only=True):
    """One pool: its replicas put together."""

    name: str
    zone: Zone
    provider: str
    models: list[str]
    capabilities: list[str]
    slots: int
    slots_free: int
    tasks_per_s: float
    status: ReplicaStatus
    words: str
    stand_in: bool
    replicas: list[ReplicaView]
    replicas_total: int


class RouteView(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """
    One route of a capability, over the last half minute.

    Attributes:
        share: Of the capability's attempts.
        cost_usd_task: Mean of the attempts whose cost is known.
        p95_ms_guard: Above which the policy leaves the route.
    """

    capability: str
    pool: str
    model: str
    zone: Zone | None
    status: RouteStatus
    words: str
    share: float | None = None
    p50_ms: float | None = None
    p95_ms: float | None = None
    error_rate: float | None = None
    tokens_per_s: float | None = None
    cost_usd_task: float | None = None
    in_flight: int = 0
    p95_ms_guard: float | None = None


class Boundary(Struct, frozen=True, kw_only=True):
    """What crosses from local to cloud: attempts per second, and those whose class is known by class."""

    tasks_per_s: float
    by_class: dict[str, float]


class BacklogView(Struct, frozen=True, kw_only=True):
    """Durable tasks of one capability that are in the stream."""

    scope: str
    capability: str
    pending: int


class NeedsYou(Struct, frozen=True, kw_only=True):
    """
    Something that a person should look at.

    Attributes:
        name: The same for the same thing, however long it lasts.
        text: What is wrong.
        todo: What may be done about it.
        href: A view of the page.
        count: How many wait there, which stands beside the name of the view.
    """

    severity: Severity
    name: str
    text: str
    todo: str
    href: str
    count: int = 1


class Snapshot(Struct, frozen=True, kw_only=True):
    """The whole fleet at one moment, as the page shows it."""

    at_unix_ms: int
    connected: bool
    fleet: FleetHead
    totals: Totals
    pools: list[PoolView]
    routes: list[RouteView]
    boundary: Boundary
    backlog: list[BacklogView]
    needs_you: list[NeedsYou]
    policy_revision: int = 0


encode_snapshot: Final = msgspec.json.Encoder().encode
