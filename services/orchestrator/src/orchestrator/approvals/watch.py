"""
What waits for approvals, known without asking: for metrics, for lists, and so that no decision is left lying.

Every few seconds what was written to the buckets since is read. A decision whose task was not woken, because whoever took it
died in between, is found here, and its task is woken.
"""

import asyncio
import random
import time
from typing import Final

from flotilla.contracts import subjects
from flotilla.contracts.clock import unix_ms
from flotilla.fabric import keyvalue
from flotilla.fabric.inbox import Requests
from flotilla.fabric.per_item import guarded
from orchestrator.approvals.known_requests import KnownRequests
from orchestrator.approvals.suspensions import Suspensions

EVERY_S: Final = 5.0
JITTER_S: Final = 1.0
WRITES_MAX: Final = 1_000
BYTES_MAX: Final = 4 * 1024 * 1024


class ApprovalsWatch:
    """Follows the requests of all scopes."""

    def __init__(self, requests: Requests, suspensions: Suspensions, scopes: tuple[str, ...]) -> None:
        self._requests = requests
        self._suspensions = suspensions
        self._of = {scope: KnownRequests() for scope in scopes}
        # Held while writes are read: an older one must not be taken in after a newer.
        self._reading = {scope: asyncio.Lock() for scope in scopes}
        # How often a read was asked for, and up to which of these the last one was late enough.
        self._asked = dict.fromkeys(scopes, 0)
        self._answered = dict.fromkeys(scopes, 0)
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
        return {scope: known.count(now_ms) for scope, known in self._of.items()}

    def oldest_s(self) -> dict[str, float]:
        """How long the oldest of each scope has waited; 0 where none does."""
        now_ms = unix_ms()
        return {scope: known.oldest_s(now_ms) for scope, known in self._of.items()}

    def standing(self, scope: str) -> tuple[int, float]:
        """How many requests of a scope wait, and for how many seconds the oldest of them has."""
        now_ms, known = unix_ms(), self._of[scope]
        return known.count(now_ms), known.oldest_s(now_ms)

    async def pending(self, scope: str, task: str | None = None) -> list[str]:
        """
        The ids of the requests of a scope that wait now, the oldest first.

        Raises:
            FabricError: The server cannot be asked.
        """
        await self._read(scope)
        return self._of[scope].pending(unix_ms(), task)

    async def _loop(self) -> None:
        while True:
            for scope in self._of:
                with guarded("approvals", scope):
                    await self._read(scope)
                    await self._wake_left(scope)
            await asyncio.sleep(EVERY_S + random.random() * JITTER_S)

    async def _read(self, scope: str) -> None:
        """
        Read what was written before this call.

        The server looks at every key of the bucket for a read, and every gated task that ends wants one: all that wait for
        their turn share the next.
        """
        self._asked[scope] = mine = self._asked[scope] + 1
        async with self._reading[scope]:
            if self._answered[scope] >= mine:
                return
            asked = self._asked[scope]
            await self._read_on(subjects.approvals_bucket(scope), self._of[scope])
            self._answered[scope] = asked

    async def _read_on(self, bucket: str, known: KnownRequests) -> None:
        last = await keyvalue.last_revision(self._requests, bucket)
        if last < known.revision:
            known.forget()
        more = last > known.revision
        decided_s = known.decided_s(time.monotonic())
        while more:
            found = await keyvalue.written(
                self._requests, bucket, "*", after=known.revision, writes_max=WRITES_MAX, bytes_max=BYTES_MAX
            )
            known.see(found.entries, found.revision, decided_s)
            more = found.more

    async def _wake_left(self, scope: str) -> None:
        known = self._of[scope]
        for request, task in known.to_be_woken(time.monotonic()):
            await self._suspensions.wake(scope, task)
            known.woken(request)
