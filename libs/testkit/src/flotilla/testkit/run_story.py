"""A run of a task told event by event, by a clock that only the test moves."""

from collections.abc import Mapping
from typing import Final

import msgspec

from flotilla.contracts.attempts import Failed, Finished, Usage
from flotilla.contracts.clock import unix_ms
from flotilla.contracts.failures import ErrorKind, FailureKind
from flotilla.contracts.headers import TaskOptions
from flotilla.contracts.policy_rules import Rules
from flotilla.contracts.results import AttemptReport
from flotilla.routing.types import Choice, Decision, Exclusion, Route
from orchestrator.execution.next_action import next_action
from orchestrator.execution.run_state import RunState
from orchestrator.execution.run_steps import (
    Action,
    AttemptEnded,
    DeathsTold,
    Fail,
    NoSlot,
    Refreshed,
    Routed,
    RunEvent,
    TellDeaths,
)
from orchestrator.state.outcomes import Ended
from orchestrator.state.replica_states import Replica, Standing
from orchestrator.state.tasks import Task

DEADLINE_S: Final = 3600.0
UNIX_S: Final = 1_800_000_000.0

HERE: Final = Route(zone="local", pool="here", model="m")
THERE: Final = Route(zone="cloud", pool="there", model="m")
TO_HERE: Final = Choice(route=HERE, reason="first")
TO_THERE: Final = Choice(route=THERE, reason="second")
BOTH: Final = Decision(routes=(TO_HERE, TO_THERE))
ONLY_HERE: Final = Decision(routes=(TO_HERE,))
CLOSED: Final = Decision(excluded=(Exclusion(pool="here", model="m", reason="breaker open", waits=True),))
FORBIDDEN: Final = Decision(excluded=(Exclusion(pool="there", model="m", reason="restricted data"),))
NOBODY: Final = Decision(reason="no live pool")
FINISHED: Final = Finished(output=msgspec.Raw(b"{}"), provider="p", model="m", usage=Usage(input_tokens=3))


def closed_for(after_s: float) -> Decision:
    """The only route is out, and comes back so long from now."""
    until = round((UNIX_S + after_s) * 1000)
    return Decision(excluded=(Exclusion(pool="here", model="m", reason="asked", waits=True, until_unix_ms=until),))


def told(action: Action) -> Action | ErrorKind:
    """An action; of a failure its kind."""
    return action.error.kind if isinstance(action, Fail) else action


class Story:
    """
    One run, without jitter.

    Attributes:
        now_s: Since acceptance.
    """

    def __init__(self, *, durable: bool = False, deaths: int = 0, rules: Rules | None = None) -> None:
        self._rules = rules or Rules()
        self.now_s = 0.0
        task = Task(
            task_id="t",
            scope="default",
            capability="classify",
            priority="normal" if durable else "high",
            data_class="internal",
            body=b"{}",
            options=TaskOptions(),
            accepted_unix_ms=unix_ms(),
            deadline_ms=round(DEADLINE_S * 1000),
            durable=durable,
        )
        self.run = RunState(task, jitter=lambda: 0.5, deaths=deaths)
        self.refreshed()

    def event(self, event: RunEvent) -> Action:
        """What follows it, now."""
        return next_action(self.run, event, self.run.task.accepted_at + self.now_s)

    def refreshed(
        self, *, cancelled: bool = False, standings: Mapping[str, Standing] | None = None, turn_of: str | None = None
    ) -> Action:
        """What is done as things are now, the deaths having been told."""
        standing: dict[Replica, Standing] = {Replica("here", name): each for name, each in (standings or {}).items()}
        action = self.event(Refreshed(self._rules, cancelled, standing, turn_of))
        if not isinstance(action, TellDeaths):
            return action
        assert self.run.task.durable, "an asked task is no other orchestrator's"  # noqa: S101
        return self.event(DeathsTold())

    def routed(self, decision: Decision) -> Action:
        """What follows a decision."""
        return self.event(Routed(decision, UNIX_S))

    def refused(self, *, stale: bool = False) -> Action:
        """What follows an attempt that found no slot."""
        return self.event(NoSlot(stale))

    def failed(
        self,
        kind: str,
        choice: Choice = TO_HERE,
        *,
        retry_after_s: float | None = None,
        heard: bool = True,
        suspects: tuple[str, ...] = (),
    ) -> Action:
        """What follows an attempt that failed."""
        failure = Failed(kind=FailureKind(kind), message=f"said {kind}", retry_after_s=retry_after_s)
        return self._ended(choice, failure, kind, heard=heard, suspects=frozenset(Replica("here", n) for n in suspects))

    def ended(self, ended: Ended) -> Action:
        """What follows an attempt that ended without a last word."""
        return self._ended(TO_HERE, ended, ended.value)

    def finished(self, choice: Choice = TO_HERE, output: bytes = b"{}") -> Action:
        """What follows an attempt that went well."""
        return self._ended(choice, msgspec.structs.replace(FINISHED, output=msgspec.Raw(output)), "ok")

    def _ended(
        self,
        choice: Choice,
        outcome: Finished | Failed | Ended,
        word: str,
        *,
        heard: bool = True,
        suspects: frozenset[Replica] = frozenset(),
    ) -> Action:
        report = AttemptReport(
            pool=choice.route.pool, model="m", outcome=word, latency_ms=1.0, reason="", replica=f"{choice.route.pool}-1"
        )
        usage = Usage() if isinstance(outcome, Ended) else outcome.usage
        return self.event(AttemptEnded(choice, outcome, report, usage, heard, suspects))
