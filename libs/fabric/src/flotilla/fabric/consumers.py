"""The consumers of a scope's task stream: one per capability and priority."""

from typing import Final

import msgspec

from flotilla.contracts import subjects
from flotilla.contracts.subjects import Priority
from flotilla.fabric import jetstream_api
from flotilla.fabric.errors import TopologyError
from flotilla.fabric.inbox import Requests

ACK_WAIT_S: Final = 10.0
INACTIVE_THRESHOLD_S: Final = 3600.0
ACK_PENDING_MARGIN: Final = 16
ACK_PENDING_STEP: Final = 64
RESUMED_CONSUMER: Final = "due"

_NS_PER_S: Final = 1_000_000_000


async def ensure_consumer(
    requests: Requests, *, scope: str, capability: str, priority: Priority, ack_pending_max: int
) -> None:
    """
    Create a capability's consumer, or change its limit; safe to call at any time from several orchestrators.

    Raises:
        TopologyError: The server refused; says why.
        FabricError: No answer.
    """
    stream, name = subjects.tasks_stream(scope), subjects.consumer(capability, priority)
    await _ensure(requests, stream, name, subjects.tasks(scope, capability, priority), ack_pending_max)


async def ensure_resumed_consumer(requests: Requests, *, scope: str, ack_pending_max: int) -> None:
    """The same for a scope's tasks that were suspended, and are due."""
    stream, subject = subjects.suspended_stream(scope), subjects.resumed(scope, "*")
    await _ensure(requests, stream, RESUMED_CONSUMER, subject, ack_pending_max)


async def _ensure(requests: Requests, stream: str, name: str, filtered: str, ack_pending_max: int) -> None:
    body = msgspec.json.encode(
        {
            "stream_name": stream,
            "config": {
                "durable_name": name,
                "filter_subject": filtered,
                "ack_policy": "explicit",
                "ack_wait": int(ACK_WAIT_S * _NS_PER_S),
                "max_deliver": -1,
                "max_ack_pending": ack_pending_max,
                "inactive_threshold": int(INACTIVE_THRESHOLD_S * _NS_PER_S),
            },
        }
    )
    reply = await requests.request(jetstream_api.consumer_durable_create(stream, name), body)
    error = jetstream_api.error_of(msgspec.json.decode(reply.data))
    if error is not None:
        raise TopologyError(f"consumer {name} of {stream}: {error.description}")


async def consumer_exists(requests: Requests, *, scope: str, capability: str, priority: Priority) -> bool:
    """
    Whether a capability has its consumer: some worker has announced it within INACTIVE_THRESHOLD_S.

    Raises:
        TopologyError: The server cannot say now.
        FabricError: No answer.
    """
    stream, name = subjects.tasks_stream(scope), subjects.consumer(capability, priority)
    reply = await requests.request(jetstream_api.consumer_info(stream, name))
    error = jetstream_api.error_of(msgspec.json.decode(reply.data))
    if error is not None and error.code != jetstream_api.NOT_FOUND:
        raise TopologyError(f"consumer {name} of {stream}: {error.description}")
    return error is None
