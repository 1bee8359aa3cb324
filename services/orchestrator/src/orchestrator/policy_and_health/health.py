"""Policy and stats of the fleet: followed, published, and fed to the router, so that all orchestrators agree."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

import structlog

from flotilla.contracts import subjects
from flotilla.contracts.errors import FlotillaError, NoPolicyError, PolicyError
from flotilla.contracts.policy import decode_policy
from flotilla.contracts.stats import STALE_AFTER_MS
from flotilla.fabric import keyvalue
from flotilla.fabric.connection import Connection
from flotilla.fabric.errors import FabricError
from flotilla.fabric.inbox import Requests
from flotilla.fabric.keyvalue import DELETED, Entry
from flotilla.fabric.kv_cache import KvCache
from flotilla.fabric.per_item import guarded
from flotilla.routing.observation import UPDATE_INTERVAL_MS
from flotilla.routing.router import PUBLISH_INTERVAL_MS, PolicyRouter
from orchestrator.execution.death_notes import DeathNotes
from orchestrator.policy_and_health.policy_documents import POLICY_KEY, StoredPolicy, last_good, read_stored
from orchestrator.state.unreadable_stored import What

logger = structlog.get_logger("orchestrator")

LIST_TIMEOUT_S: Final = 30.0
PUBLISH_PAUSE_S: Final = 0.1
"""Between two rounds at least, however many providers send a Retry-After."""
TO_DO: Final = (
    "set one with `flotilla policy set`, start with a policy file (FLOTILLA_POLICY_FILE) that is new, start a version "
    "that can read it, or delete the key `routing` of the bucket `policy` to route without one"
)
REPUBLISH_EVERY: Final = 2
"""Publishing rounds after which an unchanged window is written again, so that it does not look like a dead writer's."""


class PolicyNotUnderstoodError(FlotillaError):
    """
    The policy in force cannot be read; routing without it could send data where it may not go.

    The text says what to do about it.
    """


