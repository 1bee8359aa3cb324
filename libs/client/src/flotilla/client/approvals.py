"""What waits for a person's word, for those who give it: `fleet.approvals`, with an approver's credentials."""

import builtins
from typing import Final

from flotilla.client.api_calls import ApiCalls
from flotilla.contracts.api_approvals import (
    APPROVALS_LIST_DEFAULT,
    ApprovalEntry,
    ApprovalList,
    ApprovalShown,
    ApprovalsQuery,
    AuditEntry,
    AuditList,
    DecideQuery,
)
from flotilla.contracts.approval_requests import Decision

_ASKS: Final = "approvals"
_DECIDES: Final = "decide"


class Approvals:
    """
    The requests for approval of the caller's scope.

        async with Fleet.connect(creds="approver.default.nk") as fleet:
            for request in await fleet.approvals.list():
                shown = await fleet.approvals.show(request.id)
                await fleet.approvals.deny(shown.approval, comment="names are left in it")

    Every method raises TaskError `not_permitted` where the credentials are not an approver's and the server let it through,
    and NoFleetError where nobody answers, which is also what a tenant sees: its server refuses the question.
    """

    def __init__(self, api_calls: ApiCalls) -> None:
        self._api_calls = api_calls

    async def list(
        self, *, everything: bool = False, limit: int = APPROVALS_LIST_DEFAULT
    ) -> "builtins.list[ApprovalEntry]":
        """The requests that wait, the oldest first; with `everything` also those that are decided and still kept."""
        query = ApprovalsQuery(status="all" if everything else "pending", limit=limit)
        return (await self._api_calls.ask(_ASKS, query, ApprovalList)).approvals

    async def show(self, request: str) -> ApprovalShown:
        """
        One request, with the whole input that would leave.

        Raises:
            TaskError: `not_found`.
        """
        return await self._api_calls.ask(_ASKS, ApprovalsQuery(verb="show", id=request), ApprovalShown)

    async def grant(
        self, shown: ApprovalEntry, *, comment: str = "", grant: str | None = None, by: str = ""
    ) -> ApprovalEntry:
        """
        Let what was shown pass, once.

        Args:
            shown: What the decision is about.
            comment: For the audit.
            grant: Signed with the approver's key, for workers that ask for one (docs/approvals.md).
            by: The name of who decides.

        Raises:
            TaskError: `conflict` or `not_permitted`; `details["refusal"]` says why.
        """
        return await self.decide(shown.id, "grant", digest=shown.digest, comment=comment, grant=grant, by=by)

    async def deny(self, shown: ApprovalEntry, *, comment: str = "", by: str = "") -> ApprovalEntry:
        """Have the task fail with `approval_denied` and the comment; arguments and errors as `grant`."""
        return await self.decide(shown.id, "deny", digest=shown.digest, comment=comment, by=by)

    async def decide(
        self,
        request: str,
        decision: Decision,
        *,
        digest: str,
        comment: str = "",
        grant: str | None = None,
        by: str = "",
    ) -> ApprovalEntry:
        """
        Either of the two by the request's id, for who has shown it elsewhere; `digest` is of what was shown there.

        Raises:
            TaskError: `not_found`; else as `grant`.
        """
        query = DecideQuery(id=request, decision=decision, digest=digest, comment=comment, grant=grant, by=by)
        return await self._api_calls.ask(_DECIDES, query, ApprovalEntry)

    async def audit(
        self, request: str | None = None, *, limit: int = APPROVALS_LIST_DEFAULT
    ) -> "builtins.list[AuditEntry]":
        """What became of requests, the newest line first; of one request, or of all."""
        query = ApprovalsQuery(verb="audit", id=request, limit=limit)
        return (await self._api_calls.ask(_ASKS, query, AuditList)).audit
