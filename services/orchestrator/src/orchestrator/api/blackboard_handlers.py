"""The blackboard for users and agents: `api.blackboard`, a bucket per scope."""

import asyncio
import time
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from flotilla.contracts import subjects
from flotilla.contracts.blackboard import (
    ENTRIES_BYTES_MAX,
    ENTRIES_MAX,
    VALUE_BYTES_MAX,
    BlackboardEntries,
    BlackboardEntry,
    BlackboardQuery,
    StoredValue,
    decode_value,
    encode_value,
)
from flotilla.contracts.clock import unix_ms
from flotilla.contracts.errors import BadRequestError, TaskError
from flotilla.contracts.failures import ErrorKind
from flotilla.fabric import keyvalue
from flotilla.fabric.connection import Connection, Message
from flotilla.fabric.errors import BucketFullError
from flotilla.fabric.inbox import Requests
from flotilla.fabric.per_item import guarded
from flotilla.fabric.stored import LAST_SUBJECTS_MAX
from orchestrator.api.blackboard_quota import BlackboardRoom, full
from orchestrator.api.requests import ApiRequest, decode_query
from orchestrator.api.turns import Turns

NULL: Final = msgspec.Raw(b"null")
LOOK_EVERY_S: Final = 1.0
STORED_WITHIN_S: Final = 0.05
CREATE_TRIES_MAX: Final = 3
READS_AT_ONCE_MAX: Final = 4
READS_PER_SCOPE_MAX: Final = 2
"""Each may hold some 8 MiB of values."""
PURGED_TTL_S: Final = 5
"""How long the marker of a key that was deleted with its history stays for those who watch."""


