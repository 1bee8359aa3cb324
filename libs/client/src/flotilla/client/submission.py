"""Durable tasks: handed to the task stream, which acknowledges them."""

from typing import Final

import msgspec
from msgspec import Struct

from flotilla.client.errors import NotAcceptedError, UnconfirmedError
from flotilla.client.link import Link
from flotilla.client.options import Input, SubmitOptions, encode_input, headers_of
from flotilla.contracts.decoding import UNDECODABLE, safe_text
from flotilla.contracts.errors import DecodeFailedError, TaskError
from flotilla.contracts.failures import ErrorKind
from flotilla.contracts.names import task_id_of
from flotilla.fabric.errors import RequestTimeoutError

ACK_TIMEOUT_S: Final = 5.0
TRIES_MAX: Final = 3
BACKLOG_FULL_CODE: Final = 10077
"""JetStream's `err_code` for "maximum messages per subject exceeded": the capability's backlog limit."""


class Submitted(Struct, frozen=True, kw_only=True):
    """
    A task that is safe in the stream.

    Attributes:
        task: Its id: the one it was given, else `seq-<seq>`.
        stream: The name of the task stream.
        seq: In the stream, from 1.
        duplicate: The stream had a task of this id already; there is just one.
    """

    task: str
    stream: str
    seq: int
    duplicate: bool = False


class _AckError(Struct, frozen=True):
    err_code: int = 0
    description: str = ""


class _Ack(Struct, frozen=True):
    stream: str = ""
    seq: int = 0
    duplicate: bool = False
    error: _AckError | None = None


_decode_ack: Final = msgspec.json.Decoder(_Ack).decode


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
        return _accepted(message.data, capability, task_id)
    raise UnconfirmedError(capability, task_id)


def _accepted(body: bytes, capability: str, task_id: str | None) -> Submitted:
    try:
        ack = _decode_ack(body)
    except UNDECODABLE as error:
        raise DecodeFailedError(f"acknowledgement: {safe_text(error)}") from error
    if ack.error is not None:
        if ack.error.err_code == BACKLOG_FULL_CODE:
            raise TaskError(ErrorKind.BACKLOG_FULL, f"too many tasks of {capability} wait already; try again later")
        raise NotAcceptedError(ack.error.err_code, ack.error.description)
    return Submitted(task=task_id_of(task_id, ack.seq), stream=ack.stream, seq=ack.seq, duplicate=ack.duplicate)
