"""Requests to JetStream's API."""

from typing import Any, Final

import msgspec

from flotilla.fabric import jetstream_api
from flotilla.fabric.errors import TopologyError
from flotilla.fabric.inbox import Requests

_decode: Final = msgspec.json.Decoder(dict[str, Any]).decode


async def ask_api(
    requests: Requests, subject: str, question: dict[str, Any], *, missing_ok: bool = False, may_be_denied: bool = False
) -> dict[str, Any]:
    """
    Ask on a subject of the API; with `missing_ok` the answer may be that something is not there (`NOT_FOUND`).

    Raises:
        RequestDeniedError: This user may not ask, where it may be denied; otherwise that is a timeout.
        TopologyError: The server refused; says why.
        FabricError: No answer.
    """
    reply = await requests.request(subject, msgspec.json.encode(question), may_be_denied=may_be_denied)
    answer = _decode(reply.data)
    error = jetstream_api.error_of(answer)
    if error is not None and not (missing_ok and error.code == jetstream_api.NOT_FOUND):
        raise TopologyError(f"{subject}: {error.description}")
    return answer
