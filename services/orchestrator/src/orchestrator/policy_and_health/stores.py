"""
Streams and buckets that vanish are made again.

Somebody deletes one, or a server comes back with an empty disk. Every orchestrator looks once in LOOK_EVERY_S, and after
each reconnect, whether the server still has all of them; whoever finds that one is missing makes it again, and until
then is not ready. What stood in it is lost, but for what orchestrators know: the policy bucket is written again.
"""

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final

import msgspec
import structlog

from flotilla.contracts import subjects
from flotilla.contracts.clock import unix_ms
from flotilla.fabric import keyvalue
from flotilla.fabric.connection import Connection
from flotilla.fabric.inbox import Requests
from flotilla.fabric.kv_cache import KvCache
from flotilla.fabric.per_item import guarded
from flotilla.provisioning.stream_config import StreamConfig
from flotilla.provisioning.streams import ensure, stream_names
from flotilla.provisioning.topology import TopologyLimits, topology
from orchestrator.policy_and_health.policy_documents import POLICY_KEY

logger = structlog.get_logger("orchestrator")

LOOK_EVERY_S: Final = 2.0
JITTER_S: Final = 0.5
MAKE_PATIENCE_S: Final = 5.0
LIST_TIMEOUT_S: Final = 30.0
LOST: Final = "what stood in them is lost; find out who deleted them, or whether the server's disk is the one it had"


class Stores:
    """
    Looks after the streams and buckets of the scopes.

    Attributes:
        complete: Whether all were there when last looked at; a readiness probe follows it.
    """

    def __init__(
        self,
        connection: Connection,
        requests: Requests,
        *,
        scopes: Sequence[str],
        limits: TopologyLimits,
        policy_in_force: Callable[[], bytes | None],
        on_made_again: Callable[[int], None],
    ) -> None:
        """
        Look after nothing yet.

        Args:
            connection: Whose reconnects make it look at once.
            requests: The same connection's.
            scopes: Whose stores are looked after.
            limits: As the orchestrator made them at its start.
            policy_in_force: The policy as it stands in the bucket; None without one.
            on_made_again: Called with how many were missing.
        """
        self._connection = connection
        self._requests = requests
        self._wanted = topology(scopes, limits)
        self._numbered = {
            name
            for scope in scopes
            for name in (subjects.tasks_stream(scope), subjects.bucket_stream(subjects.blackboard_bucket(scope)))
        }
        self._policy_in_force = policy_in_force
        self._on_made_again = on_made_again
        self._due = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._known: Final[KvCache[bytes]] = KvCache(
            connection,
            requests,
            subjects.POLICY_BUCKET,
            decode=bytes,
            on_change=_nothing,
            verified=True,
        )
        self.complete = True

    async def start(self) -> None:
        """Know what is in the policy bucket, then look until `stop`. TimeoutError when it could not be listed."""
        await self._known.start()
        async with asyncio.timeout(LIST_TIMEOUT_S):
            await self._known.listed.wait()
        self._connection.on_reconnect(self._due.set)
        self._task = asyncio.get_running_loop().create_task(self._loop())

    async def stop(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
        await self._known.stop()

    async def _loop(self) -> None:
        while True:
            # Python 3.11's wait_for loses a cancellation that comes with the event.
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_S + random.random() * JITTER_S):
                    await self._due.wait()
            self._due.clear()
            if not self._connection.is_connected:
                continue
            with guarded("stores"):
                await self._once()

    async def _once(self) -> None:
        held = await stream_names(self._requests)
        missing = [config for config in self._wanted if config.name not in held]
        if missing:
            await self._make_again(missing)
        self.complete = True
        await self._write_again()

    async def _make_again(self, missing: Sequence[StreamConfig]) -> None:
        self.complete = False
        names = [config.name for config in missing]
        logger.error("stores_missing", streams=names, do=LOST)
        await ensure(self._requests, map(self._fresh, missing), patience_s=MAKE_PATIENCE_S)
        self._on_made_again(len(names))
        logger.error("stores_recreated", streams=names)
        self._known.look_again()
        self._due.set()

    def _fresh(self, config: StreamConfig) -> StreamConfig:
        """
        A store whose numbers callers hold (task ids, revisions) begins with one that none of them can have seen.

        Else a task that is called by its place in the stream would be given the result of an earlier one.
        """
        return msgspec.structs.replace(config, first_seq=unix_ms()) if config.name in self._numbered else config

    async def _write_again(self) -> None:
        """What vanished from the policy bucket without having been deleted there."""
        for key, body in self._vanished().items():
            with guarded("stores", key):
                revision = await keyvalue.put(self._requests, subjects.POLICY_BUCKET, key, body, expected_revision=0)
                if revision is not None:
                    logger.error("policy_bucket_rewritten", key=key, revision=revision)

    def _vanished(self) -> Mapping[str, bytes]:
        vanished = {key: self._known.values[key] for key in self._known.lost()}
        if POLICY_KEY in vanished:
            # What stood there last may be no policy, or not have been in force.
            in_force = self._policy_in_force()
            del vanished[POLICY_KEY]
            if in_force is not None:
                vanished = {POLICY_KEY: in_force, **vanished}
        return vanished


def _nothing(_key: str, _body: bytes | None) -> None:
    pass
