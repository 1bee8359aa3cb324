"""A policy made ready for decisions: every rule filled in once, not once per task."""

from collections.abc import Mapping
from typing import Final, Protocol

import msgspec

from flotilla.contracts.headers import DataClass
from flotilla.contracts.policy import BreakerPolicy, Policy
from flotilla.contracts.policy_rules import PolicyGate, Rules, rules_for
from flotilla.contracts.redaction import LOCAL_CAPABILITIES
from flotilla.contracts.subjects import ZONES
from flotilla.routing.candidates import Shortlists
from flotilla.routing.data_classes import declassified_by
from flotilla.routing.eligibility import may_enter
from flotilla.routing.one_model import ONE_MODEL, base_name, models_of, named_models
from flotilla.routing.strategies import strategy_named
from flotilla.routing.strategy import Planner
from flotilla.routing.types import TaskView

UNRULED: Final = Rules()
"""What holds where no policy says anything: any live pool, local first, left when most of its attempts fail."""

NOTHING_HELD: Final[Mapping[str, str]] = {}
_NO_CAPABILITY: Final = ""


class CompiledPolicy:
    """
    The rules of each capability, looked up in a dict.

    Compile once per policy document and keep it; `None` stands for a fleet without a policy. `held` has the model that
    each capability is held to which must not be served with two. `revision` is the document's in the policy bucket, 0
    without one.

    Attributes:
        declassified: What the document declassifies, for `data_classes.class_of_field`.
        caches: Whether it has any capability's answers kept without having been asked to by the task.
        gates: Whether any capability has a gate.
        limited: Whether it has limits or budgets.
    """

    def __init__(
        self, policy: Policy | None = None, held: Mapping[str, str] = NOTHING_HELD, *, revision: int = 0
    ) -> None:
        self.document: Policy = policy or Policy()
        self.held = held
        self.revision = revision
        self.shortlists: Shortlists = {}
        self.declassified: Final = declassified_by(self.document)
        self._default = rules_for(self.document, _NO_CAPABILITY) or UNRULED
        self._rules = {name: rules_for(self.document, name) or UNRULED for name in self.document.capabilities}
        # The pools that the default lists are those of models; a pool that redacts is not among them unless it is named.
        unlisted = msgspec.structs.replace(self._default, routes=None)
        self._rules |= {name: unlisted for name in LOCAL_CAPABILITIES if name not in self._rules}
        self.caches: Final = any(rules.cache.tasks == "all" for rules in (self._default, *self._rules.values()))
        self.gates: Final = any(rules.approval is not None for rules in (self._default, *self._rules.values()))
        self.limited: Final = bool(self.document.limits or self.document.budgets)
        self._default_planner = _planner(self._default)
        self._planners = {name: _planner(rules) for name, rules in self._rules.items()}

    @property
    def breaker(self) -> BreakerPolicy:
        """When a route is closed for everything."""
        return self.document.breaker

    def rules_of(self, capability: str) -> Rules:
        """The rules of a capability: its entry's, else the policy's default, else `UNRULED`."""
        return self._rules.get(capability, self._default)

    def gate_of(self, task: TaskView) -> PolicyGate | None:
        """The gate that a durable task stands at before its input leaves; None where there is none."""
        gate = self.rules_of(task.capability).approval if self.gates else None
        if gate is None or task.data_class not in gate.data_classes:
            return None
        return gate if any(may_enter(task, zone) for zone in gate.zones) else None

    def gate_of_run(self, pipeline: str, data_class: DataClass) -> PolicyGate | None:
        """
        The gate that a run of a pipeline stands at before its first step; None where there is none.

        One by default stands before the steps alone. It is before every zone: what a run makes of its input (a redacted text)
        may go where the input may not.
        """
        entry = self.document.capabilities.get(pipeline)
        gate = None if entry is None or entry.approval is None else self.rules_of(pipeline).approval
        if gate is None or data_class not in gate.data_classes:
            return None
        return msgspec.structs.replace(gate, zones=frozenset(ZONES))

    def planner_of(self, capability: str) -> Planner:
        """The strategy of a capability, its options filled in."""
        return self._planners.get(capability, self._default_planner)

    def models_of(self, capability: str) -> frozenset[str] | None:
        """The models that a capability may be served with; see `one_model`. None for any."""
        return models_of(self.document, self.held, capability)

    def to_be_held(self) -> dict[str, str]:
        """The capabilities for which the policy names one model, other than the one that they are held to."""
        named = {capability: named_models(self.document, capability) for capability in ONE_MODEL}
        single = {capability: next(iter(models)) for capability, models in named.items() if len(models) == 1}
        return {name: model for name, model in single.items() if base_name(self.held.get(name, "")) != model}

    def data_class_of(self, scope: str) -> DataClass:
        """The data class of a scope's tasks that name none."""
        return self.document.data_class_of(scope)


class InForce(Protocol):
    """Knows the policy in force, as the router does: read for every task, so an attribute and no call."""

    policy: CompiledPolicy


def _planner(rules: Rules) -> Planner:
    return strategy_named(rules.strategy).planner(rules.strategy_options)
