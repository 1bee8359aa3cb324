"""
Tasks that do not advance: of which no event has come for long, though an orchestrator still knows them.

Events may be lost, and whoever died told no end. So each is asked for, a few at a time: one that has ended, or that nobody
knows, is taken from those that go on.
"""

import asyncio
from typing import Final

import structlog

from flotilla.contracts.api import StatusQuery, TaskStatus
from flotilla.contracts.clock import unix_ms
from flotilla.contracts.errors import FlotillaError, TaskError
from flotilla.contracts.failures import ErrorKind
from flotilla.fabric.inbox import Requests
from portal.live.asking import ask
from portal.live.tasks import SeenTask, SeenTasks

STALLED_AFTER_S: Final = 300.0
LOOKED_EVERY_S: Final = 10.0
ASKED_MAX: Final = 8
"""In one look, the oldest first."""

logger = structlog.get_logger("portal")


class Stalled:
    """
    Looks for them now and then.

    Attributes:
        tasks: As of the last look, the longest first.
        more: How many more may be: they were not asked for.
    """

    def __init__(self, requests: Requests, tasks: SeenTasks) -> None:
        self._requests = requests
        self._seen = tasks
        self._looking: asyncio.Task[None] | None = None
        self.tasks: list[SeenTask] = []
        self.more = 0

    def start(self) -> None:
        """Look until `stop`."""
        self._looking = asyncio.get_running_loop().create_task(self._look_again())

    async def stop(self) -> None:
        """Look no more."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    async def look(self) -> None:
        """Ask for the oldest of those that may be."""
        found = self._seen.standing(unix_ms() - int(STALLED_AFTER_S * 1000))
        asked = found[:ASKED_MAX]
        stand = await asyncio.gather(*(self._stands(seen) for seen in asked))
        self.tasks = [seen for seen, does in zip(asked, stand, strict=True) if does]
        self.more = len(found) - len(asked)

    async def _look_again(self) -> None:
        while True:
            await asyncio.sleep(LOOKED_EVERY_S)
            try:
                await self.look()
            except Exception:
                logger.exception("stalled_tasks_not_found")

    async def _stands(self, seen: SeenTask) -> bool:
        try:
            status = await ask(self._requests, seen.scope, "status", StatusQuery(task=seen.task), TaskStatus)
        except TaskError as error:
            if error.kind is ErrorKind.NOT_FOUND:
                seen.end_unseen("unknown")
            return False
        except FlotillaError:
            return False  # it may be asked another time
        if status.state in ("ok", "failed"):
            seen.end_unseen(status.state)
            return False
        return not seen.has_ended
