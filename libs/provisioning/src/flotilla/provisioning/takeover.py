"""
Stores of the version before, which all scopes shared: what they hold becomes the scopes' own.

The streams `EVENTS` and `DEAD` and the bucket `blackboard` have given way to one of each per scope. Whoever starts takes
the subjects from the old ones, so that nothing more is written there, makes the new ones, and copies records of the dead
and values of the blackboard, histories included, in their order. What was copied is removed from the old stream, and the
stream when it holds nothing any more. Events are for watching: those of the last day go with their stream.

Any number of orchestrators may do this at once, and each may die in the middle: a write is refused when the new stream
has got anything since it was last looked at (expected last sequence), each copy says in a header of which message it is,
and nobody serves before the old stream holds nothing of its scopes. Every look that counts is at the leader of a stream:
its other replicas may lag behind.

The new bucket's revisions begin after the old one's, so none that a caller remembers names another value.
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Struct

from flotilla.contracts import subjects
from flotilla.fabric.errors import FabricError, NoRespondersError, RequestTimeoutError, TopologyError
from flotilla.fabric.inbox import Requests
from flotilla.fabric.jetstream_api import (
    CONFLICTS,
    EXPECTED_LAST_SEQUENCE,
    EXPECTED_LAST_SUBJECT_SEQUENCE,
    UNAVAILABLE,
    WRITE_IN_FLIGHT,
    ErrorCode,
    error_of,
    read_ack,
    stream_delete,
    stream_info,
    stream_purge,
    stream_update,
)
from flotilla.fabric.keyvalue import FULL, OPERATION
from flotilla.fabric.stored import StoredMessage, between, last_message, next_message, scan
from flotilla.provisioning.streams import PATIENCE_S, ensure
from flotilla.provisioning.topology import TopologyLimits, topology

logger = logging.getLogger("flotilla.provisioning")

EVENTS: Final = "EVENTS"
DEAD: Final = "DEAD"
BLACKBOARD: Final = "KV_blackboard"
COPIED: Final = "Flotilla-Copied"
"""The header of a copy: the sequence of the original."""
BATCH: Final = 100
BATCH_BYTES: Final = 4 * 1024 * 1024
PAUSE_S: Final = 0.2

VALUE_EXTRA_BYTES: Final = 200
"""About what the server keeps beside a value: its subject and headers."""

Value = TypeVar("Value")


class _Source(Struct, frozen=True, kw_only=True):
    """
    What of an old stream is one scope's, and where it goes: `new` followed by what follows `old` in a subject.

    Attributes:
        final: One message of a subject is all there ever is: whoever writes it first is right.
    """

    scope: str
    stream: str
    old: str
    target: str
    new: str
    final: bool

    @property
    def pattern(self) -> str:
        return f"{self.old}>"

    def renamed(self, subject: str) -> str:
        return self.new + subject.removeprefix(self.old)


async def make_stores(
    requests: Requests, scopes: Sequence[str], limits: TopologyLimits | None = None, *, patience_s: float = PATIENCE_S
) -> None:
    """
    Make the server hold every stream and bucket of these scopes (`topology.ensure`), with what is theirs in old ones.

    Raises:
        TopologyError: See `ensure`; or what the old store holds of a scope does not fit into its new one. Says what to do.
        FabricError: No answer for `patience_s`, while copying.
    """
    limits = limits or TopologyLimits()
    sources = [source for scope in scopes for source in (_of_dead(scope), _of_blackboard(scope))]
    boards = [source for source in sources if not source.final]
    await _patiently(patience_s, lambda: _check_that_it_fits(requests, boards, limits))
    found = [
        stream
        for stream in subjects.SHARED_BEFORE
        if await _patiently(patience_s, lambda stream=stream: _retire(requests, stream))
    ]
    first_of: dict[str, int] = {}
    board = await _patiently(patience_s, lambda: _info(requests, BLACKBOARD))
    if board:
        for source in boards:
            first_of[source.target] = board["state"]["last_seq"] + 1
    for scope in scopes:
        if await _patiently(patience_s, lambda scope=scope: _lost_its_tasks(requests, scope)):
            first_of[subjects.tasks_stream(scope)] = int(time.time() * 1000)
    wanted = [
        msgspec.structs.replace(config, first_seq=first_of.get(config.name, 0)) for config in topology(scopes, limits)
    ]
    await ensure(requests, wanted, patience_s=patience_s)
    for source in sources:
        if source.stream in found:
            await _Copy(requests, source).all(patience_s)
    for stream in found:
        await _patiently(patience_s, lambda stream=stream: _remove_if_empty(requests, stream))


async def _lost_its_tasks(requests: Requests, scope: str) -> bool:
    """
    Whether the task stream is gone and the results are not.

    A task without an id is called by its sequence: counted from 1 again, it would find the result of an earlier one.
    """
    if await _info(requests, subjects.tasks_stream(scope)):
        return False
    return bool(await _info(requests, subjects.results_stream(scope)))


def _of_dead(scope: str) -> _Source:
    prefix = f"dead.{scope}."
    return _Source(scope=scope, stream=DEAD, old=prefix, target=subjects.dead_stream(scope), new=prefix, final=True)


def _of_blackboard(scope: str) -> _Source:
    bucket = subjects.blackboard_bucket(scope)
    return _Source(
        scope=scope,
        stream=BLACKBOARD,
        old=subjects.key("blackboard", f"{scope}."),
        target=subjects.bucket_stream(bucket),
        new=subjects.key(bucket, ""),
        final=False,
    )


async def _check_that_it_fits(requests: Requests, boards: Sequence[_Source], limits: TopologyLimits) -> None:
    """Before anything is changed, so that the version before can still delete what is too much."""
    for source in boards:
        board = await _ask(requests, stream_info(BLACKBOARD), {"subjects_filter": source.pattern})
        if not board:
            return
        state: dict[str, Any] = board["state"]
        subjects_held: dict[str, int] = state.get("subjects") or {}
        if sum(subjects_held.values()) > limits.blackboard_values_max:
            raise _does_not_fit(source.scope)
        if state["bytes"] <= limits.blackboard_bytes_max:
            continue
        size = 0
        async for message in between(
            requests, BLACKBOARD, source.pattern, from_sequence=1, before=state["last_seq"] + 1
        ):
            size += len(message.body) + VALUE_EXTRA_BYTES
            if size > limits.blackboard_bytes_max:
                raise _does_not_fit(source.scope)


def _does_not_fit(scope: str) -> TopologyError:
    return TopologyError(
        f"the blackboard of the scope {scope}, made by the version before, does not fit: start with larger "
        "FLOTILLA_BLACKBOARD_VALUES_MAX and FLOTILLA_BLACKBOARD_BYTES_MAX, or delete keys with that version"
    )


async def _retire(requests: Requests, stream: str) -> bool:
    """Take a stream's subjects from it, and the room that it does not use; False when there is no such stream."""
    info = await _info(requests, stream)
    retired = [f"retired.{stream}"]
    if info and info["config"]["subjects"] != retired:
        config = info["config"] | {"subjects": retired, "max_bytes": max(1, info["state"]["bytes"])}
        await _ask(requests, stream_update(stream), config)
        logger.info("old_stream_retired", extra={"stream": stream})
    return bool(info)