class HealthBoard:
    """
    Follows the policy and every orchestrator's stats, and writes this one's.

    Attributes:
        on_unreadable: Called when what stands in the policy's place is none, or stats cannot be read; with its key.
    """

    def __init__(self, connection: Connection, requests: Requests, router: PolicyRouter, deaths: DeathNotes) -> None:
        self._deaths = deaths
        self._connection = connection
        self._requests = requests
        self._router = router
        self._in_force: StoredPolicy | None = None
        self._putting_back: asyncio.Task[None] | None = None
        self._written: dict[str, bytes] = {}
        self._round = 0
        self._publish_due = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.on_unreadable: Callable[[What, str], None] = _nothing
        self.policy: Final[KvCache[StoredPolicy]] = KvCache(
            connection,
            requests,
            subjects.POLICY_BUCKET,
            keys=POLICY_KEY,
            decode=read_stored,
            on_change=self._on_policy,
            verified=True,
        )
        self.policy.on_undecodable = self._on_no_policy
        # The others must leave a provider alone that asked for it, not only whoever it told.
        router.recorder.on_retry_after = self._publish_due.set
        self.stats: Final[KvCache[bytes]] = KvCache(
            connection,
            requests,
            subjects.STATS_BUCKET,
            decode=bytes,
            on_change=self._on_stats,
            expiry_s=STALE_AFTER_MS / 1000,
        )

    @property
    def body_in_force(self) -> bytes | None:
        """The policy in force as it stands in the bucket; None without one."""
        return None if self._in_force is None else self._in_force.body

    @property
    def policy_revision(self) -> int:
        """Of the policy in force; 0 without one. One that was not understood never is."""
        return self._router.policy.revision

    async def start(self) -> None:
        """
        Read the policy and the stats, then follow both.

        Raises:
            PolicyNotUnderstoodError: The policy in force has a newer format than this version can read.
        """
        await self.policy.start()
        await self.stats.start()
        async with asyncio.timeout(LIST_TIMEOUT_S):
            await self.policy.listed.wait()
        async with asyncio.timeout(LIST_TIMEOUT_S):
            await self.stats.listed.wait()
        if POLICY_KEY in self.policy.undecodable and self._in_force is None:
            await self._look_back()
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._update_loop()), loop.create_task(self._publish_loop())]

    async def stop(self) -> None:
        """Stop following. What this orchestrator has seen stays true until it is too old to matter."""
        for task in self._tasks:
            task.cancel()
        await self.policy.stop()
        await self.stats.stop()

    def _on_policy(self, key: str, stored: StoredPolicy | None) -> None:
        self._use(stored, self.policy.revisions.get(key, 0))

    def _use(self, stored: StoredPolicy | None, revision: int) -> None:
        policy = None if stored is None else stored.policy
        self._router.use(policy, revision if policy is not None else 0)
        self._in_force = stored
        logger.info(
            "policy_in_force",
            revision=self.policy_revision,
            capabilities=sorted(policy.capabilities) if policy else None,
        )

    def _on_no_policy(self, key: str, body: bytes, revision: int) -> None:
        """What was written in the policy's place is none: it does not count, and what is in force is put back."""
        logger.error("policy_not_understood", revision=revision, in_force=self.policy_revision, do=TO_DO)
        self.on_unreadable("policy", key)
        in_force = self._in_force
        if in_force is not None and _is_none(body):
            self._putting_back = asyncio.get_running_loop().create_task(self._put_back(in_force, revision))

    async def _put_back(self, stored: StoredPolicy, revision: int) -> None:
        """Write the policy in force again over what is none, lest more of that push it out of the key's history."""
        try:
            written = await keyvalue.put(
                self._requests, subjects.POLICY_BUCKET, POLICY_KEY, stored.body, expected_revision=revision
            )
        except FabricError as error:
            logger.warning("policy_not_restored", error=type(error).__name__)
        else:
            if written is not None:
                logger.warning("policy_restored", revision=written, over=revision)

    async def _look_back(self) -> None:
        """
        Find the policy that was in force before what stands in its place and is none.

        Raises:
            PolicyNotUnderstoodError: There is none that can be read.
        """
        history = await keyvalue.history(self._requests, subjects.POLICY_BUCKET, POLICY_KEY)
        good = last_good(history)
        if good is None:
            raise PolicyNotUnderstoodError(
                f"the policy in force (revision {_revision(history)}) cannot be read: {TO_DO}"
            )
        self._use(read_stored(good.body), good.revision)
        newest = history[-1]
        if self._in_force is not None and _is_none(newest.body):
            await self._put_back(self._in_force, newest.revision)

    def _on_stats(self, key: str, body: bytes | None) -> None:
        if not self._deaths.heard(key, body) and not self._router.heard(key, body) and body is not None:
            self.on_unreadable("stats", key)

    async def _update_loop(self) -> None:
        while True:
            await asyncio.sleep(UPDATE_INTERVAL_MS / 1000)
            # Without updates nothing would ever be left again: better a round that is missing than the last one.
            with guarded("stats", "update"):
                self._router.update()

    async def _publish_loop(self) -> None:
        while True:
            # Python 3.11's wait_for loses a cancellation that comes with the event.
            with suppress(TimeoutError):
                async with asyncio.timeout(PUBLISH_INTERVAL_MS / 1000 - PUBLISH_PAUSE_S):
                    await self._publish_due.wait()
            self._publish_due.clear()
            with guarded("stats", "publish"):
                await self._publish()
            await asyncio.sleep(PUBLISH_PAUSE_S)

    async def _publish(self) -> None:
        self._round += 1
        told = self._router.told()
        for key, (fingerprint, body) in told.items():
            if self._written.get(key) != fingerprint or self._round % REPUBLISH_EVERY == 0:
                with guarded("stats", key):
                    await self._connection.publish(subjects.key(subjects.STATS_BUCKET, key), body)
                    self._written[key] = fingerprint
        for key in [key for key in self._written if key not in told]:
            del self._written[key]
            with guarded("stats", key):
                await self._connection.publish(subjects.key(subjects.STATS_BUCKET, key), headers=DELETED)


def _nothing(_what: What, _key: str) -> None:
    pass


def _is_none(body: bytes) -> bool:
    """Whether nobody meant this as a policy: one that another version has written is not to be written over."""
    try:
        decode_policy(body)
    except NoPolicyError:
        return True
    except PolicyError:
        pass
    return False


def _revision(history: Sequence[Entry]) -> int:
    return history[-1].revision if history else 0