class Blackboard:
    """
    Answers API requests about the blackboard.

    `watch` is a long poll: it is answered when something newer matches, or empty when the time is over. A write wakes
    those of its scope at once. Keys that expire make no sound: while anybody watches, one look every LOOK_EVERY_S finds
    them.
    """

    def __init__(self, connection: Connection, requests: Requests, *, scopes: Sequence[str]) -> None:
        self._connection = connection
        self._requests = requests
        self._room = BlackboardRoom(requests)
        self._reads = Turns(places=READS_AT_ONCE_MAX, per_scope_max=READS_PER_SCOPE_MAX)
        self._watched = {scope: _Watched() for scope in scopes}

    async def start(self) -> None:
        """Listen to writes, to wake those who watch."""
        for scope, watched in self._watched.items():

            async def on_write(_message: Message, watched: _Watched = watched) -> None:
                watched.wake()

            await self._connection.subscribe(subjects.key(subjects.blackboard_bucket(scope), ">"), on_write)

    async def answer(self, question: ApiRequest) -> BlackboardEntry | BlackboardEntries:  # noqa: PLR0911  (one a verb)
        """Do what the question asks."""
        query = decode_query(question, BlackboardQuery)
        match query.verb:
            case "get":
                return await self._get(question.scope, _key(query))
            case "set":
                return await self._write(question.scope, _key(query), query, None)
            case "update":
                if query.revision is None:
                    raise BadRequestError("update needs a revision", path="$.revision", expected="0 or more")
                return await self._write(question.scope, _key(query), query, query.revision)
            case "delete":
                return await self._delete(question.scope, _key(query), query)
            case "list":
                return await self._list(question.scope, query)
            case "history":
                return await self._history(question.scope, _key(query))
            case "watch":
                return await self._watch(question, query)

    async def _get(self, scope: str, key: str) -> BlackboardEntry:
        stored = await keyvalue.get(self._requests, subjects.blackboard_bucket(scope), key)
        entry = None if stored is None else _entry(stored)
        if entry is None or entry.deleted:
            # A deleted key keeps its revision: whoever creates it again with `update` needs it.
            revision = 0 if entry is None else entry.revision
            raise TaskError(
                ErrorKind.NOT_FOUND, f"nothing stands under {key}", details={"key": key, "revision": revision}
            )
        return entry

    async def _write(self, scope: str, key: str, query: BlackboardQuery, expected: int | None) -> BlackboardEntry:
        value = query.value
        if not bytes(value):
            raise BadRequestError(f"{query.verb} needs a value", path="$.value", expected="any JSON")
        if len(bytes(value)) > VALUE_BYTES_MAX:
            details = {"limit_bytes": VALUE_BYTES_MAX, "size_bytes": len(bytes(value))}
            raise TaskError(ErrorKind.TOO_LARGE, f"a value has at most {VALUE_BYTES_MAX} bytes", details=details)
        at_unix_ms = unix_ms()
        stored = StoredValue(
            value=value,
            author=query.author or scope,
            at_unix_ms=at_unix_ms,
            expires_unix_ms=0 if query.ttl_s is None else at_unix_ms + query.ttl_s * 1000,
        )
        body = encode_value(stored)
        await self._room.check(scope, len(key) + len(body))
        revision = await self._put(scope, key, body, expected, query.ttl_s)
        if revision is None and expected == 0:
            revision = await self._put_over_deleted(scope, key, body, query.ttl_s)
        if revision is None:
            raise _written_meanwhile(key, expected)
        return BlackboardEntry(
            key=key,
            value=value,
            revision=revision,
            author=stored.author,
            at_unix_ms=stored.at_unix_ms,
            expires_unix_ms=stored.expires_unix_ms,
        )

    async def _put(self, scope: str, key: str, body: bytes, expected: int | None, ttl_s: int | None) -> int | None:
        bucket = subjects.blackboard_bucket(scope)
        try:
            return await keyvalue.put(self._requests, bucket, key, body, expected_revision=expected, ttl_s=ttl_s)
        except BucketFullError:
            raise full() from None

    async def _put_over_deleted(self, scope: str, key: str, body: bytes, ttl_s: int | None) -> int | None:
        """Create a key of which a deletion or an expired value is still there; None when it has a value."""
        for _ in range(CREATE_TRIES_MAX):
            last = await keyvalue.get(self._requests, subjects.blackboard_bucket(scope), key)
            if last is not None and not _entry(last).deleted:
                return None
            revision = await self._put(scope, key, body, 0 if last is None else last.revision, ttl_s)
            if revision is not None:
                return revision
        return None

    async def _delete(self, scope: str, key: str, query: BlackboardQuery) -> BlackboardEntry:
        bucket, expected = subjects.blackboard_bucket(scope), query.revision
        try:
            if await self._room.is_tight(scope):
                # The history goes too: what a full blackboard needs is room.
                self._room.look_again(scope)
                revision = await keyvalue.purge(
                    self._requests, bucket, key, expected_revision=expected, marker_ttl_s=PURGED_TTL_S
                )
            else:
                revision = await keyvalue.delete(self._requests, bucket, key, expected_revision=expected)
        except BucketFullError:
            raise full() from None
        if revision is None:
            raise _written_meanwhile(key, query.revision)
        return BlackboardEntry(key=key, value=NULL, revision=revision, deleted=True)

    async def _list(self, scope: str, query: BlackboardQuery) -> BlackboardEntries:
        async with self._reads.turn(scope):
            found = await self._found(subjects.blackboard_bucket(scope), query)
        entries = _fitting(found)
        return BlackboardEntries(
            entries=entries,
            revision=max((entry.revision for entry in entries), default=0),
            more=len(entries) < len(found),
        )

    async def _found(self, bucket: str, query: BlackboardQuery) -> list[BlackboardEntry]:
        names = await keyvalue.keys(self._requests, bucket, query.pattern)
        if query.after is not None:
            names = [name for name in names if name > query.after]
        found: list[BlackboardEntry] = []
        for start in range(0, len(names), LAST_SUBJECTS_MAX):
            stored = await keyvalue.newest(self._requests, bucket, names[start : start + LAST_SUBJECTS_MAX])
            found += [entry for entry in map(_entry, stored) if not entry.deleted]
            if len(found) > ENTRIES_MAX or _size(found) > ENTRIES_BYTES_MAX:
                break
        return found

    async def _history(self, scope: str, key: str) -> BlackboardEntries:
        async with self._reads.turn(scope):
            stored = await keyvalue.history(self._requests, subjects.blackboard_bucket(scope), key)
        found = [_entry(entry) for entry in stored]
        entries = _fitting(reversed(found))[::-1]
        return BlackboardEntries(
            entries=entries, revision=found[-1].revision if found else 0, more=len(entries) < len(found)
        )

    async def _watch(self, question: ApiRequest, query: BlackboardQuery) -> BlackboardEntries:
        watched = self._watched[question.scope]
        watched.watchers += 1
        if watched.looking is None:
            watched.looking = asyncio.get_running_loop().create_task(self._look(question.scope, watched))
        try:
            return await self._until_written(question, query, watched)
        finally:
            watched.watchers -= 1

    async def _until_written(
        self, question: ApiRequest, query: BlackboardQuery, watched: "_Watched"
    ) -> BlackboardEntries:
        give_up_at = time.monotonic() + query.wait_ms / 1000
        from_start = not query.revision
        after = query.revision or 0
        patience_s = 0.0
        while True:
            woken = watched.written
            found = await self._news(question.scope, query.pattern, after, deleted=not from_start)
            left_s = give_up_at - time.monotonic()
            if found.entries or left_s <= 0:
                return found
            after = found.revision
            waiting = asyncio.ensure_future(woken.wait())
            try:
                async with question.waiting():
                    await asyncio.wait([waiting], timeout=min(left_s, patience_s or left_s))
            finally:
                heard = waiting.done()
                waiting.cancel()
            # A write is heard as soon as it is stored, or a moment before: then the first look finds nothing.
            patience_s = STORED_WITHIN_S if heard else 0.0

    async def _news(self, scope: str, pattern: str, after: int, *, deleted: bool) -> BlackboardEntries:
        async with self._reads.turn(scope):
            found = await keyvalue.written(
                self._requests,
                subjects.blackboard_bucket(scope),
                pattern,
                after=after,
                writes_max=ENTRIES_MAX,
                bytes_max=ENTRIES_BYTES_MAX,
            )
        news = [_entry(entry) for entry in found.entries]
        fitting = _fitting(news)
        cut = len(fitting) < len(news)
        return BlackboardEntries(
            entries=[entry for entry in fitting if deleted or not entry.deleted],
            revision=fitting[-1].revision if cut else found.revision,
            more=cut or found.more,
        )

    async def _look(self, scope: str, watched: "_Watched") -> None:
        """Wake those who watch when the bucket has something that was not heard: a marker, or a write in a reconnect."""
        last = 0
        while watched.watchers:
            with guarded("blackboard", scope):
                revision = await keyvalue.last_revision(self._requests, subjects.blackboard_bucket(scope))
                if revision != last:
                    last = revision
                    watched.wake()
            await asyncio.sleep(LOOK_EVERY_S)
        watched.looking = None


