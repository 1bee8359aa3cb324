"""Telling callers who want to know it that their ask has been taken, where its answer takes longer than a moment."""

import asyncio
from itertools import takewhile
from typing import Final

import structlog

from orchestrator.ways_in.replies import Replies

logger = structlog.get_logger("orchestrator")

TOLD_AFTER_S: Final = 0.15
LOOK_EVERY_S: Final = 0.1


class Acceptances:
    """
    One loop for all asks, so that those that are answered at once, which are most, cost a dictionary entry. It stands
    still while there are none.

    An orchestrator that is frozen says nothing: the caller then asks another one.
    """

    def __init__(self, replies: Replies) -> None:
        self._replies = replies
        self._loop = asyncio.get_running_loop()
        self._untold: Final[dict[str, tuple[float, str]]] = {}
        self._taken: Final = asyncio.Event()
        self._telling: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to tell callers that their asks were taken."""
        self._telling = self._loop.create_task(self._tell())

    def stop(self) -> None:
        """Tell nobody any more."""
        if self._telling is not None:
            self._telling.cancel()

    def expect(self, reply: str, task_id: str) -> None:
        """A task was taken whose caller wants to know."""
        self._untold[reply] = (self._loop.time() + TOLD_AFTER_S, task_id)
        self._taken.set()

    def over(self, reply: str) -> None:
        """It has its answer."""
        self._untold.pop(reply, None)

    async def _tell(self) -> None:
        while True:
            if not self._untold:
                self._taken.clear()
                await self._taken.wait()
            await asyncio.sleep(LOOK_EVERY_S)
            for reply, task_id in self._due(self._loop.time()):
                self._untold.pop(reply, None)
                try:
                    await self._replies.accepted(reply, task_id)
                except Exception as error:  # noqa: BLE001  (a full output buffer while disconnected: its caller asks again)
                    logger.warning("acceptance_not_sent", task=task_id, error=type(error).__name__)

    def _due(self, now: float) -> list[tuple[str, str]]:
        """They stand in the order in which they were taken."""
        taken = takewhile(lambda each: each[1][0] <= now, self._untold.items())
        return [(reply, task_id) for reply, (_, task_id) in taken]
