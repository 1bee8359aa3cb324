"""
The ids of tasks that were refused, which nats-server would remember for as long as those of all others.

It keeps the `Nats-Msg-Id` of each message in memory until the stream's duplicate window has passed, of up to 64 KiB, and
whatever became of the message; no setting bounds that. So whoever refuses tasks counts what their headers come to. When it
is much, the window is made short for a moment, and the server forgets the ids of that scope: a task of it that is
submitted again under the same id is a new one then. Of an orchestrator that is killed in that moment the window stays short
until another one starts, which sets it (`streams.ensure`).
"""

import asyncio
from typing import Final

import structlog

from flotilla.contracts import subjects
from flotilla.fabric.deliveries import Delivery
from flotilla.fabric.inbox import Requests
from flotilla.fabric.per_item import guarded
from flotilla.fabric.stored import StoredMessage
from flotilla.provisioning.streams import set_duplicate_window
from flotilla.provisioning.topology import DUPLICATE_WINDOW_S

logger = structlog.get_logger("orchestrator")

REFUSED_BYTES_MAX: Final = 8 * 1024 * 1024
"""Of each scope's headers, before its ids are forgotten: 80,000 refused tasks with headers of ordinary length."""
SHORT_WINDOWS_S: Final = (0.1, 0.2)
"""
Two, one after the other: the server may begin to forget before it has the new window in hand, and then goes by the one before
(nats-server 2.15, `stream.update`).
"""
FORGETS_S: Final = 2.0
"""How long the short window stays: the server forgets within it what came before, also when it is busy."""
PATIENCE_S: Final = 5.0
RESTORE_PATIENCE_S: Final = 30.0
"""A server that is away just then must not leave the window short."""


class RefusedIds:
    """Counts them for one orchestrator, and has the server forget them."""

    def __init__(self, requests: Requests) -> None:
        self._requests = requests
        self._bytes: dict[str, int] = {}
        self._forgetting: dict[str, asyncio.Task[None]] = {}

    def refused(self, scope: str, message: Delivery | StoredMessage) -> None:
        """A message of the scope's task stream was refused, and is over."""
        size_bytes = self._bytes.get(scope, 0) + len(message.raw_headers or b"")
        self._bytes[scope] = size_bytes
        if size_bytes < REFUSED_BYTES_MAX or scope in self._forgetting:
            return
        self._bytes[scope] = 0
        forgetting = asyncio.get_running_loop().create_task(self._forget(scope))
        self._forgetting[scope] = forgetting
        forgetting.add_done_callback(lambda _: self._forgetting.pop(scope))

    async def finish(self) -> None:
        """Await that no window is short any more."""
        await asyncio.gather(*self._forgetting.values())

    async def _forget(self, scope: str) -> None:
        stream = subjects.tasks_stream(scope)
        with guarded("background", scope):
            try:
                for window_s in SHORT_WINDOWS_S:
                    await set_duplicate_window(self._requests, stream, window_s, patience_s=PATIENCE_S)
                await asyncio.sleep(FORGETS_S)
            finally:
                await set_duplicate_window(self._requests, stream, DUPLICATE_WINDOW_S, patience_s=RESTORE_PATIENCE_S)
            logger.warning("task_ids_forgotten", scope=scope, refused_bytes=REFUSED_BYTES_MAX)
