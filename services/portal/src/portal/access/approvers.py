"""Questions of a scope's approver, asked with the credentials that stand beside a person's name, and for one request."""

import asyncio
from pathlib import Path
from typing import Final, TypeVar

from msgspec import Struct

from flotilla.contracts import subjects
from flotilla.contracts.errors import TaskError
from flotilla.contracts.failures import ErrorKind
from flotilla.fabric.connection import NatsSettings, connected
from flotilla.fabric.inbox import Requests
from portal.access.people import Person
from portal.live.asking import ask_subject
from portal.web.errors import RefusedError

AT_ONCE_MAX: Final = 8
CONNECT_PATIENCE_S: Final = 5.0
APPROVER_INBOX: Final = "_APPROVER"
"""Which no other role may hear: whole inputs arrive there."""

ReplyT = TypeVar("ReplyT")


class Approvers:
    """Asks as an approver. A connection lasts for one question: decisions are few, and none is left open for others."""

    def __init__(self, url: str, tls_ca: Path | None) -> None:
        self._url = url
        self._tls_ca = tls_ca
        self._room: Final = asyncio.Semaphore(AT_ONCE_MAX)

    async def ask(self, person: Person, verb: str, query: Struct, kind: type[ReplyT]) -> ReplyT:
        """
        Ask `api.<verb>` of the person's scope.

        Raises:
            RefusedError: 403: the person has no approver's credentials; 503: the orchestrators know no approvals.
            TaskError: The fleet refused; says why.
            FabricError: No server, or nobody who answers.
            DecodeFailedError: The answer is none.
        """
        if person.approver_creds is None:
            raise RefusedError(
                403, "not_permitted", "You have no approver's credentials (approver_creds in the file of people)"
            )
        settings = NatsSettings(
            url=self._url,
            creds=person.approver_creds,
            tls_ca=self._tls_ca,
            inbox_prefix=APPROVER_INBOX,
            connect_patience_s=CONNECT_PATIENCE_S,
        )
        async with self._room, connected(settings, name="portal for an approver") as connection:
            requests = Requests(connection)
            await requests.start()
            try:
                # In the scope's own account its subjects stand without the scope.
                subject = subjects.api(person.scope, verb).removeprefix(f"scope.{person.scope}.")
                return await ask_subject(requests, subject, query, kind)
            except TaskError as error:
                if error.kind is not ErrorKind.BAD_REQUEST:
                    raise
                # What was asked is well-formed: an orchestrator of an older version knows no such question.
                reason = "This fleet's orchestrators keep no requests for approval; replace them by newer ones"
                raise RefusedError(503, "unavailable", reason) from None
            finally:
                await requests.stop()
