"""
What a strategy is: a name, typed parameters, and a pure function from healthy candidates to a plan.

A plan says how the candidates are to be asked: one after the other, unless it has a panel, whose first routes are asked at
the same time; with an escalation an answer may be asked for again.
"""

import random
from collections.abc import Callable
from typing import Any, Final, Generic, NamedTuple, TypeVar

import msgspec
from msgspec import Struct

from flotilla.routing.candidates import Candidate
from flotilla.routing.types import Escalation, Panel, TaskView

Parameters = TypeVar("Parameters", bound=Struct)


class InOrder(NamedTuple):
    """
    Ask the candidates one after the other; `first` and `behind` are the reasons for their places.

    With an `escalation` an answer may not be the last word; with a `panel` several are asked for at the same time.
    """

    candidates: list[Candidate]
    first: str
    behind: str
    escalation: Escalation | None = None
    panel: Panel | None = None


Plan = InOrder

Planner = Callable[[list[Candidate], TaskView, random.Random], Plan]
"""Healthy candidates in the policy's order, the task, and the source of chance."""


class NoParameters(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of a strategy that has none."""


def _no_flaw(_parameters: Any) -> str:
    return ""


class Strategy(Struct, Generic[Parameters], frozen=True, kw_only=True):
    """
    One strategy.

    Attributes:
        parameters: What `strategy_options` of a policy may hold; every field needs a default and bounds.
        plan: `(candidates, task, parameters, rng) -> Plan`. It neither adds candidates nor sees those that the task's
            data may not reach.
        flaw: What is wrong with parameters that are within their bounds, beginning with the key; empty where nothing is.
        depends_on_task: Whether the plan for two tasks of a kind may differ; else decisions are kept for the next one.
    """

    name: str
    parameters: type[Parameters]
    plan: Callable[[list[Candidate], TaskView, Parameters, random.Random], Plan]
    depends_on_task: bool = True
    flaw: Callable[[Parameters], str] = _no_flaw

    def planner(self, options: dict[str, Any]) -> Planner:
        """
        The strategy with the options of a policy filled in, converted once.

        Options of a newer version that this one cannot read are replaced by the defaults: the routes stay those that
        the policy lists.
        """
        plan = self.plan
        try:
            parameters = msgspec.convert(options, self.parameters)
        except msgspec.ValidationError:
            parameters = self.parameters()

        def planned(candidates: list[Candidate], task: TaskView, rng: random.Random) -> Plan:
            return plan(candidates, task, parameters, rng)

        return planned


NO_OPTIONS: Final[dict[str, Any]] = {}
