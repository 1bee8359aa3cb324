"""What may need a person, for who asks how the fleet is: requests that wait, budgets, each as far as they may know it."""

from typing import Final

from flotilla.contracts.api import FleetNeeds
from flotilla.contracts.names import OBSERVER_ACCOUNT
from orchestrator.api.requests import ApiRequest
from orchestrator.approvals.watch import ApprovalsWatch
from orchestrator.economy.budget_standings import BudgetStandings
from orchestrator.state.origins import REQUEST_INFO, request_info


class NeedsOfFleet:
    """Puts together what is known of it already, and the counters of the budgets."""

    def __init__(self, approvals: ApprovalsWatch, budgets: BudgetStandings, policy_scopes: frozenset[str]) -> None:
        self._approvals: Final = approvals
        self._budgets: Final = budgets
        self._policy_scopes: Final = policy_scopes

    async def of(self, question: ApiRequest) -> FleetNeeds:
        """Of the scope of a question: a tenant's own budgets, and all for an observer and who may change the policy."""
        waiting, oldest_s = self._approvals.standing(question.scope)
        return FleetNeeds(
            approvals_waiting=waiting,
            approvals_oldest_s=oldest_s,
            budgets=await self._budgets.of(None if self._sees_all(question) else question.scope),
        )

    def _sees_all(self, question: ApiRequest) -> bool:
        if not question.from_tenant or question.scope in self._policy_scopes:
            return True
        # It reads the policy, which has the budgets, and what each task of every tenant costs.
        return request_info({REQUEST_INFO: question.request_info}).acc == OBSERVER_ACCOUNT
