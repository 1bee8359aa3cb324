"""What of an orchestrator is read when Prometheus asks: slots, backlog, breakers, and what is in hand."""

from collections.abc import Collection
from typing import Final, Protocol

from flotilla.chassis.metrics import Gauge, Sample
from flotilla.routing.router import PolicyRouter
from orchestrator.state.ask_quota import AsksInFlight
from orchestrator.state.fleet import Fleet


class WaitingApprovals(Protocol):
    """What waits for approvals (`approvals/watch.py`)."""

    def counts(self) -> dict[str, int]:
        """How many requests of each scope wait."""
        ...

    def oldest_s(self) -> dict[str, float]:
        """How long the oldest of each has waited."""
        ...


class OrchestratorGauges:
    """
    Shows slots, backlog, breakers and what waits.

    Attributes:
        approvals: What waits for approvals, once it is followed.
        asks: The asks in flight, once they are served.
        backlog: How many tasks are in the streams by scope, capability and priority, as the last sweep found them.
    """

    def __init__(self, fleet: Fleet, router: PolicyRouter) -> None:
        self._fleet = fleet
        self._router = router
        self.approvals: WaitingApprovals | None = None
        self.asks: AsksInFlight | None = None
        self.backlog: dict[tuple[str, str, str], int] = {}
        self.instruments: Final = (
            Gauge(
                "flotilla_pool_slots", "Slots of live replicas, by pool.", ("zone", "pool", "state"), self._pool_slots
            ),
            Gauge("flotilla_pool_replicas", "Live replicas, by pool.", ("zone", "pool"), self._replicas),
            Gauge(
                "flotilla_waiting_tasks",
                "Tasks in hand here that stand in a pool's line for a slot; one may stand in several.",
                ("pool",),
                self._waiting,
            ),
            Gauge("flotilla_asks_in_flight", "Asks in flight here, by scope.", ("scope",), self._asks),
            Gauge("flotilla_asks_in_flight_bytes", "Their bytes, headers included.", ("scope",), self._asks_bytes),
            Gauge(
                "flotilla_backlog_tasks",
                "Tasks in the stream, those being worked on included.",
                ("scope", "capability", "priority"),
                self._backlog,
            ),
            Gauge(
                "flotilla_approvals_waiting", "Requests for approval nobody has decided.", ("scope",), self._approvals
            ),
            Gauge(
                "flotilla_approvals_oldest_seconds",
                "How long the oldest of them has waited.",
                ("scope",),
                self._oldest_approvals,
            ),
            Gauge(
                "flotilla_breaker_open",
                "1 while a pool's model is closed to all but probes.",
                ("pool", "model"),
                self._breakers,
            ),
        )

    def backlog_is(self, scope: str, backlog: dict[tuple[str, str, str], int], served: Collection[str]) -> None:
        """
        What a scope's stream holds now.

        What it held before and does not hold any more shows as 0 while somebody serves it; the rest is forgotten, since a
        worker may announce another name every minute, and a tenant send something to each.
        """
        of_others = {labels: count for labels, count in self.backlog.items() if labels[0] != scope}
        emptied = {labels: 0 for labels in self.backlog if labels[0] == scope and labels[1] in served}
        self.backlog = of_others | emptied | backlog

    def _pool_slots(self) -> list[Sample]:
        found: list[Sample] = []
        for name, pool in self._fleet.view.pools.items():
            busy = min(pool.slots, self._fleet.busy.get(name, 0))
            found.append(((pool.zone, name, "busy"), busy))
            found.append(((pool.zone, name, "free"), pool.slots - busy))
        return found

    def _replicas(self) -> list[Sample]:
        return [((pool.zone, name), pool.replicas) for name, pool in self._fleet.view.pools.items()]

    def _waiting(self) -> list[Sample]:
        return [((name,), len(self._fleet.lane(name))) for name in self._fleet.view.pools]

    def _asks(self) -> list[Sample]:
        return [] if self.asks is None else [((scope,), count) for scope, count in self.asks.counts().items()]

    def _asks_bytes(self) -> list[Sample]:
        return [] if self.asks is None else [((scope,), size) for scope, size in self.asks.sizes_bytes().items()]

    def _approvals(self) -> list[Sample]:
        return [] if self.approvals is None else [((scope,), count) for scope, count in self.approvals.counts().items()]

    def _oldest_approvals(self) -> list[Sample]:
        return [] if self.approvals is None else [((scope,), age) for scope, age in self.approvals.oldest_s().items()]

    def _backlog(self) -> list[Sample]:
        return [(labels, float(count)) for labels, count in self.backlog.items()]

    def _breakers(self) -> list[Sample]:
        closed = self._router.health.closures
        return [
            ((name, model), 1.0 if (name, model) in closed else 0.0)
            for name, pool in self._fleet.view.pools.items()
            for model in pool.models
        ]
