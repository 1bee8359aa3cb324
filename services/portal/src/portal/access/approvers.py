"""What waits for an approval, asked with the credentials that stand beside a person's name, and for one request."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from flotilla.client.approvals import Approvals
from flotilla.client.fleet import Fleet
from flotilla.contracts.errors import TaskError
from flotilla.contracts.failures import ErrorKind
from flotilla.contracts.subjects import APPROVER_INBOX
from portal.access.people import Person
from portal.web.errors import RefusedError

AT_ONCE_MAX: Final = 8
CONNECT_PATIENCE_S: Final = 5.0


class Approvers:
    """Asks as an approver. A connection lasts for one question: decisions are few, and none is left open for others."""

    def __init__(self, url: str, tls_ca: Path | None) -> None:
        self._url = url
        self._tls_ca = tls_ca
        self._room: Final = asyncio.Semaphore(AT_ONCE_MAX)

    @asynccontextmanager
    async def of(self, person: Person) -> AsyncGenerator[Approvals]:
        """
        The requests of the person's scope, asked as its approver, while the block runs.

        Raises:
            RefusedError: 403: the person has no approver's credentials; 503: the orchestrators know no approvals.
            TaskError: The fleet refused; says why.
            ClientError: No server, or nobody who answers.
        """
        if person.approver_creds is None:
            raise RefusedError(
                403, "not_permitted", "You have no approver's credentials (approver_creds in the file of people)"
            )
        asked = Fleet.connect(
            self._url,
            creds=person.approver_creds,
            tls_ca=self._tls_ca,
            inbox_prefix=APPROVER_INBOX,
            name="portal for an approver",
            connect_patience_s=CONNECT_PATIENCE_S,
        )
        async with self._room, asked as fleet:
            try:
                yield fleet.approvals
            except TaskError as error:
                if error.kind is not ErrorKind.BAD_REQUEST:
                    raise
                # What was asked is well-formed: an orchestrator of an older version knows no such question.
                reason = "This fleet's orchestrators keep no requests for approval; replace them by newer ones"
                raise RefusedError(503, "unavailable", reason) from None
