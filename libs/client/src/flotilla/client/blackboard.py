"""The blackboard: values that every member of the fleet and every caller of a scope can read, change and watch."""

import asyncio
import random
from collections.abc import AsyncGenerator, Callable
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Struct

from flotilla.client.api_calls import API_TIMEOUT_S, ApiCalls
from flotilla.client.errors import NoFleetError
from flotilla.contracts.blackboard import (
    VALUE_BYTES_MAX,
    BlackboardEntries,
    BlackboardEntry,
    BlackboardQuery,
    as_data,
)
from flotilla.contracts.errors import BadRequestError, TaskError
from flotilla.contracts.failures import ErrorKind

MERGE_TRIES_MAX: Final = 32
MERGE_PAUSE_S_MAX: Final = 0.25
WATCH_POLL_MS: Final = 20_000
WATCH_PATIENCE_S: Final = 60.0
WATCH_RETRY_S: Final = 0.2
_VERB: Final = "blackboard"

ReplyT = TypeVar("ReplyT", BlackboardEntry, BlackboardEntries)


class Entry(Struct, frozen=True, kw_only=True):
    """
    One value of a key.

    Attributes:
        value: JSON as Python data; None when `deleted`.
        revision: Of two values of a key the newer has the greater one; give it to `update`.
        at_unix_ms: When it was written, by an orchestrator's clock.
        expires_unix_ms: When it goes by itself; 0 for never.
    """

    key: str
    value: Any
    revision: int
    author: str = ""
    at_unix_ms: int = 0
    expires_unix_ms: int = 0
    deleted: bool = False


