"""The values that routing takes and returns."""

from msgspec import Struct

from flotilla.contracts.headers import DataClass
from flotilla.contracts.subjects import Zone


class Route(Struct, frozen=True, kw_only=True, order=True):
    """A pool and a model that can serve a capability."""

    zone: Zone
    pool: str
    model: str

    def __str__(self) -> str:
        return f"{self.pool}/{self.model}" if self.model else self.pool


class TaskView(Struct, frozen=True, kw_only=True):
    """
    What routing may know of a task.

    Attributes:
        data_class: Already resolved: the caller's, else the scope's default.
        wanted_pool: Of `Flotilla-Route`; narrows the choice, never widens it.
        labels: The caller's.
        input_bytes: Size of the input, the only thing known of it.
    """

    capability: str
    scope: str
    data_class: DataClass
    wanted_pool: str | None = None
    wanted_model: str | None = None
    sticky: str | None = None
    labels: dict[str, str] = {}
    input_bytes: int = 0


class PoolView(Struct, frozen=True, kw_only=True):
    """
    One live pool: its replicas' cards put together.

    Attributes:
        models: Model name to the capabilities that some live replica serves with it, in the replicas' order.
        slots: Of all live replicas that do not drain.
        busy: Slots taken, as far as this orchestrator knows; at most 2 s old for the others' share.
    """

    zone: Zone
    pool: str
    models: dict[str, frozenset[str]]
    replicas: int
    slots: int
    busy: int = 0
    labels: dict[str, str] = {}


class FleetView(Struct, frozen=True, kw_only=True):
    """Every live pool by its name. Two zones never share a pool name (the first one seen keeps it)."""

    pools: dict[str, PoolView] = {}

    def serving(self, capability: str) -> list[PoolView]:
        """The live pools that announce a capability."""
        return [
            pool
            for pool in self.pools.values()
            if any(capability in capabilities for capabilities in pool.models.values())
        ]


class Choice(Struct, frozen=True, kw_only=True):
    """A route, and why it stands where it stands; the result's attempts carry the reason."""

    route: Route
    reason: str


class Exclusion(Struct, frozen=True, kw_only=True):
    """
    A route that was ruled out, and why.

    Attributes:
        waits: It may come back without a change of policy (no live replica, an open breaker): a durable task waits.
    """

    pool: str
    model: str
    reason: str
    waits: bool = False


class Decision(Struct, frozen=True, kw_only=True):
    """Routes in the order to try them; when there is none, `excluded` or `reason` says why."""

    routes: tuple[Choice, ...] = ()
    excluded: tuple[Exclusion, ...] = ()
    reason: str = ""
