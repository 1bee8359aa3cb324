"""Approvals: what waits, exactly what would leave, and the decision of a person with a name."""

import msgspec
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from flotilla.contracts.approval_requests import Decision, RequestId
from flotilla.contracts.fields import Sha256, Text
from portal.access.approvers import Approvers
from portal.web.errors import as_json, bad_request
from portal.web.who import Doors, read_body


class DecisionBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    The body of a decision.

    Attributes:
        digest: Of the request that was shown: another one under the same id is not decided.
    """

    decision: Decision
    digest: Sha256
    comment: Text = ""


class ApprovalAnswers:
    """Answers `/api/approvals`, with the approver's credentials of who asks."""

    def __init__(self, doors: Doors, approvers: Approvers) -> None:
        self._doors = doors
        self._approvers = approvers

    async def listed(self, request: Request) -> Response:
        """What waits for a decision, the oldest first."""
        session = self._doors.person(request)
        async with self._approvers.of(session.person) as approvals:
            return as_json({"approvals": await approvals.list()})

    async def shown(self, request: Request) -> Response:
        """One request, with the whole input that would leave."""
        session = self._doors.person(request)
        identifier = _id_in(request)
        async with self._approvers.of(session.person) as approvals:
            found = await approvals.show(identifier)
        return as_json({**msgspec.structs.asdict(found.approval), "payload": found.payload})

    async def decide(self, request: Request) -> Response:
        """Grant it or deny it, in the name of who has signed in."""
        session = self._doors.changes(request, "decide")
        body = await read_body(request, DecisionBody)
        identifier, person = _id_in(request), session.person
        async with self._approvers.of(person) as approvals:
            decided = await approvals.decide(
                identifier, body.decision, digest=body.digest, comment=body.comment, by=person.name
            )
        return as_json(decided)


def _id_in(request: Request) -> str:
    try:
        return msgspec.convert(request.path_params["id"], RequestId)
    except msgspec.ValidationError:
        raise bad_request("expected /api/approvals/ID") from None
