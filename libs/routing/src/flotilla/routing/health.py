"""What decisions know of the routes' health: values only; `observation.py` computes them."""

from typing import Final

from msgspec import Struct

from flotilla.contracts.stats import RouteKey
from flotilla.routing.breakers import Breaker
from flotilla.routing.ejections import HEALTHY, Standing
from flotilla.routing.types import Figures


class RouteHealth(Struct, frozen=True, kw_only=True):
    """
    One route and capability.

    Attributes:
        expected_ms: Mean time of its newest attempts, overdue ones at their present age; the last known when there
            are none; None when it was never seen.
        tokens: Mean of input and output tokens of an attempt; 0 when unknown.
        cost_usd: Mean of an attempt that went well, the last known; None when it was never seen.
        last_started_unix_ms: Of any attempt by any orchestrator.
        recently_started: Attempts in flight that began since it was ejected, or since it has recovered.
    """

    standing: Standing = HEALTHY
    figures: Figures = Figures()
    expected_ms: float | None = None
    tokens: float = 0.0
    cost_usd: float | None = None
    last_started_unix_ms: int = 0
    recently_started: int = 0


class Closure(Struct, frozen=True, kw_only=True):
    """
    Why a pool's model is closed.

    Attributes:
        until_unix_ms: Until when nothing goes there; then, and while `half_open`, probes only.
    """

    reason: str
    until_unix_ms: int
    half_open: bool = False


class Health(Struct, frozen=True, kw_only=True):
    """
    Every route that the stats tell of.

    Attributes:
        routes: By capability, then by pool and model.
        closures: By pool and model; the open ones have no entry.
        retry_after: By pool and model, until when (unix ms) it is rate limited (Retry-After).
        probed: When this orchestrator last sent a probe to a route; see `probes.noted`.
        member: This orchestrator's place among `members` that live, for taking turns with probes.
    """

    routes: dict[str, dict[tuple[str, str], RouteHealth]] = {}
    breakers: dict[tuple[str, str], Breaker] = {}
    closures: dict[tuple[str, str], Closure] = {}
    retry_after: dict[tuple[str, str], int] = {}
    probed: dict[RouteKey, int] = {}
    member: int = 0
    members: int = 1

    def at(self, key: RouteKey) -> RouteHealth:
        """What is known of a route; `UNSEEN` when that is nothing."""
        return self.routes.get(key.capability, NOTHING).get((key.pool, key.model), UNSEEN)


UNSEEN: Final = RouteHealth()
UNKNOWN: Final = Health()
NOTHING: Final[dict[tuple[str, str], RouteHealth]] = {}
