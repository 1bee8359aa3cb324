"""The room on the blackboards: a scope that has filled its own is told so, and can still delete."""

import time
from typing import Final

from msgspec import structs

from flotilla.contracts import subjects
from flotilla.contracts.errors import TaskError
from flotilla.contracts.failures import ErrorKind
from flotilla.fabric import keyvalue
from flotilla.fabric.inbox import Requests
from flotilla.fabric.stream_usage import StreamUsage

KEPT_FOR_DELETIONS: Final = 16
"""One part in so many: a deletion is a write too, which a bucket that is quite full would refuse."""
LOOK_AGAIN_S: Final = 1.0
ENTRY_BYTES: Final = 512
"""More than the server adds to a value: its subject, headers and record."""


class BlackboardRoom:
    """How full the scopes' buckets are, as they were at most LOOK_AGAIN_S ago, and what was written here since."""

    def __init__(self, requests: Requests) -> None:
        self._requests = requests
        self._seen: dict[str, tuple[float, StreamUsage]] = {}

    async def check(self, scope: str, value_bytes: int) -> None:
        """
        Count a write that is about to be made.

        Raises:
            TaskError: `too_large`: there is no room for it; says what to do.
        """
        held = await self._held(scope)
        size = value_bytes + ENTRY_BYTES
        if _is_over(held.messages + 1, held.messages_max) or _is_over(held.size_bytes + size, held.size_bytes_max):
            raise full(held)
        seen_at, _ = self._seen[scope]
        held = structs.replace(held, messages=held.messages + 1, size_bytes=held.size_bytes + size)
        self._seen[scope] = (seen_at, held)

    async def is_tight(self, scope: str) -> bool:
        """Whether a deletion should free what it can: half of what there is has been taken."""
        held = await self._held(scope)
        return _is_over(2 * held.messages, held.messages_max) or _is_over(2 * held.size_bytes, held.size_bytes_max)

    def look_again(self, scope: str) -> None:
        """Forget what the bucket held: something was deleted, so the server is asked again."""
        self._seen.pop(scope, None)

    async def _held(self, scope: str) -> StreamUsage:
        now = time.monotonic()
        seen_at, held = self._seen.get(scope, (0.0, None))
        if held is None or now - seen_at >= LOOK_AGAIN_S:
            held = await keyvalue.room(self._requests, subjects.blackboard_bucket(scope))
            self._seen[scope] = (now, held)
        return held


def full(held: StreamUsage | None = None) -> TaskError:
    """The refusal of a value that there is no room for."""
    details = {}
    if held is not None:
        details = {
            "values": held.messages,
            "values_max": held.messages_max,
            "size_bytes": held.size_bytes,
            "limit_bytes": held.size_bytes_max,
        }
    text = "the scope's blackboard is full: delete keys, write with ttl_s, or have its bounds raised"
    return TaskError(ErrorKind.TOO_LARGE, text, details=details)


def _is_over(amount: int, bound: int) -> bool:
    return 0 < bound - bound // KEPT_FOR_DELETIONS < amount
