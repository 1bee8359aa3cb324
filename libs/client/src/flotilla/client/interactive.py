"""Interactive tasks: asked and answered over one connection, nothing stored."""

import asyncio
import secrets
from typing import Final

from flotilla.client.answers import Answer
from flotilla.client.errors import NoFleetError
from flotilla.client.link import Link
from flotilla.client.options import AskOptions, Input, encode_input, headers_of
from flotilla.client.streams import AnswerStream, OnStep
from flotilla.contracts.errors import DecodeFailedError, TaskError
from flotilla.contracts.failures import ErrorBody, ErrorKind
from flotilla.contracts.headers import ACCEPTED, ASK_DEADLINE_MS_DEFAULT
from flotilla.contracts.results import ErrorReply, PieceMessage, Result, StepMessage, decode_accepted, decode_answer
from flotilla.fabric.connection import Message
from flotilla.fabric.errors import RequestTimeoutError

DEADLINE_MARGIN_S: Final = 5.0
"""How much longer than the task's deadline a caller waits: the fleet says `deadline_exceeded` itself, if it lives."""

_TASK_ID_BYTES: Final = 12


def new_task_id() -> str:
    """An id that no other task has."""
    return f"c-{secrets.token_hex(_TASK_ID_BYTES)}"


def patience_s(options: AskOptions) -> float:
    """How long to wait for an answer before giving up on the fleet."""
    deadline_s = options.get("deadline_s")
    return (ASK_DEADLINE_MS_DEFAULT / 1000 if deadline_s is None else deadline_s) + DEADLINE_MARGIN_S


async def ask(link: Link, capability: str, body: Input, *, task_id: str | None, options: AskOptions) -> Answer:
    """See `Fleet.ask`."""
    subject = link.addresses.ask(capability)
    # Under an id of its caller's own a repeat could meet the task itself, and be refused for it.
    heard = None if task_id is not None else _Heard(link)
    headers = headers_of(options, task_id=task_id, accepted=heard is not None)
    encoded = encode_input(body, payload_bytes_max=link.payload_bytes_max)
    timeout_s = patience_s(options)
    reconnects = link.connection.reconnects
    try:
        message = await link.request(
            subject, encoded, headers=headers, timeout_s=timeout_s, lost_with_connection=True, is_interim=heard
        )
    except RequestTimeoutError as error:
        if not link.connection.is_connected or link.connection.reconnects != reconnects:
            if task_id is not None:
                await link.abandon(task_id)
            raise NoFleetError(link.url, "the connection was lost while the task ran; ask again") from error
        raise TaskError(ErrorKind.DEADLINE_EXCEEDED, f"no answer within {timeout_s:g} s") from error
    except asyncio.CancelledError:
        if task_id is not None:
            await link.abandon(task_id)
        raise
    reply = decode_answer(message.data)
    if isinstance(reply, ErrorReply):
        raise TaskError.from_body(reply.error)
    if isinstance(reply, PieceMessage | StepMessage):
        raise DecodeFailedError("answer: a piece, where no stream was asked for")
    answer = Answer(reply)
    answer.raise_for_error()
    return answer


class _Heard:
    """
    Knows the word that an ask was taken; should two orchestrators have it, the second is told to stop.

    That it has stopped is then no answer either: the first one's is awaited.
    """

    __slots__ = ("_link", "_stopped", "_task")

    def __init__(self, link: Link) -> None:
        self._link = link
        self._task: str | None = None
        self._stopped: set[str] = set()

    async def __call__(self, message: Message) -> bool:
        if message.raw_headers is None or ACCEPTED not in message.headers:
            return bool(self._stopped) and self._says_stopped(message)
        task = decode_accepted(message.data).task
        if self._task is None:
            self._task = task
        elif task != self._task:
            self._stopped.add(task)
            await self._link.abandon(task)
        return True

    def _says_stopped(self, message: Message) -> bool:
        if not message.data:
            # What orchestrators send behind a result; an error of the server's has headers.
            return message.raw_headers is None
        try:
            reply = decode_answer(message.data)
        except DecodeFailedError:
            return False  # it is the answer, which the caller is told cannot be read
        if not isinstance(reply, Result) or reply.task not in self._stopped:
            return False
        return isinstance(reply.error, ErrorBody) and reply.error.kind is ErrorKind.CANCELLED


def stream(
    link: Link, capability: str, body: Input, *, task_id: str | None, on_step: OnStep | None, options: AskOptions
) -> AnswerStream:
    """See `Fleet.stream`."""
    link.addresses.ask(capability)
    task = task_id or new_task_id()
    return AnswerStream(
        link,
        capability=capability,
        body=encode_input(body, payload_bytes_max=link.payload_bytes_max),
        headers=headers_of(options, task_id=task, stream=True) or {},
        task=task,
        timeout_s=patience_s(options),
        on_step=on_step,
    )
