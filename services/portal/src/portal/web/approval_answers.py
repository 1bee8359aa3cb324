"""Approvals: none can be asked of this fleet yet."""

from starlette.requests import Request
from starlette.responses import Response

from portal.web.errors import RefusedError
from portal.web.who import Doors


class ApprovalAnswers:
    """Answers `/api/approvals`."""

    def __init__(self, doors: Doors) -> None:
        self._doors = doors

    async def listed(self, request: Request) -> Response:
        """What waits for a decision."""
        self._doors.person(request)
        raise RefusedError(503, "unavailable", "This fleet's version keeps no requests for approval")
