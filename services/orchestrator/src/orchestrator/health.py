"""Policy and stats on the blackboard: followed, published, and fed to the router, so that all orchestrators agree."""

import asyncio
from contextlib import suppress
from typing import Final

import structlog

from flotilla.contracts import subjects
from flotilla.contracts.errors import FlotillaError
from flotilla.contracts.policy import Policy, decode_policy
from flotilla.contracts.stats import STALE_AFTER_MS
from flotilla.fabric.connection import Connection
from flotilla.fabric.inbox import Requests
from flotilla.fabric.keyvalue import DELETED
from flotilla.fabric.mirror import Mirror
from orchestrator.policy_documents import POLICY_KEY
from orchestrator.routing.observation import UPDATE_INTERVAL_MS
from orchestrator.routing.router import PUBLISH_INTERVAL_MS, PolicyRouter

logger = structlog.get_logger("orchestrator")

LIST_TIMEOUT_S: Final = 30.0
PUBLISH_PAUSE_S: Final = 0.1
"""Between two rounds at least, however many providers ask to be left alone."""
REPUBLISH_EVERY: Final = 2
"""Publishing rounds after which an unchanged window is written again, so that it does not look like a dead writer's."""


class PolicyNotUnderstoodError(FlotillaError):
    """There is a policy in force that this version cannot read; routing without it could send data where it may not go."""


class HealthBoard:
    """
    Follows the policy and every orchestrator's stats, and writes this one's.

    Attributes:
        policy_revision: Of the policy in force; 0 without one. One that was not understood never is.
    """

    def __init__(self, connection: Connection, requests: Requests, router: PolicyRouter) -> None:
        self._connection = connection
        self._router = router
        self._written: dict[str, bytes] = {}
        self._round = 0
        self._publish_due = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.policy_revision = 0
        self.policy: Final[Mirror[Policy]] = Mirror(
            connection,
            requests,
            subjects.POLICY_BUCKET,
            decode=decode_policy,
            on_change=self._on_policy,
            verified=True,
        )
        # The others must leave a provider alone that asked for it, not only whoever it told.
        router.recorder.on_retry_after = self._publish_due.set
        self.stats: Final[Mirror[bytes]] = Mirror(
            connection,
            requests,
            subjects.STATS_BUCKET,
            decode=bytes,
            on_change=self._on_stats,
            expiry_s=STALE_AFTER_MS / 1000,
        )

    async def start(self) -> None:
        """
        Read the policy and the stats, then follow both.

        Raises:
            PolicyNotUnderstoodError: See there.
        """
        await self.policy.start()
        await self.stats.start()
        await asyncio.wait_for(self.policy.listed.wait(), LIST_TIMEOUT_S)
        await asyncio.wait_for(self.stats.listed.wait(), LIST_TIMEOUT_S)
        if POLICY_KEY in self.policy.undecodable:
            raise PolicyNotUnderstoodError("the policy in force is of a version that this orchestrator cannot read")
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._update_loop()), loop.create_task(self._publish_loop())]

    async def stop(self) -> None:
        """Stop following. What this orchestrator has seen stays true until it is too old to matter."""
        for task in self._tasks:
            task.cancel()
        await self.policy.stop()
        await self.stats.stop()

    def _on_policy(self, key: str, policy: Policy | None) -> None:
        if key == POLICY_KEY:
            self.policy_revision = self.policy.revisions.get(key, 0) if policy is not None else 0
            self._router.use(policy)
            logger.info(
                "policy_in_force",
                revision=self.policy_revision,
                capabilities=sorted(policy.capabilities) if policy else None,
            )

    def _on_stats(self, key: str, body: bytes | None) -> None:
        if not self._router.heard(key, body):
            logger.debug("stats_not_understood", key=key)

    async def _update_loop(self) -> None:
        while True:
            await asyncio.sleep(UPDATE_INTERVAL_MS / 1000)
            try:
                self._router.update()
            except Exception:
                # Without updates nothing would ever be left again: better a round that is missing than the last one.
                logger.exception("health_update_crashed")

    async def _publish_loop(self) -> None:
        while True:
            # Python 3.11's wait_for loses a cancellation that comes with the event.
            with suppress(TimeoutError):
                async with asyncio.timeout(PUBLISH_INTERVAL_MS / 1000 - PUBLISH_PAUSE_S):
                    await self._publish_due.wait()
            self._publish_due.clear()
            with suppress(Exception):  # a full output buffer while disconnected; the next round tries again
                await self._publish()
            await asyncio.sleep(PUBLISH_PAUSE_S)

    async def _publish(self) -> None:
        self._round += 1
        told = self._router.told()
        for key, (fingerprint, body) in told.items():
            if self._written.get(key) != fingerprint or self._round % REPUBLISH_EVERY == 0:
                self._written[key] = fingerprint
                await self._connection.publish(subjects.key(subjects.STATS_BUCKET, key), body)
        for key in [key for key in self._written if key not in told]:
            del self._written[key]
            await self._connection.publish(subjects.key(subjects.STATS_BUCKET, key), headers=DELETED)
