"""The blackboard for users and agents: `api.blackboard`, a key space per scope in one bucket."""

import asyncio
import time
from typing import Final

import msgspec

from flotilla.contracts import subjects
from flotilla.contracts.blackboard import (
    ENTRIES_MAX,
    VALUE_BYTES_MAX,
    BlackboardEntries,
    BlackboardEntry,
    BlackboardQuery,
    StoredValue,
    decode_value,
    encode_value,
)
from flotilla.contracts.errors import BadRequestError, TaskError
from flotilla.contracts.failures import ErrorKind
from flotilla.fabric import keyvalue
from flotilla.fabric.connection import Connection, Message
from flotilla.fabric.inbox import Requests
from orchestrator.intake import unix_ms
from orchestrator.questions import Question, decode_query

SCANNED_MAX: Final = 10_000
NULL: Final = msgspec.Raw(b"null")
LOOK_EVERY_S: Final = 5.0


class Blackboard:
    """
    Answers questions about the blackboard.

    `watch` is a long poll: it is answered when something newer matches, or empty when the time is over. A write wakes
    it at once; LOOK_EVERY_S bounds what a lost wake-up (a reconnect) can cost.
    """

    def __init__(self, connection: Connection, requests: Requests) -> None:
        self._connection = connection
        self._requests = requests
        self._written = asyncio.Event()

    async def start(self) -> None:
        """Listen to writes, to wake those who watch."""
        await self._connection.subscribe(subjects.key(subjects.BLACKBOARD_BUCKET, ">"), self._on_write)

    async def _on_write(self, _message: Message) -> None:
        written, self._written = self._written, asyncio.Event()
        written.set()

    async def answer(self, question: Question) -> BlackboardEntry | BlackboardEntries:  # noqa: PLR0911  (one a verb)
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
                return await self._list(question.scope, query.pattern, after=0)
            case "history":
                entries = await keyvalue.history(
                    self._requests, subjects.BLACKBOARD_BUCKET, f"{question.scope}.{_key(query)}"
                )
                return BlackboardEntries(entries=[_entry(question.scope, entry) for entry in entries])
            case "watch":
                return await self._watch(question.scope, query)

    async def _get(self, scope: str, key: str) -> BlackboardEntry:
        entry = await keyvalue.get(self._requests, subjects.BLACKBOARD_BUCKET, f"{scope}.{key}")
        if entry is None or entry.deleted:
            # A deleted key keeps its revision: whoever creates it again with `update` needs it.
            revision = 0 if entry is None else entry.revision
            raise TaskError(
                ErrorKind.NOT_FOUND, f"nothing stands under {key}", details={"key": key, "revision": revision}
            )
        return _entry(scope, entry)

    async def _write(self, scope: str, key: str, query: BlackboardQuery, expected: int | None) -> BlackboardEntry:
        value = query.value
        if not bytes(value):
            raise BadRequestError(f"{query.verb} needs a value", path="$.value", expected="any JSON")
        if len(bytes(value)) > VALUE_BYTES_MAX:
            details = {"limit_bytes": VALUE_BYTES_MAX, "size_bytes": len(bytes(value))}
            raise TaskError(ErrorKind.TOO_LARGE, f"a value has at most {VALUE_BYTES_MAX} bytes", details=details)
        stored = StoredValue(value=value, author=query.author or scope, at_unix_ms=unix_ms())
        revision = await keyvalue.put(
            self._requests,
            subjects.BLACKBOARD_BUCKET,
            f"{scope}.{key}",
            encode_value(stored),
            expected_revision=expected,
            ttl_s=query.ttl_s,
        )
        if revision is None:
            raise _written_meanwhile(key, expected)
        return BlackboardEntry(
            key=key, value=value, revision=revision, author=stored.author, at_unix_ms=stored.at_unix_ms
        )

    async def _delete(self, scope: str, key: str, query: BlackboardQuery) -> BlackboardEntry:
        revision = await keyvalue.delete(
            self._requests, subjects.BLACKBOARD_BUCKET, f"{scope}.{key}", expected_revision=query.revision
        )
        if revision is None:
            raise _written_meanwhile(key, query.revision)
        return BlackboardEntry(key=key, value=NULL, revision=revision, deleted=True)

    async def _list(self, scope: str, pattern: str, *, after: int, deleted: bool = False) -> BlackboardEntries:
        found = await keyvalue.newest(
            self._requests, subjects.BLACKBOARD_BUCKET, f"{scope}.{pattern}", keys_max=SCANNED_MAX, after=after
        )
        entries = [entry for entry in found if deleted or not entry.deleted][:ENTRIES_MAX]
        revision = max([after, *(entry.revision for entry in entries)])
        return BlackboardEntries(entries=[_entry(scope, entry) for entry in entries], revision=revision)

    async def _watch(self, scope: str, query: BlackboardQuery) -> BlackboardEntries:
        give_up_at = time.monotonic() + query.wait_ms / 1000
        after = query.revision or 0
        while True:
            written = self._written
            found = await self._list(scope, query.pattern, after=after, deleted=True)
            left_s = give_up_at - time.monotonic()
            if found.entries or left_s <= 0:
                return found
            waiting = asyncio.ensure_future(written.wait())
            await asyncio.wait([waiting], timeout=min(left_s, LOOK_EVERY_S))
            waiting.cancel()


def _key(query: BlackboardQuery) -> str:
    if query.key is None:
        raise BadRequestError(f"{query.verb} needs a key", path="$.key", expected="words with dots between")
    return query.key


def _entry(scope: str, entry: keyvalue.Entry) -> BlackboardEntry:
    key = entry.key[len(scope) + 1 :]
    if entry.deleted:
        return BlackboardEntry(key=key, value=NULL, revision=entry.revision, deleted=True)
    stored = decode_value(entry.body)
    return BlackboardEntry(
        key=key, value=stored.value, revision=entry.revision, author=stored.author, at_unix_ms=stored.at_unix_ms
    )


def _written_meanwhile(key: str, expected: int | None) -> TaskError:
    return TaskError(
        ErrorKind.CONFLICT,
        f"{key} is not at revision {expected} any more; get it, merge, and update again",
        details={"key": key, "expected_revision": expected},
    )
