"""
Where a canary could come to light, and what of a message may hold one there. Pure.

A place that is marked `at_home` is one that must hold canaries: that none was heard there says that nothing can be heard.
"""

from collections.abc import Callable
from typing import Final

import msgspec
from msgspec import UNSET, Struct, structs

from flotilla.contracts.errors import DecodeFailedError
from flotilla.contracts.redaction import LOCAL_CAPABILITIES
from flotilla.contracts.results import decode_dead, decode_result

Watched = Callable[[bytes], bytes]
"""Takes a body, and gives what of it must hold no canary."""


class Place(Struct, frozen=True, kw_only=True):
    """
    Messages that are looked at together.

    Attributes:
        subjects: In the FLEET account.
        watched: What of a body must hold no canary; all of it unless told otherwise.
        at_home: It must hold canaries.
    """

    name: str
    subjects: tuple[str, ...] = ()
    watched: Watched = bytes
    at_home: bool = False


def beside_output(body: bytes) -> bytes:
    """
    A result without its output, which the caller gets as it is; the whole where it came from the cloud, or is redacted.

    What is no result is watched as a whole.
    """
    try:
        result = decode_result(body)
    except DecodeFailedError:
        return body
    if result.zone == "cloud" or result.capability == "redact":
        return body
    return msgspec.json.encode(structs.replace(result, output=UNSET))


def beside_kept_output(body: bytes) -> bytes:
    """The same of a pipeline's step."""
    try:
        return beside_output(bytes(_decode_kept(body).result))
    except msgspec.MsgspecError:
        return body


def beside_original(body: bytes) -> bytes:
    """A dead letter without the original message, which a retry needs; that of a task that redacts has none."""
    try:
        record = decode_dead(body)
    except DecodeFailedError:
        return body
    return body if record.capability in LOCAL_CAPABILITIES else beside_any_original(body)


def beside_any_original(body: bytes) -> bytes:
    """The same in the sealed lane, which keeps those of tasks that redact as well."""
    try:
        return msgspec.json.encode(structs.replace(decode_dead(body), body=b""))
    except DecodeFailedError:
        return body


def nothing(_body: bytes) -> bytes:
    """Of a task or an input that waits as it was sent, all may be a canary."""
    return b""


class _Kept(Struct, frozen=True):
    result: msgspec.Raw


_decode_kept: Final = msgspec.json.Decoder(_Kept).decode

CLOUD_LANES: Final = "cloud lanes"
TASK_STREAM: Final = "task stream"
ANSWERS: Final = "answers"
BUCKETS: Final = "buckets"
CACHE: Final = "result cache"
LOGS: Final = "logs"
FILES: Final = "named files"
METRICS: Final = "metrics"
VAULTS: Final = "vaults on disk"
SEALED: Final = "sealed lane"

HEARD: Final = (
    Place(name=CLOUD_LANES, subjects=("infer.cloud.>", "infer-control.cloud.>")),
    Place(name="cloud replies", subjects=("_INBOX.attempts.cloud.>",)),
    Place(name="events", subjects=("scope.*.events.>",)),
    Place(name="heartbeats", subjects=("heartbeat.>", "infer-free.>")),
    Place(name="orchestrators", subjects=("orchestrator-control.>",)),
    Place(name="dead letters", subjects=("dead.>",), watched=beside_original),
    Place(name="results", subjects=("scope.*.results.>",), watched=beside_output),
    Place(
        name="steps",
        subjects=("step.*.*.*.*.*", "step.*.*.definition.*", "step.*.*.passed.*"),
        watched=beside_kept_output,
    ),
    Place(name="inputs of approvals", subjects=("step.*.*.approval.*",), watched=nothing),
    Place(name="suspended", subjects=("suspended.>",), watched=nothing),
    Place(name="audit", subjects=("audit.>",)),
    Place(name="ledger and counters", subjects=("ledger.>", "counter.>", "counted.>", "score.>")),
    Place(name=BUCKETS, subjects=("$KV.>",)),
    Place(name=TASK_STREAM, subjects=("scope.*.tasks.>",), at_home=True),
)
"""Not the local lanes: whoever subscribes there keeps the server from saying that no replica has a free slot."""
STORES: Final = "stores"
CACHE_KEYS: Final = "$KV.cache_"
READ: Final = (
    Place(name=ANSWERS, watched=beside_output),
    Place(name=CACHE),
    Place(name=STORES),
    Place(name=SEALED),
    Place(name=LOGS),
    Place(name=FILES),
    Place(name=VAULTS),
    Place(name=METRICS),
)
"""
What is no subject of its own: what this command was answered, kept answers, everything that streams and buckets hold, in the
sealed lane too, the logs of a fleet on this machine, files and metrics that whoever runs it names, and the vaults as they lie
on the server's disk: nobody can ask the server for them.
"""
