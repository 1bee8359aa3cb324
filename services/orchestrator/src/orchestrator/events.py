"""Events of tasks: published without waiting, for dashboards. The truth is in TASKS, RESULTS and DEAD."""

import asyncio
from typing import Final

import msgspec
import structlog

from flotilla.contracts import subjects
from flotilla.contracts.results import Event
from flotilla.contracts.subjects import EventKind
from flotilla.fabric.connection import Connection
from flotilla.fabric.eager import start
from orchestrator.intake import unix_ms
from orchestrator.routing.types import Route
from orchestrator.tasks import Task

logger = structlog.get_logger("orchestrator")

UNSENT_MAX: Final = 50_000

_encode: Final = msgspec.json.Encoder().encode


class Events:
    """
    Publishes the steps of tasks, in their order.

    They are sent a turn of the event loop after they were told, so that what a caller or a worker waits for goes first.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._unsent: list[tuple[str, Event]] = []
        self._loop = asyncio.get_running_loop()
        self._sending: asyncio.Task[None] | None = None
        self._due = False

    def tell(
        self,
        task: Task,
        kind: EventKind,
        *,
        route: Route | None = None,
        replica: str = "",
        error: str = "",
        latency_ms: float = 0.0,
        cost_usd: float = 0.0,
    ) -> None:
        """Publish one event; it is never waited for, and a lost one loses nothing else."""
        event = Event(
            task=task.id,
            capability=task.capability,
            kind=kind,
            at_unix_ms=unix_ms(),
            pool=route.pool if route else "",
            model=route.model if route else "",
            replica=replica,
            error=error,
            latency_ms=latency_ms,
            cost_usd=cost_usd,
            labels=task.options.labels,
        )
        if len(self._unsent) >= UNSENT_MAX:
            return
        self._unsent.append((task.scope, event))
        if not self._due:
            self._due = True
            self._loop.call_soon(self._send_soon)

    async def flush(self) -> None:
        """Send what was told; at the end of the service."""
        self._send_soon()
        if self._sending is not None:
            await self._sending

    def _send_soon(self) -> None:
        self._due = False
        if self._sending is None or self._sending.done():
            self._sending = start(self._send())

    async def _send(self) -> None:
        while self._unsent:
            unsent, self._unsent = self._unsent, []
            for scope, event in unsent:
                subject = subjects.events(scope, event.capability, event.task, event.kind)
                try:
                    await self._connection.publish(subject, _encode(event))
                except Exception as failed:  # noqa: BLE001  (closed, or full while disconnected: events may be lost)
                    logger.debug("event_lost", error=type(failed).__name__)
