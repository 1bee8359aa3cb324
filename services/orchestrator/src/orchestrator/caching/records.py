"""
What stands in a scope's bucket under a key: an answer, or the claim of whoever is making one.

A record is read as anything that comes from outside: bounded, checked, and told by its own words to be the one of its key.
"""

from typing import Final

import msgspec
from msgspec import UNSET, Struct, UnsetType

from flotilla.contracts.attempts import Usage
from flotilla.contracts.decoding import UNDECODABLE, checked, safe_text
from flotilla.contracts.errors import DecodeFailedError
from flotilla.contracts.fields import (
    CostUsd,
    Instance,
    MaybeName,
    ModelName,
    Name,
    Sequence,
    Sha256,
    TaskId,
    UnixMs,
    Word,
)
from flotilla.contracts.results import Result
from flotilla.contracts.subjects import Zone
from orchestrator.execution.cascades import is_makeshift
from orchestrator.state.tasks import Task

RECORD_BYTES_MAX: Final = 256 * 1024
"""Larger answers are not kept."""
CLOCKS_APART_MS_MAX: Final = 60_000
"""An answer that claims to come from further in the future is none."""

OUTPUT_BYTES_MAX: Final = RECORD_BYTES_MAX - 4096
"""What stands around an output is shorter."""
_MS_PER_S: Final = 1000


class KeptAnswer(Struct, frozen=True, kw_only=True, tag="answer"):
    """
    An answer.

    Attributes:
        key: Its own.
        task: The id of the task that it was made for.
        provider: With `model`, `zone` and `pool`: who gave it.
        cost_usd: What it cost that task; None where it is not known.
        made_unix_ms: By the clock of the orchestrator that kept it.
    """

    key: Sha256
    task: TaskId
    capability: Name
    output: msgspec.Raw
    provider: Word = ""
    model: ModelName = ""
    zone: Zone | UnsetType = UNSET
    pool: MaybeName = ""
    cost_usd: CostUsd | None = None
    made_unix_ms: UnixMs


class Claim(Struct, frozen=True, kw_only=True, tag="claim"):
    """Somebody is making the answer; it counts until its lifetime is over, and is written again while that goes on."""

    key: Sha256
    orchestrator: Instance
    renewed: Sequence = 0


_decode: Final = msgspec.json.Decoder(KeptAnswer | Claim).decode
_encode: Final = msgspec.json.Encoder().encode


def encode_record(record: KeptAnswer | Claim) -> bytes:
    """The bytes of a record."""
    return _encode(record)


def decode_record(body: bytes, *, key: str, capability: str) -> KeptAnswer | Claim:
    """
    Decode the record that stands under a key.

    Raises:
        DecodeFailedError: It is none, too long, or another key's or capability's.
    """
    if len(body) > RECORD_BYTES_MAX:
        raise DecodeFailedError(f"cache: {len(body)} bytes; at most {RECORD_BYTES_MAX}")
    try:
        record = _decode(checked(body))
    except UNDECODABLE as error:
        raise DecodeFailedError(f"cache: {safe_text(error)}") from error
    if record.key != key or (isinstance(record, KeptAnswer) and record.capability != capability):
        raise DecodeFailedError("cache: the record of another key")
    return record


def will_do(answer: KeptAnswer, *, ttl_s: int, now_unix_ms: int) -> bool:
    """Whether it is not too old, by the policy of whoever wants it."""
    return -CLOCKS_APART_MS_MAX <= now_unix_ms - answer.made_unix_ms < ttl_s * _MS_PER_S


def answer_of(result: Result, key: str, now_unix_ms: int) -> KeptAnswer | None:
    """The answer that a result has for others; None where it has none: only what went well, is sure, and is not too large."""
    if result.status != "ok" or not isinstance(result.output, msgspec.Raw) or len(result.output) > OUTPUT_BYTES_MAX:
        return None
    if is_makeshift(result):
        return None
    return KeptAnswer(
        key=key,
        task=result.task,
        capability=result.capability,
        output=result.output,
        provider=result.provider,
        model=result.model,
        zone=result.zone,
        pool=result.pool,
        cost_usd=result.usage.cost_usd,
        made_unix_ms=now_unix_ms,
    )


def result_of(answer: KeptAnswer, task: Task, latency_ms: float) -> Result:
    """The result of a task that is given another's answer: it cost nothing."""
    return Result(
        task=task.id,
        capability=task.capability,
        status="ok",
        output=answer.output,
        provider=answer.provider,
        model=answer.model,
        zone=answer.zone,
        pool=answer.pool,
        latency_ms=latency_ms,
        queued_ms=latency_ms,
        usage=Usage(),
        labels=task.options.labels or UNSET,
        input_sha256=task.input_sha256,
        cached=True,
        original_task=answer.task,
        saved_usd=UNSET if answer.cost_usd is None else answer.cost_usd,
    )
