"""
What follows a failed attempt. Pure: the course sleeps and sends, this only says.

Whether a failure is the task's own or passes by itself stands in `contracts/failures.py`. A durable task waits for what
passes until its deadline, whatever it costs in attempts; an asked one only for what passes within seconds.
"""

import random
from collections.abc import Callable
from typing import Final, Literal

from msgspec import Struct

from flotilla.contracts.failures import RULES, ErrorKind, FailureKind
from flotilla.routing.types import Decision, Route
from orchestrator.state.replica_states import Replica, Standing

ATTEMPTS_MAX: Final = 10
"""Of those that count."""
BACKOFF_S_MAX: Final = 5.0
PROBES_SPENT_MAX: Final = 3
SILENT_IN_A_ROW_MAX: Final = 3
DEATHS_MAX: Final = 3
"""So many replicas may die of a task, or be in danger of it at a time."""
REST_S: Final = 0.5
REST_S_MAX: Final = 15.0
ASK_REST_S_MAX: Final = 2.0
_DOUBLINGS_MAX: Final = 10


class RetryHere(Struct, frozen=True):
    """Try the same route again, after a pause; `closed` says that the provider's word closes it for all tasks so long."""

    after_s: float
    closed: bool = False


class NextRoute(Struct, frozen=True):
    """Try the next route; for `resting` ones this one may serve the task later, else it is done with."""

    resting: bool = False


class GiveUp(Struct, frozen=True):
    """The task fails with this kind."""

    kind: ErrorKind


Step = RetryHere | NextRoute | GiveUp


class LookAgain(Struct, frozen=True):
    """Routes were set free: decide again, at once."""


class Rest(Struct, frozen=True):
    """Every route that is left rests: wait for so long, then try them again."""

    after_s: float


class WaitForRoute(Struct, frozen=True):
    """No route at the moment, but one may come: wait for it, as long as such a task does."""


class NoRoute(Struct, frozen=True):
    """Nobody may or can do it, and no waiting changes that."""


WithoutRoute = LookAgain | Rest | WaitForRoute | NoRoute | GiveUp


ALONE_FROM: Final = DEATHS_MAX - 1

Danger = Literal["none", "wait", "poison"]


class _Strike:
    """An attempt that was lost together with its replica, as far as anybody knows: with one of the suspects."""

    __slots__ = ("suspects",)

    def __init__(self, suspects: frozenset[Replica]) -> None:
        self.suspects = suspects


