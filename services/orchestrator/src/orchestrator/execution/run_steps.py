"""
What can happen to a task's run, and what it can do next: the values that `next_action` takes and gives.

An event says what the last action came to. All times are seconds of the loop's clock, unless a name says otherwise.
"""

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from flotilla.contracts.attempts import Usage
from flotilla.contracts.errors import TaskError
from flotilla.contracts.policy_rules import Rules
from flotilla.contracts.results import AttemptReport
from flotilla.routing.types import Choice, Decision
from orchestrator.execution.run_state import Consensus, PartEnded
from orchestrator.state.outcomes import Outcome
from orchestrator.state.replica_states import Replica, Standing

NO_STANDINGS: Final[Mapping[Replica, Standing]] = {}


class Refreshed(Struct, frozen=True, gc=False):
    """
    How things are now: at the beginning, and after every wait and every failed attempt.

    Attributes:
        rules: Of the policy in force.
        cancelled: The caller wants no result any more.
        standings: Of the replicas that attempts of this task were lost with.
        turn_of: The pool in whose line the task's turn has come.
    """

    rules: Rules
    cancelled: bool = False
    standings: Mapping[Replica, Standing] = NO_STANDINGS
    turn_of: str | None = None


class DeathsTold(Struct, frozen=True, gc=False):
    """The other orchestrators have been told how many replicas died of the task."""


class NotAlone(Struct, frozen=True, gc=False):
    """Another task that replicas may have died of is being tried."""


class Routed(Struct, frozen=True, gc=False):
    """The router's decision, and the wall clock's seconds: closed routes say in its time when they open again."""

    decision: Decision
    unix_s: float


class NoSlot(Struct, frozen=True, gc=False):
    """
    No replica took the attempt, or others stand in line before it.

    Attributes:
        stale: The refusal may be older than the last slot that became free.
    """

    stale: bool = False


class OverLimit(Struct, frozen=True, gc=False):
    """A limit or budget had no room for the attempt: nothing was sent, and the next decision knows of it."""


class LinesFull(Struct, frozen=True, gc=False):
    """No line of any of the pools takes one more task."""


class AttemptEnded(Struct, frozen=True, gc=False):
    """
    An attempt that a replica took, or may have taken, is over.

    Attributes:
        outcome: Never one of those that found no slot.
        usage: What it consumed.
        heard: A replica said something.
        suspects: Of a lost attempt: the replicas that it may have brought into trouble.
    """

    choice: Choice
    outcome: Outcome
    report: AttemptReport
    usage: Usage
    heard: bool = True
    suspects: frozenset[Replica] = frozenset()


class PanelEnded(Struct, frozen=True, gc=False):
    """
    The routes that were asked at the same time have answered, as far as they were waited for.

    Attributes:
        parts: In the order of the choices, those included that had ended before.
        agreed: The place of the answer that enough of them agree on; None where they do not.
        is_open: Those that were lost, or not asked yet, may still bring about an agreement.
    """

    parts: tuple[PartEnded, ...]
    agreed: int | None
    is_open: bool = False


RunEvent = Refreshed | DeathsTold | NotAlone | Routed | NoSlot | OverLimit | LinesFull | AttemptEnded | PanelEnded


class Refresh(Struct, frozen=True, gc=False):
    """Read how things are, then decide again: gives `Refreshed`."""


class TellDeaths(Struct, frozen=True, gc=False):
    """Tell the other orchestrators how many replicas have died of the task, or may have: gives `DeathsTold`."""

    deaths: int


class FindRoutes(Struct, frozen=True, gc=False):
    """Ask the router: gives `Routed`; or `NotAlone`, when the task is only to be tried `alone` and another one is."""

    alone: bool = False


class Send(Struct, frozen=True, gc=False):
    """
    Send an attempt on a route and hear it out: gives `AttemptEnded` or `NoSlot`.

    Attributes:
        has_turn: Also when others stand in the pool's line.
        final: A refusal is believed, stale or not: what called the line's head is used up.
        hedge_after_s: When a second attempt may be made beside it; None for never.
    """

    choice: Choice
    has_turn: bool = False
    final: bool = False
    hedge_after_s: float | None = None


class AskPanel(Struct, frozen=True, gc=False):
    """
    Ask routes of a consensus at the same time, until enough of all answers say the same or no more can: gives `PanelEnded`.

    Attributes:
        choices: Those that are asked now.
        consensus: All of them, and those that have ended before.
    """

    choices: tuple[Choice, ...]
    consensus: Consensus


class WaitForSlot(Struct, frozen=True, gc=False):
    """Stand in the lines of these pools for a turn, up to a time: gives `Refreshed` or `LinesFull`."""

    pools: tuple[str, ...]
    up_to_s: float


class Backoff(Struct, frozen=True, gc=False):
    """Sleep before the same route is tried again; the task keeps its place in the lines. Gives `Refreshed`."""

    after_s: float


class Pause(Struct, frozen=True, gc=False):
    """Wait for a route, in no line; a change of the fleet or a cancellation ends it early. Gives `Refreshed`."""

    after_s: float


class Park(Struct, frozen=True, gc=False):
    """As `Pause`, for a durable task: it takes no room from others meanwhile."""

    after_s: float


class Escalate(Struct, frozen=True, gc=False):
    """Keep the last attempt's output, which was not sure enough, and look for a better one: gives `Refreshed`."""


class Finish(Struct, frozen=True, gc=False):
    """The last attempt's output is the result."""


class ToGate(Struct, frozen=True, gc=False):
    """What is left to be tried needs a person's approval first."""


class Fail(Struct, frozen=True, gc=False):
    """The task has failed."""

    error: TaskError


Action = (
    Refresh
    | TellDeaths
    | FindRoutes
    | Send
    | AskPanel
    | WaitForSlot
    | Backoff
    | Pause
    | Park
    | Escalate
    | Finish
    | ToGate
    | Fail
)