class _Copy:
    """Copies what is one scope's."""

    def __init__(self, requests: Requests, source: _Source) -> None:
        self._requests = requests
        self._source = source
        self._looked_at = 0
        self._written = 0

    async def all(self, patience_s: float) -> None:
        """Until the old stream holds nothing of the scope."""
        while await _patiently(patience_s, self._some):
            pass
        if self._written:
            told = {"stream": self._source.stream, "scope": self._source.scope, "copied": self._written}
            logger.info("old_store_migrated", extra=told)

    async def _some(self) -> bool:
        """Copy a batch, or what of it is not there yet; False when all is copied, and removed from the old stream."""
        source = self._source
        last = (await _info(self._requests, source.target))["state"]["last_seq"]
        batch = await self._batch()
        if not batch:
            await _ask(self._requests, stream_purge(source.stream), {"filter": source.pattern})
            return False
        for message in await self._missing(batch):
            headers = _headers(message)
            if headers is not None:
                last = await self._write(message, headers, last)
        self._looked_at = batch[-1].sequence
        return True

    async def _batch(self) -> list[StoredMessage]:
        """
        The next messages of the scope in the old stream; none when they are all copied, or somebody has removed them.

        A batch may come from a replica that lags behind: it lacks the end of the stream, and still has what was removed.
        So the leader says whether the first of it is there, and whether anything is when it is empty.
        """
        source, after = self._source, self._looked_at
        first = await next_message(self._requests, source.stream, source.pattern, from_sequence=after + 1)
        if first is None:
            return []
        batch = await scan(
            self._requests,
            source.stream,
            source.pattern,
            messages_max=BATCH,
            from_sequence=first.sequence,
            bytes_max=BATCH_BYTES,
        )
        return batch if batch and batch[0].sequence == first.sequence else [first]

    async def _missing(self, batch: list[StoredMessage]) -> list[StoredMessage]:
        """Those that are not in the new stream: of a subject that somebody else has written to since, none is."""
        source = self._source
        names = list(dict.fromkeys(source.renamed(message.subject) for message in batch))
        newest = await asyncio.gather(*(last_message(self._requests, source.target, name) for name in names))
        last_copied = {
            name: 0 if found is None else int(found.headers.get(COPIED, batch[-1].sequence))
            for name, found in zip(names, newest, strict=True)
        }
        return [message for message in batch if last_copied[source.renamed(message.subject)] < message.sequence]

    async def _write(self, message: StoredMessage, headers: dict[str, str], last: int) -> int:
        """Write one copy, the others before it being there; gives the last sequence of the new stream."""
        source = self._source
        expected = {EXPECTED_LAST_SUBJECT_SEQUENCE: "0"} if source.final else {EXPECTED_LAST_SEQUENCE: str(last)}
        subject = source.renamed(message.subject)
        reply = await self._requests.request(subject, message.body, headers=headers | expected)
        ack = read_ack(reply.data)
        error = ack.error
        if error is None:
            self._written += 1
            return ack.seq
        if error.err_code in CONFLICTS:
            # Another write that is only about to be stored may come to nothing: then the copy would be missing.
            if source.final and error.err_code not in WRITE_IN_FLIGHT:
                return last
            raise _AnotherWroteError
        if error.err_code == ErrorCode.STREAM_STORE_FAILED and error.description in FULL:
            raise _does_not_fit(source.scope)
        raise TopologyError(f"stream {source.target}: {error.description} ({error.err_code})")