class Tries:
    """
    One task's attempts so far, and what follows from them.

    Attributes:
        deaths: How many replicas have died while they had it.
        total: Attempts that a replica took, or swallowed.
        given_up: Routes that are not tried again for this task.
        resting: Routes whose trouble passes; not tried again before the next round.
    """

    __slots__ = (
        "_counted",
        "_durable",
        "_here",
        "_kinds",
        "_luck",
        "_probes_spent",
        "_rounds",
        "_silent",
        "_strikes",
        "deaths",
        "given_up",
        "resting",
        "total",
    )

    def __init__(self, *, durable: bool, deaths: int = 0, luck: Callable[[], float] = random.random) -> None:
        self._durable = durable
        self._luck = luck
        self._here: dict[Route, int] = {}
        self._silent: dict[Route, int] = {}
        self._kinds: set[FailureKind] = set()
        self._counted = 0
        self._probes_spent = 0
        self._rounds = 0
        self._strikes: list[_Strike] = []
        self.deaths = deaths
        self.total = 0
        self.given_up: set[Route] = set()
        self.resting: set[Route] = set()

    def may_try(self, route: Route) -> bool:
        """Whether a route is to be tried in this round."""
        if route in self.given_up or route in self.resting:
            return False
        return self._silent.get(route, 0) < SILENT_IN_A_ROW_MAX

    def failed(
        self, route: Route, kind: FailureKind, *, probe: bool, retry_after_s: float | None, left_s: float
    ) -> Step:
        """
        Decide what follows a failed attempt.

        Args:
            route: Where it was tried.
            kind: Why it failed.
            probe: Whether the attempt was one of the trickle on a route that is not held to be well.
            retry_after_s: As the provider asked; a pause longer than the backoff sends the task to the next route.
            left_s: Until the task's deadline.
        """
        rule = RULES[kind]
        self.total += 1
        self._kinds.add(kind)
        tries_here = self._here[route] = self._here.get(route, 0) + 1
        if not rule.next_route:
            return GiveUp(rule.fails_as)
        waits = rule.passes if self._durable else rule.passes_soon
        counts = rule.counts or not waits
        if counts and probe and self._durable and rule.penalise and self._probes_spent < PROBES_SPENT_MAX:
            # It finds out about the route for everybody, and was expected to fail.
            self._probes_spent += 1
            return self._next_route(route, resting=True)
        if counts:
            self._counted += 1
            if self._counted >= ATTEMPTS_MAX:
                return GiveUp(ErrorKind.PROVIDER_FAILED)
        if tries_here <= rule.same_route_max:
            after_s = self._jittered(rule.backoff_s, tries_here, BACKOFF_S_MAX)
            after_s = after_s if retry_after_s is None else retry_after_s
            if after_s <= BACKOFF_S_MAX and after_s < left_s:
                return RetryHere(after_s, closed=retry_after_s is not None and rule.penalise)
        return self._next_route(route, resting=waits)

    def swallowed(self, route: Route) -> None:
        """
        No replica said a word: one that froze, or died with the request unopened, swallowed it.

        It stays in its queue group until the server notices (30 s), and while the others are full it is the only member,
        so a request that it swallows costs the task its second, and not one of its tries: the deadline is the bound.
        """
        self.total += 1
        self._kinds.add(FailureKind.LOST)
        self._silent[route] = self._silent.get(route, 0) + 1

    def lost_with(self, suspects: frozenset[Replica]) -> None:
        """An attempt was lost, and these replicas came into trouble while one of them had it."""
        if suspects:
            self._strikes.append(_Strike(suspects))

    @property
    def deaths_to_tell(self) -> int:
        """
        For whoever gets the task next: the deaths, and the losses that may have been some.

        Those not being certain, they leave the task one more try.
        """
        return max(self.deaths, min(self.deaths + len(self._strikes), DEATHS_MAX - 1))

    @property
    def goes_alone(self) -> bool:
        """Whether its next try is not to be beside that of another such task."""
        return self.deaths + len(self._strikes) >= ALONE_FROM

    @property
    def is_suspicious(self) -> bool:
        """Whether `danger` has to be asked before the next try."""
        return bool(self._strikes) or self.deaths >= DEATHS_MAX

    def danger(self, standing: Callable[[Replica], Standing]) -> Danger:
        """
        Whether the task may be given to one more replica, by how those stand that it was lost with.

        `wait` while it is not known whether they have died of it.
        """
        undecided: list[_Strike] = []
        for strike in self._strikes:
            stand = {replica: standing(replica) for replica in strike.suspects}
            strike.suspects = frozenset(replica for replica in strike.suspects if stand[replica] != "well")
            if "gone" in stand.values():
                self.deaths += 1
            elif strike.suspects:
                undecided.append(strike)
        self._strikes = undecided
        if self.deaths >= DEATHS_MAX:
            return "poison"
        return "wait" if self.deaths + len(undecided) >= DEATHS_MAX else "none"

    def without_route(self, decision: Decision) -> WithoutRoute:
        """Decide what a task does that has no route to try now: the decision has none, or none that is left."""
        if decision.routes and self._hope_again():
            return LookAgain()
        if self.resting:
            self._rounds += 1
            most_s = REST_S_MAX if self._durable else ASK_REST_S_MAX
            return Rest(self._jittered(REST_S, self._rounds, most_s))
        waits = any(each.waits and not self._is_done_with(each.pool, each.model) for each in decision.excluded)
        # A durable task whose pool has died before it failed there for good waits for the pool, as one that was never
        # tried does.
        if self.total and not waits and (self.given_up or not self._durable):
            return GiveUp(fails_as(self._kinds))
        return WaitForRoute() if waits or not decision.excluded else NoRoute()

    def next_round(self) -> None:
        """It has waited: the routes that rested are tried again."""
        self.resting.clear()

    def _hope_again(self) -> bool:
        """When no other route is left, take up those again that only swallowed requests; False when there are none."""
        hopes = max(self._silent.values(), default=0) >= SILENT_IN_A_ROW_MAX
        self._silent.clear()
        return hopes

    def _is_done_with(self, pool: str, model: str) -> bool:
        return any(route.pool == pool and route.model == model for route in self.given_up)

    def _next_route(self, route: Route, *, resting: bool) -> NextRoute:
        (self.resting if resting else self.given_up).add(route)
        return NextRoute(resting)

    def _jittered(self, first_s: float, time: int, most_s: float) -> float:
        """Doubles from time to time (which counts from 1), a quarter more or less."""
        return min(first_s * 2 ** min(time - 1, _DOUBLINGS_MAX), most_s) * (0.75 + self._luck() / 2)


def fails_as(kinds: set[FailureKind]) -> ErrorKind:
    """What a task has failed as that no route is left for, by why its attempts failed."""
    found = {RULES[kind].fails_as for kind in kinds}
    return found.pop() if len(found) == 1 else ErrorKind.PROVIDER_FAILED
