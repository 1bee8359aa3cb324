"""The values that routing takes and returns."""

from msgspec import Struct

from flotilla.contracts.headers import DataClass
from flotilla.contracts.presence import ModelPrice
from flotilla.contracts.subjects import Zone


class Route(Struct, frozen=True, kw_only=True, order=True, gc=False):
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
        stands_in: Its replicas are engines, none of them a real model.
        gives_way: They say that they stand in for models, and get nothing that a model serves.
        prices: Of its models, those that are known; where replicas differ, the dearest.
    """

    zone: Zone
    pool: str
    models: dict[str, frozenset[str]]
    replicas: int
    slots: int
    busy: int = 0
    labels: dict[str, str] = {}
    stands_in: bool = False
    gives_way: bool = False
    prices: dict[str, ModelPrice] = {}


class FleetView(Struct, frozen=True, kw_only=True):
    """Every live pool by its name. One whose name is announced in both zones is in the cloud zone."""

    pools: dict[str, PoolView] = {}

    def serving(self, capability: str) -> list[PoolView]:
        """The live pools that announce a capability."""
        return [
            pool
            for pool in self.pools.values()
            if any(capability in capabilities for capabilities in pool.models.values())
        ]


class Figures(Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """
    What routing knew of a route when it decided, for `flotilla explain`.

    Attributes:
        p50_ms: Of the newest attempts, those in flight for too long among them; None without any. So is `p95_ms`.
        error_rate: Penalised failures among the newest attempts, 0 to 1.
        samples: How many attempts these figures rest on.
        cost_usd: Mean cost of an attempt that went well; None when nothing is known.
        standing: In the words of the wire: `settled` (healthy), `left` (ejected) or `returning`.
        why: Why it was ejected.
        breaker: `closed`, `open` or `half_open`.
    """

    p50_ms: float | None = None
    p95_ms: float | None = None
    error_rate: float | None = None
    samples: int = 0
    in_flight: int = 0
    oldest_in_flight_ms: float = 0.0
    cost_usd: float | None = None
    standing: str = "settled"
    why: str = ""
    breaker: str = "closed"


class Choice(Struct, frozen=True, kw_only=True, gc=False):
    """
    A route, and why it stands where it stands; the result's attempts carry the reason.

    Attributes:
        free_slots: Of its pool, as this orchestrator knew at the moment.
        probe: The task is a health probe of an ejected route; whoever takes the decision notes it (`probes.noted`).
        last_resort: An unhealthy route: for a task that failed elsewhere, not for one that found the others busy.
    """

    route: Route
    reason: str
    free_slots: int = 0
    probe: bool = False
    last_resort: bool = False
    figures: Figures | None = None


class Exclusion(Struct, frozen=True, kw_only=True, gc=False):
    """
    A route that was ruled out, and why.

    Attributes:
        waits: It may come back without a change of policy (no live replica, an open breaker): a durable task waits.
        until_unix_ms: When it comes back, where that is known; else 0.
        limited: A limit or budget of the policy has no room for it.
    """

    pool: str
    model: str
    reason: str
    waits: bool = False
    until_unix_ms: int = 0
    figures: Figures | None = None
    limited: bool = False


class Escalation(Struct, frozen=True, gc=False):
    """
    When an answer is asked for again, and where.

    Attributes:
        order: The routes of a cascade; those behind the one that answered are asked.
        confidence_min: An answer whose `confidence` is lower is not sure enough.
        answer_anyway: It is the result all the same when none of the routes behind answers.
    """

    order: tuple[Route, ...]
    confidence_min: float
    answer_anyway: bool = True

    def behind(self, route: Route) -> frozenset[Route]:
        """The routes to escalate to from one; none from the last, nor from one that is not in the order."""
        return frozenset(self.order[self.order.index(route) + 1 :]) if route in self.order else frozenset()


class Panel(Struct, frozen=True, gc=False):
    """
    Of a consensus: which routes are asked at the same time, and when their answers are the result.

    Attributes:
        order: The healthy routes as the policy lists them; the first `ask` of them are asked.
        agree: So many answers must say the same.
        answer_anyway: Without agreement, and without an answer of the routes behind, the first answer is the result.
    """

    order: tuple[Route, ...]
    ask: int
    agree: int
    answer_anyway: bool = True


class Decision(Struct, frozen=True, kw_only=True):
    """
    Routes in the order to try them; when there is none, `excluded` or `reason` says why.

    Attributes:
        to_hold: The model that the capability is to be held to, before any task of it is routed.
        policy_revision: Of the policy that was followed; 0 without one.
        escalation: Of a cascade; None where the first answer is the result.
        panel: Of a consensus; None where one route is asked at a time.
        at_gate: Routes are left out which the task may take once a person has approved it.
    """

    routes: tuple[Choice, ...] = ()
    excluded: tuple[Exclusion, ...] = ()
    reason: str = ""
    to_hold: str | None = None
    policy_revision: int = 0
    escalation: Escalation | None = None
    panel: Panel | None = None
    at_gate: bool = False