def _headers(message: StoredMessage) -> dict[str, str] | None:
    """Of a copy; None when its time is over, or it only says so of another."""
    headers = {name: value for name, value in message.headers.items() if name == OPERATION}
    rollup, ttl = message.headers.get("Nats-Rollup"), message.headers.get("Nats-TTL")
    if "Nats-Marker-Reason" in message.headers:
        return None
    if rollup is not None:
        headers["Nats-Rollup"] = rollup
    if ttl is not None:
        lifetime = ttl.removesuffix("s")
        # Written by hand it may be any duration (`1h30m`, `never`): that one begins again.
        left_s = message.stored_unix_ms / 1000 + int(lifetime) - time.time() if lifetime.isdecimal() else None
        if left_s is not None and left_s <= 0:
            return None
        headers["Nats-TTL"] = ttl if left_s is None else f"{max(1, round(left_s))}s"
    return headers | {COPIED: str(message.sequence)}


async def _remove_if_empty(requests: Requests, stream: str) -> None:
    info = await _info(requests, stream)
    if info and (stream == EVENTS or not info["state"]["messages"]):
        await _ask(requests, stream_delete(stream), None)
        logger.info("old_stream_removed", extra={"stream": stream})
    elif info:
        # Of scopes that another orchestrator serves; or that nobody serves any more.
        logger.warning("old_stream_kept", extra={"stream": stream, "messages": info["state"]["messages"]})


class _TryAgainError(FabricError):
    """The server cannot say yet."""


class _AnotherWroteError(FabricError):
    """The new stream has got something since it was looked at."""


async def _patiently(patience_s: float, what: Callable[[], Awaitable[Value]]) -> Value:
    """Try again for so long while there is no answer, and as often as it takes while others do the same."""
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + patience_s
    while True:
        try:
            return await what()
        except _AnotherWroteError:
            give_up_at = loop.time() + patience_s
        except (NoRespondersError, RequestTimeoutError, _TryAgainError):
            if loop.time() >= give_up_at:
                raise
        await asyncio.sleep(PAUSE_S * random.random())


async def _info(requests: Requests, stream: str) -> dict[str, Any]:
    """Configuration and state; empty when there is no such stream."""
    return await _ask(requests, stream_info(stream), None)


async def _ask(requests: Requests, subject: str, question: object) -> dict[str, Any]:
    body = b"" if question is None else msgspec.json.encode(question)
    try:
        reply = await requests.request(subject, body)
    except RequestTimeoutError:
        if not subject.startswith(stream_info("")):
            hint = "has NATS the permissions of this version?"
            logger.warning("nats_request_unanswered", extra={"request": subject, "hint": hint})
        raise
    answer: dict[str, Any] = msgspec.json.decode(reply.data)
    error = error_of(answer)
    if error is None:
        return answer
    if error.err_code == ErrorCode.STREAM_NOT_FOUND:
        return {}
    if error.code == UNAVAILABLE:
        raise _TryAgainError(error.description)
    raise TopologyError(f"{subject}: {error.description} ({error.err_code})")
