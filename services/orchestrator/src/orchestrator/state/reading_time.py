"""
How much of this process's time what a scope sends may take to be read.

Messages are read one after the other, for all scopes. One of 8 MiB takes some 30 ms, and more than a second where it is
lists in lists; whoever sends these without a pause would have nobody else's read.
"""

import time
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from flotilla.contracts.errors import TaskError
from flotilla.contracts.failures import ErrorKind

SHARE: Final = 0.25
"""Of the process's time, for one scope and one way in, while other scopes send too."""
ALONE_AFTER_S: Final = 10.0
"""Without a message of any other scope for so long, a scope takes nothing from anybody."""
AHEAD_MAX_S: Final = 1.0
"""What a scope may take beyond its share: more than what honest callers send in one go."""
COUNTED_BYTES_MIN: Final = 4 * 1024
"""Smaller messages take no time that is worth measuring; their number is bounded elsewhere (`backpressure.py`)."""
BYTES_PER_S: Final = 256 * 1024 * 1024
"""For reading a message from the socket, its digest, and handing it on: 8 MiB take some 30 ms, whatever they hold."""

T = TypeVar("T")


class ReadingTime:
    """
    Counts it by scope; a scope that is too far ahead of its share is held off until half of that has passed.

    A scope is never held off while no other sends anything: what nobody else wants is not kept from it.
    """

    def __init__(self, scopes: Sequence[str], clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # By scope: seconds ahead of its share, and when that was so.
        self._ahead = {scope: (0.0, clock()) for scope in scopes} if len(scopes) > 1 else {}
        self._until: dict[str, float] = {}
        self._heard: dict[str, float] = {}

    def held_off_s(self, scope: str) -> float:
        """For how long nothing of the scope is to be read; 0 if it may be."""
        if not self._until or scope not in self._until:
            return 0.0
        left_s = self._until[scope] - self._clock()
        if left_s > 0.0:
            return left_s
        del self._until[scope]
        return 0.0

    def arrived(self, scope: str, size_bytes: int) -> None:
        """A message was received, whatever becomes of it."""
        if self._ahead:
            self._heard[scope] = self._clock()
        if size_bytes >= COUNTED_BYTES_MIN:
            self._add(scope, size_bytes / BYTES_PER_S)

    def measured(self, scope: str, size_bytes: int, read: Callable[[], T]) -> T:
        """Give what `read` gives, and count the CPU time that it takes."""
        if size_bytes < COUNTED_BYTES_MIN:
            return read()
        began_s = time.thread_time()
        try:
            return read()
        finally:
            self._add(scope, time.thread_time() - began_s)

    def _add(self, scope: str, took_s: float) -> None:
        before = self._ahead.get(scope)
        if before is None:
            return
        now = self._clock()
        ahead_s = max(0.0, before[0] - (now - before[1]) * SHARE) + took_s
        if ahead_s > AHEAD_MAX_S:
            if self._is_alone(scope, now):
                # What it took while nobody waited is not held against it when somebody does.
                ahead_s = AHEAD_MAX_S
            else:
                self._until[scope] = now + (ahead_s - AHEAD_MAX_S / 2) / SHARE
        self._ahead[scope] = (ahead_s, now)

    def _is_alone(self, scope: str, now: float) -> bool:
        return all(now - at > ALONE_AFTER_S for other, at in self._heard.items() if other != scope)


def refused(held_off_s: float) -> TaskError:
    """What is answered to a message that is not read any further."""
    text = "messages of the scope took more of the orchestrator's time than its share; ask again later, or send smaller ones"
    return TaskError(ErrorKind.NO_CAPACITY, text, details={"retry_after_s": round(held_off_s, 3)})
