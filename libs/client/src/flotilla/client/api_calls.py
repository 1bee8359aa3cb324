"""ApiCalls to the fleet: `api.<verb>`."""

from typing import Final, TypeVar

import msgspec
from msgspec import Struct

from flotilla.client.addresses import checked_task
from flotilla.client.answers import Answer
from flotilla.client.errors import NoOrchestratorError, NotAllowedError
from flotilla.client.link import Link
from flotilla.contracts.api import (
    Cancelled,
    CancelQuery,
    DeadList,
    DeadQuery,
    Discarded,
    FleetStatus,
    ReplicasReply,
    ResultQuery,
    Retried,
    StatusQuery,
    TaskStatus,
)
from flotilla.contracts.decoding import UNDECODABLE, checked, safe_text
from flotilla.contracts.errors import DecodeFailedError, TaskError
from flotilla.contracts.headers import ERROR_CODE
from flotilla.contracts.presence import ReplicaCard
from flotilla.contracts.results import DeadRecord, ErrorReply, Result
from flotilla.fabric.connection import Message
from flotilla.fabric.errors import RequestTimeoutError

API_TIMEOUT_S: Final = 5.0

ReplyT = TypeVar("ReplyT")


class ApiCalls:
    """Asks an orchestrator about tasks and the fleet; any of them can answer."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def result(self, task: str) -> Answer:
        """The committed result of a durable task, failed or not; TaskError `not_found` while there is none."""
        return Answer(await self.ask("result", ResultQuery(task=checked_task(task)), Result))

    async def status(self) -> FleetStatus:
        """See `Fleet.status`."""
        return await self.ask("status", StatusQuery(), FleetStatus)

    async def sealed_status(self) -> FleetStatus | None:
        """See `Fleet.sealed_status`."""
        subject = self._link.addresses.sealed_api("status")
        if subject is None:
            return None
        try:
            message = await self._link.request(subject, msgspec.json.encode(StatusQuery()), timeout_s=API_TIMEOUT_S)
        except NotAllowedError:
            return None
        except RequestTimeoutError as error:
            raise self._silent(subject, API_TIMEOUT_S) from error
        return decode_answer(message, "status", FleetStatus)

    async def task_status(self, task: str) -> TaskStatus:
        """See `Fleet.task_status`."""
        return await self.ask("status", StatusQuery(task=checked_task(task)), TaskStatus)

    async def cancel(self, task: str) -> Cancelled:
        """See `Fleet.cancel`."""
        return await self.ask("cancel", CancelQuery(task=checked_task(task)), Cancelled)

    async def replicas(self) -> list[ReplicaCard]:
        """See `Fleet.replicas`."""
        return (await self.ask("replicas", None, ReplicasReply)).replicas

    async def dead_list(self, limit: int) -> DeadList:
        """See `Fleet.dead_list`."""
        return await self.ask("dead", DeadQuery(verb="list", limit=limit), DeadList)

    async def dead_show(self, task: str) -> DeadRecord:
        """See `Fleet.dead_show`."""
        return await self.ask("dead", DeadQuery(verb="show", task=checked_task(task)), DeadRecord)

    async def dead_retry(self, task: str) -> Retried:
        """See `Fleet.dead_retry`."""
        return await self.ask("dead", DeadQuery(verb="retry", task=checked_task(task)), Retried)

    async def dead_discard(self, task: str) -> Discarded:
        """See `Fleet.dead_discard`."""
        return await self.ask("dead", DeadQuery(verb="discard", task=checked_task(task)), Discarded)

    async def ask(
        self, verb: str, query: Struct | None, kind: type[ReplyT], *, timeout_s: float = API_TIMEOUT_S
    ) -> ReplyT:
        """
        Ask `api.<verb>`, and decode the answer.

        Raises:
            TaskError: The fleet refused; says why.
            NoOrchestratorError: Nobody answered within `timeout_s`; NotAllowedError at once, where nobody can.
            DecodeFailedError: The answer is none.
        """
        body = b"" if query is None else msgspec.json.encode(query)
        subject = self._link.addresses.api(verb)
        try:
            message = await self._link.request(subject, body, timeout_s=timeout_s)
        except RequestTimeoutError as error:
            raise self._silent(subject, timeout_s) from error
        return decode_answer(message, verb, kind)

    def _silent(self, subject: str, timeout_s: float) -> NoOrchestratorError:
        return NoOrchestratorError(self._link.url, f"no answer on {subject} within {timeout_s:g} s")


def decode_answer(message: Message, verb: str, kind: type[ReplyT]) -> ReplyT:
    """
    What stands in an answer to `api.<verb>`.

    Raises:
        TaskError: The fleet refused; says why.
        DecodeFailedError: It is no answer.
    """
    try:
        # A task's status has an `error` of its own: the header tells a refusal from it.
        if message.headers and ERROR_CODE in message.headers:
            raise TaskError.from_body(msgspec.json.decode(checked(message.data), type=ErrorReply).error)
        return msgspec.json.decode(checked(message.data), type=kind)
    except UNDECODABLE as error:
        raise DecodeFailedError(f"answer to {verb}: {safe_text(error)}") from error