class Blackboard:
    """
    The blackboard of the caller's scope, `fleet.blackboard`.

        await fleet.blackboard.set("agents.planner.state", {"step": 3}, ttl_s=60)
        async for entry in fleet.blackboard.watch("agents.*.state"):
            print(entry.key, entry.value)

    Keys are words of `A-Za-z0-9_=/-` with dots between, at most 256 characters; patterns use `*` for one word and `>` for
    the rest. A value is any JSON up to 1 MiB. Everything here raises `NoFleetError` when nobody answers, and `TaskError`
    `bad_request` for a key or pattern that is none.
    """

    def __init__(self, api_calls: ApiCalls) -> None:
        self._api_calls = api_calls

    async def get(self, key: str) -> Entry | None:
        """The newest value of a key; None when it has none, was deleted, or has expired."""
        return (await self._get(key))[0]

    async def set(self, key: str, value: Any, *, ttl_s: int | None = None, author: str = "") -> Entry:
        """
        Write a value whatever was there.

        Args:
            key: Where.
            value: Anything that JSON can say.
            ttl_s: Whole seconds, at most 30 days, after which the entry and the history of its key go by themselves.
            author: Who writes, at most 128 characters; the scope unless given.

        Raises:
            TaskError: `too_large`.
        """
        return await self._write(key, value, revision=None, ttl_s=ttl_s, author=author)

    async def update(self, key: str, value: Any, *, revision: int, ttl_s: int | None = None, author: str = "") -> Entry:
        """
        Write a value only if `revision` is still the newest of its key; 0 only if the key has no value.

        Raises:
            TaskError: `conflict`: somebody wrote meanwhile; `too_large`.
        """
        return await self._write(key, value, revision=revision, ttl_s=ttl_s, author=author)

    async def merge(
        self,
        key: str,
        change: Callable[[Any], Any],
        *,
        tries_max: int = MERGE_TRIES_MAX,
        ttl_s: int | None = None,
        author: str = "",
    ) -> Entry:
        """
        Change a value without losing what others write: read, change, `update`, and again when somebody was faster.

            await fleet.blackboard.merge("votes", lambda votes: (votes or 0) + 1)

        Args:
            key: Where.
            change: Gives the new value for the present one (None when there is none). Called once per try, so it must
                have no other effect.
            tries_max: How often, at most.
            ttl_s: As for `set`.
            author: As for `set`.

        Raises:
            TaskError: `conflict`: somebody was faster every time; `too_large`.
        """
        tries = 0
        while True:
            entry, revision = await self._get(key)
            value = change(None if entry is None else entry.value)
            tries += 1
            try:
                return await self.update(key, value, revision=revision, ttl_s=ttl_s, author=author)
            except TaskError as error:
                if error.kind is not ErrorKind.CONFLICT or tries >= tries_max:
                    raise
            # Spread out over a time that grows, so that any number of writers come through one after the other.
            await asyncio.sleep(random.uniform(0, min(MERGE_PAUSE_S_MAX, 0.005 * 2 ** min(tries, 10))))

    async def delete(self, key: str, *, revision: int | None = None) -> Entry:
        """
        Delete a key; its history stays. With `revision`, only if this is still its newest.

        Raises:
            TaskError: `conflict`.
        """
        return _entry(await self._ask(BlackboardQuery(verb="delete", key=key, revision=revision), BlackboardEntry))

    async def list(self, pattern: str = ">") -> "list[Entry]":
        """The newest values of the keys that match, by key; all of them, however many requests that takes."""
        found: list[Entry] = []
        more = True
        while more:
            entries, more = await self.page(pattern, after=found[-1].key if found else None)
            found += entries
        return found

    async def page(self, pattern: str = ">", *, after: str | None = None) -> "tuple[list[Entry], bool]":
        """The first thousand of them behind the key `after`, or fewer of great values; and whether there are more."""
        query = BlackboardQuery(verb="list", pattern=pattern, after=after)
        answer = await self._ask(query, BlackboardEntries)
        return [_entry(entry) for entry in answer.entries], answer.more

    async def history(self, key: str) -> "list[Entry]":
        """The values of a key that the fleet still has (the last ten, at most 4 MiB), oldest first."""
        page = await self._ask(BlackboardQuery(verb="history", key=key), BlackboardEntries)
        return [_entry(entry) for entry in page.entries]

    async def watch(self, pattern: str = ">", *, after: int | None = None) -> AsyncGenerator[Entry]:
        """
        The values of the keys that match, as they are now, then each change, deletions and expiries among them.

        Of writes that follow each other quickly only the newest of a key may be seen; the last one always is. Goes on
        through restarts of orchestrators and server. Use `contextlib.aclosing` when you leave the loop early.

        Args:
            pattern: Which keys.
            after: Only what was written after this revision: to go on where an earlier watch stopped.

        Raises:
            NoFleetError: Nobody has answered for a minute, or nobody answered the first time.
        """
        revision = after or 0
        query = BlackboardQuery(verb="watch", pattern=pattern, revision=revision, wait_ms=0)
        page = await self._ask(query, BlackboardEntries)
        while True:
            for entry in page.entries:
                yield _entry(entry)
            revision = max(revision, page.revision)
            page = await self._patiently(msgspec.structs.replace(query, revision=revision, wait_ms=WATCH_POLL_MS))

    async def _patiently(self, query: BlackboardQuery) -> BlackboardEntries:
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + WATCH_PATIENCE_S
        while True:
            try:
                timeout_s = query.wait_ms / 1000 + API_TIMEOUT_S
                return await self._ask(query, BlackboardEntries, timeout_s=timeout_s)
            except NoFleetError:
                if loop.time() >= give_up_at:
                    raise
            except TaskError as error:
                # An orchestrator that was stopped, or cannot reach the stores at the moment: another one answers.
                if not error.kind.retryable or loop.time() >= give_up_at:
                    raise
            await asyncio.sleep(WATCH_RETRY_S)

    async def _get(self, key: str) -> tuple[Entry | None, int]:
        """The entry, and the revision that `update` wants: a deleted key has one too."""
        try:
            entry = _entry(await self._ask(BlackboardQuery(verb="get", key=key), BlackboardEntry))
        except TaskError as error:
            if error.kind is not ErrorKind.NOT_FOUND:
                raise
            return None, int(error.details.get("revision", 0))
        return entry, entry.revision

    async def _write(self, key: str, value: Any, *, revision: int | None, ttl_s: int | None, author: str) -> Entry:
        try:
            body = msgspec.json.encode(value)
        except (TypeError, ValueError, msgspec.MsgspecError, RecursionError) as error:
            raise BadRequestError("the value cannot be said in JSON", path="value", expected="any JSON") from error
        if len(body) > VALUE_BYTES_MAX:
            details = {"limit_bytes": VALUE_BYTES_MAX, "size_bytes": len(body)}
            raise TaskError(ErrorKind.TOO_LARGE, f"a value has at most {VALUE_BYTES_MAX} bytes", details=details)
        query = BlackboardQuery(
            verb="set" if revision is None else "update",
            key=key,
            value=msgspec.Raw(body),
            revision=revision,
            ttl_s=ttl_s,
            author=author,
        )
        return _entry(await self._ask(query, BlackboardEntry))

    async def _ask(self, query: BlackboardQuery, kind: type[ReplyT], *, timeout_s: float = API_TIMEOUT_S) -> ReplyT:
        return await self._api_calls.ask(_VERB, query, kind, timeout_s=timeout_s)


def _entry(entry: BlackboardEntry) -> Entry:
    return Entry(
        key=entry.key,
        value=as_data(entry),
        revision=entry.revision,
        author=entry.author,
        at_unix_ms=entry.at_unix_ms,
        expires_unix_ms=entry.expires_unix_ms,
        deleted=entry.deleted,
    )
