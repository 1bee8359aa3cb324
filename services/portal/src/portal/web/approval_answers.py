"""Approvals: what waits, exactly what would leave, and the decision of a person with a name."""

import msgspec
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from flotilla.contracts.api_approvals import ApprovalEntry, ApprovalList, ApprovalShown, ApprovalsQuery, DecideQuery
from flotilla.contracts.approval_requests import Decision, RequestId
from flotilla.contracts.fields import Sha256, Text
from portal.access.approvers import Approvers
from portal.web.errors import as_json, bad_request
from portal.web.who import Doors, read_body


class DecisionBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    The body of a decision.

    Attributes:
        digest: Of the request that was shown; of the one that stands there now unless given.
    """

    decision: Decision
    comment: Text = ""
    digest: Sha256 | None = None


class ApprovalAnswers:
    """Answers `/api/approvals`, with the approver's credentials of who asks."""

    def __init__(self, doors: Doors, approvers: Approvers) -> None:
        self._doors = doors
        self._approvers = approvers

    async def listed(self, request: Request) -> Response:
        """What waits for a decision, the oldest first."""
        session = self._doors.person(request)
        found = await self._approvers.ask(session.person, "approvals", ApprovalsQuery(), ApprovalList)
        return as_json({"approvals": found.approvals, "waiting": found.waiting})

    async def shown(self, request: Request) -> Response:
        """One request, with the whole input that would leave."""
        session = self._doors.person(request)
        query = ApprovalsQuery(verb="show", id=_id_in(request))
        found = await self._approvers.ask(session.person, "approvals", query, ApprovalShown)
        return as_json({**msgspec.structs.asdict(found.approval), "payload": found.payload})

    async def decide(self, request: Request) -> Response:
        """Grant it or deny it, in the name of who has signed in."""
        session = self._doors.changes(request, "decide")
        body = await read_body(request, DecisionBody)
        identifier, person = _id_in(request), session.person
        digest = body.digest
        if digest is None:
            query = ApprovalsQuery(verb="show", id=identifier)
            digest = (await self._approvers.ask(person, "approvals", query, ApprovalShown)).approval.digest
        decision = DecideQuery(
            id=identifier, decision=body.decision, digest=digest, comment=body.comment, by=person.name
        )  # fmt: skip
        return as_json(await self._approvers.ask(person, "decide", decision, ApprovalEntry))


def _id_in(request: Request) -> str:
    try:
        return msgspec.convert(request.path_params["id"], RequestId)
    except msgspec.ValidationError:
        raise bad_request("expected /api/approvals/ID") from None
