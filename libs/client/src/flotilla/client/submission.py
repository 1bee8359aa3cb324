"""Durable tasks: handed to the task stream, which acknowledges them."""

from typing import Final

from msgspec import Struct, UnsetType

from flotilla.client.answers import Answer
from flotilla.client.api_calls import ApiCalls
from flotilla.client.errors import NoFleetError, NotAcceptedError, TaskIdTakenError, UnconfirmedError
from flotilla.client.link import Link
from flotilla.client.options import Input, SubmitOptions, encode_input, headers_of
from flotilla.contracts.errors import DecodeFailedError, TaskError
from flotilla.contracts.failures import ErrorKind
from flotilla.contracts.names import task_id_of
from flotilla.contracts.results import input_digest
from flotilla.fabric.errors import RequestTimeoutError
from flotilla.fabric.jetstream_api import ErrorCode, read_ack

ACK_TIMEOUT_S: Final = 5.0
TRIES_MAX: Final = 3


class Submitted(Struct, frozen=True, kw_only=True):
    """
    A task that is safe in the stream.

    Attributes:
        task: Its id: the one it was given, else `seq-<seq>`.
        stream: The name of the task stream.
        seq: In the stream, from 1; 0 where only its result is left.
        duplicate: There was a task of this id and input already; there is just one.
    """

    task: str
    stream: str = ""
    seq: int = 0
    duplicate: bool = False


async def submit(link: Link, capability: str, body: Input, *, task_id: str | None, options: SubmitOptions) -> Submitted:
    """See `Fleet.submit`."""
    subject = link.addresses.tasks(capability, options.get("priority", "normal"))
    headers = headers_of(options, task_id=task_id)
    encoded = encode_input(body, payload_bytes_max=link.payload_bytes_max)
    # A repeat is safe only under an id: the stream de-duplicates by it.
    tries = TRIES_MAX if task_id is not None else 1
    for _ in range(tries):
        try:
            message = await link.request(subject, encoded, headers=headers, timeout_s=ACK_TIMEOUT_S)
        except RequestTimeoutError:
            continue
        submitted = _accepted(message.data, capability, task_id)
        if submitted.duplicate:
            await _refuse_other_input(link, submitted.task, encoded)
        return submitted
    raise UnconfirmedError(capability, task_id)


async def earlier_answer(link: Link, task: str, body: Input) -> Answer | None:
    """See `Fleet.earlier_answer`."""
    encoded = encode_input(body, payload_bytes_max=link.payload_bytes_max)
    try:
        answer = await ApiCalls(link).result(task)
    except TaskError as error:
        if error.kind is ErrorKind.NOT_FOUND:
            return None
        raise
    if not is_of_input(answer.result.input_sha256, input_digest(encoded)):
        raise TaskIdTakenError(task)
    return answer


def is_of_input(input_sha256: str | UnsetType, digest: str) -> bool:
    """Whether a task is one of this input, as far as anybody knows: a fleet of an earlier version does not say."""
    return not isinstance(input_sha256, str) or input_sha256 == digest


async def _refuse_other_input(link: Link, task: str, encoded: bytes) -> None:
    """
    Look which input a task of the same id has; the stream's de-duplication only looks at the id.

    Raises:
        TaskIdTakenError: Another one.
    """
    try:
        status = await ApiCalls(link).task_status(task)
    except (TaskError, NoFleetError, DecodeFailedError):
        return  # nobody can tell now; whoever reads the result is told then
    if not is_of_input(status.input_sha256, input_digest(encoded)):
        raise TaskIdTakenError(task)


def _accepted(body: bytes, capability: str, task_id: str | None) -> Submitted:
    ack = read_ack(body)
    if ack.error is not None:
        # By the stream's bound on messages per subject, which is the capability's backlog limit.
        if ack.error.err_code == ErrorCode.STREAM_STORE_FAILED:
            raise TaskError(ErrorKind.BACKLOG_FULL, f"too many tasks of {capability} wait already; try again later")
        raise NotAcceptedError(ack.error.err_code, ack.error.description)
    return Submitted(task=task_id_of(task_id, ack.seq), stream=ack.stream, seq=ack.seq, duplicate=ack.duplicate)
