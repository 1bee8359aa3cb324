"""
How the routes did where the portal did not see it: before it began, or while it was cut off.

Put together from the events that the streams still hold. They tell how many attempts ended on a route, how, and how long
these took; what a task cost in all stands with the route that answered. Of tokens they tell nothing.
"""

import asyncio
from collections.abc import Iterable
from typing import Final

from flotilla.contracts.errors import DecodeFailedError
from flotilla.contracts.failures import FailureKind
from flotilla.contracts.histogram import bucket_of
from flotilla.contracts.results import Event, decode_event
from flotilla.contracts.stats import EMPTY_SUB_WINDOW, NANO_USD, RouteKey, SubWindow, merge_sub_windows
from flotilla.fabric.stored import StoredMessage
from portal.live.history import Windows, step_of

AT_A_TIME: Final = 500
"""Some milliseconds' work: then others have their turn."""
_SLOW_FAILURES: Final = (FailureKind.TIMEOUT.value, FailureKind.LOST.value)
"""How long these took counts, as it does where a route is seen itself."""


class PastRoutes:
    """
    What the events of a while tell of routes.

    Attributes:
        windows: The attempts that ended in each step, by route and the time at which the step ended.
    """

    def __init__(self) -> None:
        self._dispatched_unix_ms: Final[dict[tuple[str, RouteKey, str], int]] = {}
        self.windows: Final[Windows] = {}

    async def read(self, messages: Iterable[StoredMessage]) -> None:
        """Take the events of a stream, in the order in which it holds them; what is no event is passed over."""
        for number, message in enumerate(messages):
            if number % AT_A_TIME == 0:
                await asyncio.sleep(0)
            try:
                event = decode_event(message.body)
            except DecodeFailedError:
                continue
            self.take(event)

    def take(self, event: Event) -> None:
        """Take the next event."""
        if not event.pool:
            return  # what no pool answered is a run, or came from the cache
        route = RouteKey(event.pool, event.model, event.capability)
        attempt = event.task, route, event.replica
        if event.kind == "dispatched":
            self._dispatched_unix_ms[attempt] = event.at_unix_ms
            return
        began_unix_ms = self._dispatched_unix_ms.pop(attempt, None)
        if event.kind == "finished":
            # Its own latency is the task's, with the wait for a slot and the attempts that failed before.
            latency = {} if began_unix_ms is None else {bucket_of(event.at_unix_ms - began_unix_ms): 1}
            ended = SubWindow(ok=1, latency=latency, cost_nano_usd=round((event.cost_usd or 0.0) * NANO_USD))
        elif event.kind == "attempt_failed":
            latency = {bucket_of(event.latency_ms): 1} if event.error in _SLOW_FAILURES else {}
            ended = SubWindow(failures={event.error: 1}, latency=latency)
        else:
            return
        steps = self.windows.setdefault(route, {})
        step = step_of(event.at_unix_ms // 1000)
        steps[step] = merge_sub_windows(steps.get(step, EMPTY_SUB_WINDOW), ended)
