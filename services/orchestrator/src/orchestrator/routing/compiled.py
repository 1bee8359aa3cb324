"""A policy made ready for decisions: every rule filled in once, not once per task."""

from typing import Final

from flotilla.contracts.headers import DataClass
from flotilla.contracts.policy import BreakerPolicy, Policy, Rules, rules_for
from orchestrator.routing.candidates import Plans

UNRULED: Final = Rules()
"""What holds where no policy says anything: any live pool, local first, left when most of its attempts fail."""

_NO_CAPABILITY: Final = ""


class CompiledPolicy:
    """
    The rules of each capability, looked up in a dict.

    Compile once per policy document and keep it; `None` stands for a fleet without a policy.
    """

    def __init__(self, policy: Policy | None = None) -> None:
        self.document: Policy = policy or Policy()
        self.plans: Plans = {}
        self._default = rules_for(self.document, _NO_CAPABILITY) or UNRULED
        self._rules = {name: rules_for(self.document, name) or UNRULED for name in self.document.capabilities}

    @property
    def breaker(self) -> BreakerPolicy:
        """When a route is closed for everything."""
        return self.document.breaker

    def rules_of(self, capability: str) -> Rules:
        """The rules of a capability: its entry's, else the policy's default, else `UNRULED`."""
        return self._rules.get(capability, self._default)

    def data_class_of(self, scope: str) -> DataClass:
        """The data class of a scope's tasks that name none."""
        return self.document.data_class_of(scope)