class _Watched:
    """Who watches one scope's blackboard."""

    __slots__ = ("looking", "watchers", "written")

    def __init__(self) -> None:
        self.written = asyncio.Event()
        self.watchers = 0
        self.looking: asyncio.Task[None] | None = None

    def wake(self) -> None:
        """Tell all who watch that something was written."""
        written, self.written = self.written, asyncio.Event()
        written.set()


def _key(query: BlackboardQuery) -> str:
    if query.key is None:
        raise BadRequestError(f"{query.verb} needs a key", path="$.key", expected="words with dots between")
    return query.key


def _entry(entry: keyvalue.Entry) -> BlackboardEntry:
    """An entry as callers see it; one whose time is over is deleted, even while the server still holds it."""
    stored = None if entry.deleted else decode_value(entry.body)
    if stored is None or 0 < stored.expires_unix_ms <= unix_ms():
        return BlackboardEntry(key=entry.key, value=NULL, revision=entry.revision, deleted=True)
    return BlackboardEntry(
        key=entry.key,
        value=stored.value,
        revision=entry.revision,
        author=stored.author,
        at_unix_ms=stored.at_unix_ms,
        expires_unix_ms=stored.expires_unix_ms,
    )


def _size(entries: Iterable[BlackboardEntry]) -> int:
    return sum(len(bytes(entry.value)) for entry in entries)


def _fitting(entries: Iterable[BlackboardEntry]) -> list[BlackboardEntry]:
    """As many of the first ones as an answer holds, one at least."""
    fitting: list[BlackboardEntry] = []
    size = 0
    for entry in entries:
        size += len(bytes(entry.value))
        if fitting and (len(fitting) >= ENTRIES_MAX or size > ENTRIES_BYTES_MAX):
            break
        fitting.append(entry)
    return fitting


def _written_meanwhile(key: str, expected: int | None) -> TaskError:
    return TaskError(
        ErrorKind.CONFLICT,
        f"{key} is not at revision {expected} any more; get it, merge, and update again",
        details={"key": key, "expected_revision": expected},
    )
