"""Replies to callers: results, pieces and errors, on the caller's own reply subject."""

from collections.abc import Mapping
from typing import Final

from flotilla.contracts.errors import TaskError
from flotilla.contracts.failures import ErrorBody
from flotilla.contracts.headers import ACCEPTED, ERROR_CODE, ERROR_TEXT
from flotilla.contracts.names import ADMIN, ORCHESTRATOR
from flotilla.contracts.results import AcceptedMessage, ErrorReply, PieceMessage, Result, StepMessage, encode
from flotilla.contracts.subjects import inbox_prefix
from flotilla.fabric.connection import Connection
from flotilla.fabric.jetstream_api import EXPECTED_STREAM
from flotilla.fabric.prompt_client import IMPORTED_REPLY
from orchestrator.reporting.background_publisher import BackgroundPublisher, Outgoing

NO_HEADERS: Final[dict[str, str]] = {}
ANSWERED: Final = (IMPORTED_REPLY, f"{inbox_prefix(ORCHESTRATOR)}.", f"{inbox_prefix(ADMIN)}.")

FOR_NO_STREAM: Final = {EXPECTED_STREAM: "none"}
"""
Headers of what an approver is answered: no stream takes a message that expects to be another's. The server passes an answer
on where its account imports the reply subject as a service; so an approver, who may submit nothing, could have what it is
answered stored as a task, and what the sealed lane has answered in the ordinary one.
"""
_IS_ACCEPTED: Final = {ACCEPTED: "true"}


def may_answer(reply: str) -> bool:
    """
    Whether a request may be answered where it wants: from another account, or to the inbox of one of the fleet's own.

    NATS lets a request name any reply subject, and answering is publishing: on a subject of the fleet, with an
    orchestrator's rights, an answer could be taken for a policy or a result.
    """
    return reply.startswith(ANSWERED)


async def reply_error(
    connection: Connection, reply: str, error: TaskError, *, headers: Mapping[str, str] = NO_HEADERS
) -> None:
    """Answer a request with an error; its headers come beside those that are given."""
    told = {**headers, **error_headers(error.body)}
    await connection.publish(reply, encode(ErrorReply(error=error.body)), headers=told)


class Replies:
    """Answers interactive tasks: pieces, then one result or error, then the end of the reply subject."""

    def __init__(self, connection: Connection, publisher: BackgroundPublisher) -> None:
        self._connection = connection
        self._publisher = publisher

    async def accepted(self, reply: str, task_id: str) -> None:
        """Say that a task was taken."""
        await self._connection.publish(reply, encode(AcceptedMessage(task=task_id)), headers=_IS_ACCEPTED)

    async def piece(self, reply: str, seq: int, text: str) -> None:
        """Send one piece of a streamed answer."""
        await self._connection.publish(reply, encode(PieceMessage(seq=seq, text=text)))

    async def step(self, reply: str, step: StepMessage) -> None:
        """Tell of a step of a run."""
        await self._connection.publish(reply, encode(step))

    async def result(self, reply: str, result: Result) -> None:
        """Send the result of a task, the error headers with a failed one."""
        headers = error_headers(result.error) if isinstance(result.error, ErrorBody) else None
        await self._connection.publish(reply, encode(result), headers=headers)
        if reply.startswith(IMPORTED_REPLY) and not self._end_later(reply):
            # So much waits in a flood, which is when the server's memory needs it most.
            await self._connection.publish(reply)

    async def error(self, reply: str, error: TaskError) -> None:
        """Refuse a request that never became a task."""
        await reply_error(self._connection, reply, error)
        if reply.startswith(IMPORTED_REPLY):
            # At once: refusals come in floods, and nothing is to be held up for them.
            await self._connection.publish(reply)

    def _end_later(self, reply: str) -> bool:
        """
        Tell the server that nothing more comes on a reply subject of another account; False where too much waits already.

        The server keeps a mapping for every streamed request until it expires; an empty message ends it at once. Without
        it a day of interactive traffic would fill the server's memory. Callers see an empty message, and ignore it. It
        is sent afterwards: in one write with the result it would hold that up in the server. And only on the connection
        that the result went out on: where a dying node has swallowed the result, its end would come alone, and look
        like an answer.
        """
        connection = self._connection
        reconnects = connection.reconnects

        def end() -> Outgoing | None:
            return (reply, b"", None) if connection.is_connected and connection.reconnects == reconnects else None

        return self._publisher.publish(end)


def error_headers(error: ErrorBody) -> dict[str, str]:
    """The NATS micro headers of an error."""
    return {ERROR_CODE: str(error.kind.code), ERROR_TEXT: error.kind.value}
