"""What every task's run works with."""

from collections.abc import Mapping
from typing import Final, Protocol

from flotilla.contracts.policy_rules import Rules
from flotilla.routing.compiled import InForce
from flotilla.routing.types import Decision, FleetView, Route, TaskView
from orchestrator.economy.admission import Admission
from orchestrator.execution.attempts import Attempts
from orchestrator.execution.death_notes import DeathNotes
from orchestrator.execution.hedges import HedgeShares
from orchestrator.execution.isolation import Isolation
from orchestrator.execution.ledger import Ledger
from orchestrator.reporting.events import Events
from orchestrator.state.fleet import Fleet


class Router(InForce, Protocol):
    """Decides where a task may go, and how long it may take there."""

    def decide(self, task: TaskView, fleet: FleetView, busy: Mapping[str, int]) -> Decision:
        """The routes for a task, in order, or why there is none. Fast: it runs for every try."""
        ...

    def explain(self, task: TaskView, fleet: FleetView, busy: Mapping[str, int]) -> Decision:
        """The same, without a probe being taken as sent."""
        ...

    def shadow_of(self, task: TaskView, fleet: FleetView, busy: Mapping[str, int]) -> Route | None:
        """The route that compares itself with the task's, where there is one that may have it now."""
        ...

    def rules_of(self, capability: str) -> Rules:
        """The timeouts of a capability."""
        ...


class NoRouteNowError(Exception):
    """A durable task has no route at the moment, and cannot wait for one here: it goes back to its stream."""


class GateAheadError(NoRouteNowError):
    """A durable task that is kept out of zones (`Task.shut_zones`) has routes there alone."""


class AwaitingApprovalError(NoRouteNowError):
    """
    A durable task waits for an approval, or for long for a route: it is suspended, and nothing of it is held meanwhile.

    Attributes:
        until_unix_ms: When it is looked at again if nobody decides before.
        requests: The ids of the requests that it waits for.
        capability: That has had no route; empty where an approval is waited for.
    """

    def __init__(self, until_unix_ms: int, requests: tuple[str, ...] = (), *, capability: str = "") -> None:
        super().__init__("awaiting approval" if not capability else f"awaiting a route for {capability}")
        self.until_unix_ms = until_unix_ms
        self.requests = requests
        self.capability = capability


class Dependencies:
    """
    What every run works with.

    Attributes:
        isolation: For tasks that replicas may die of.
        hedge_shares: How many second attempts may still be made.
    """

    __slots__ = ("_admission", "attempts", "deaths", "events", "fleet", "hedge_shares", "isolation", "ledger", "router")

    def __init__(
        self,
        *,
        fleet: Fleet,
        router: Router,
        attempts: Attempts,
        events: Events,
        ledger: Ledger,
        deaths: DeathNotes,
        admission: Admission | None = None,
    ) -> None:
        self._admission = admission
        self.deaths: Final = deaths
        self.fleet: Final = fleet
        self.router: Final = router
        self.attempts: Final = attempts
        self.events: Final = events
        self.ledger: Final = ledger
        self.isolation: Final = Isolation()
        self.hedge_shares: Final = HedgeShares()

    def with_events(self, events: Events) -> "Dependencies":
        """The same for runs that are told of otherwise; deadly tasks and hedges are counted apart."""
        return Dependencies(
            fleet=self.fleet,
            router=self.router,
            attempts=self.attempts,
            events=events,
            ledger=self.ledger,
            deaths=self.deaths,
            admission=self._admission,
        )

    @property
    def admission(self) -> Admission | None:
        """Of limits and budgets; None while the policy in force has none."""
        return self._admission if self.router.policy.limited else None
