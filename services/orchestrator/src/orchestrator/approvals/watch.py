"""
What waits for approvals, known without asking: for metrics, for lists, and so that no decision is left lying.

Every few seconds what was written to the buckets since is read. A decision whose task was not woken, because whoever took it
died in between, is found here, and its task is woken.
"""

import asyncio
import random
import time
from typing import Final

from msgspec import Struct

from flotilla.contracts import subjects
from flotilla.contracts.approval_requests import decode_record
from flotilla.contracts.clock import unix_ms
from flotilla.contracts.errors import DecodeFailedError
from flotilla.fabric import keyvalue
from flotilla.fabric.inbox import Requests
from flotilla.fabric.per_item import guarded
from orchestrator.approvals.suspensions import Suspensions

EVERY_S: Final = 5.0
JITTER_S: Final = 1.0
WRITES_MAX: Final = 1_000
BYTES_MAX: Final = 4 * 1024 * 1024
WOKEN_AFTER_S: Final = 10.0
"""A decision that is older and not acted on has its task woken; once, since what is due stays in its stream until it is."""
WOKEN_AT_ONCE_MAX: Final = 100


class Waiting(Struct, frozen=True):
    """One request that nobody has decided."""

    created_unix_ms: int
    expires_unix_ms: int
    task: str


class ScopeApprovals:
    """
    What is known of one scope's requests.

    Attributes:
        waiting: Those that nobody has decided, by id.
        decided: The tasks of those that are decided and not acted on: when that was seen, by id.
        reading: Held while writes are read: an older one must not be taken in after a newer.
    """

    def __init__(self) -> None:
        self.reading: Final = asyncio.Lock()
        self.waiting: Final[dict[str, Waiting]] = {}
        self.decided: Final[dict[str, tuple[str, float]]] = {}
        self.revision = 0

    def see(self, entry: keyvalue.Entry, now: float) -> None:
        """Take the newest value of a request in."""
        self.waiting.pop(entry.key, None)
        before = self.decided.pop(entry.key, None)
        if entry.deleted:
            return
        try:
            record = decode_record(entry.body)
        except DecodeFailedError:
            return
        if record.status == "pending":
            waiting = Waiting(record.created_unix_ms, record.expires_unix_ms, record.gated.task)
            self.waiting[entry.key] = waiting
        elif record.status in ("granted", "denied"):
            self.decided[entry.key] = before or (record.gated.task, now)


class ApprovalsWatch:
    """Follows the requests of all scopes."""

    def __init__(self, requests: Requests, suspensions: Suspensions, scopes: tuple[str, ...]) -> None:
        self._requests = requests
        self._suspensions = suspensions
        self._of = {scope: ScopeApprovals() for scope in scopes}
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Follow until `stop`."""
        self._task = asyncio.get_running_loop().create_task(self._loop())

    async def stop(self) -> None:
        """Follow no more."""
        if self._task is not None:
            self._task.cancel()

    def counts(self) -> dict[str, int]:
        """How many requests of each scope wait."""
        now_ms = unix_ms()
        return {
            scope: sum(each.expires_unix_ms > now_ms for each in of.waiting.values()) for scope, of in self._of.items()
        }

    def oldest_s(self) -> dict[str, float]:
        """How long the oldest of each scope has waited; 0 where none does."""
        now_ms = unix_ms()
        return {
            scope: max(
                (
                    (now_ms - each.created_unix_ms) / 1000
                    for each in of.waiting.values()
                    if each.expires_unix_ms > now_ms
                ),
                default=0.0,
            )
            for scope, of in self._of.items()
        }

    async def pending(self, scope: str, task: str | None = None) -> list[str]:
        """
        The ids of the requests of a scope that wait now, the oldest first.

        Raises:
            FabricError: The server cannot be asked.
        """
        of = self._of[scope]
        await self._read(scope, of)
        now_ms = unix_ms()
        found = [
            (each.created_unix_ms, request)
            for request, each in of.waiting.items()
            if each.expires_unix_ms > now_ms and task in (None, each.task)
        ]
        return [request for _, request in sorted(found)]

    async def _loop(self) -> None:
        while True:
            for scope, of in self._of.items():
                with guarded("approvals", scope):
                    await self._read(scope, of)
                    await self._wake_left(scope, of)
            await asyncio.sleep(EVERY_S + random.random() * JITTER_S)

    async def _read(self, scope: str, of: ScopeApprovals) -> None:
        async with of.reading:
            await self._read_on(scope, of)

    async def _read_on(self, scope: str, of: ScopeApprovals) -> None:
        bucket = subjects.approvals_bucket(scope)
        last = await keyvalue.last_revision(self._requests, bucket)
        if last < of.revision:
            # The bucket vanished and was made again.
            of.revision = 0
            of.waiting.clear()
            of.decided.clear()
        more = last > of.revision
        # What was decided before this orchestrator looked for the first time has waited long enough.
        seen = time.monotonic() - (WOKEN_AFTER_S if of.revision == 0 else 0.0)
        while more:
            found = await keyvalue.written(
                self._requests, bucket, "*", after=of.revision, writes_max=WRITES_MAX, bytes_max=BYTES_MAX
            )
            for entry in found.entries:
                of.see(entry, seen)
            more, of.revision = found.more, found.revision

    async def _wake_left(self, scope: str, of: ScopeApprovals) -> None:
        now = time.monotonic()
        left = [(request, task) for request, (task, seen) in of.decided.items() if now - seen >= WOKEN_AFTER_S]
        for request, task in left[:WOKEN_AT_ONCE_MAX]:
            await self._suspensions.wake(scope, task)
            # Its message is due now, or it is in somebody's hands, who comes to the decision: nothing is left to be done.
            of.decided.pop(request, None)
