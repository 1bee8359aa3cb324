"""
Loops over what comes from outside: what goes wrong with one item ends there, counted and logged once a minute.

    for key in due:
        with guarded("heartbeats", key):
            await self._keep(key)

Without it one item that nobody foresaw ends the loop for all the others, or the task that the loop is in, for good.
"""

import logging
from collections import Counter
from types import TracebackType
from typing import Final, Literal

import nats.errors

from flotilla.fabric.errors import FabricError
from flotilla.fabric.unreadable import Sparing

logger = logging.getLogger("flotilla.fabric")

ITEM_LENGTH_MAX: Final = 200
DETAIL_LENGTH_MAX: Final = 500

Loop = Literal[
    "approvals",
    "background",
    "blackboard",
    "counters",
    "deliveries",
    "experiments",
    "heartbeats",
    "held_models",
    "kv_caches",
    "pulls",
    "reconnects",
    "shadows",
    "slots",
    "stats",
    "stores",
    "sweep",
    "watch",
]

_EXPECTED: Final = (FabricError, nats.errors.Error, OSError, TimeoutError)
"""The server's or the network's trouble: where it came from says nothing."""


class ItemFailures:
    """
    Counts them, for the whole process.

    Attributes:
        counts: By loop.
    """

    def __init__(self) -> None:
        self.counts: Final = Counter[Loop]()
        self._sparing = Sparing()

    def tell(self, loop: Loop, item: object, error: Exception) -> None:
        """Handling an item failed."""
        self.counts[loop] += 1
        kind = type(error).__name__
        unsaid = self._sparing.due(f"{loop} {kind}")
        if unsaid is not None:
            detail = str(error)[:DETAIL_LENGTH_MAX] if isinstance(error, FabricError) else ""
            more = {
                "loop": loop,
                "item": str(item)[:ITEM_LENGTH_MAX],
                "error": kind,
                "detail": detail,
                "unsaid": unsaid,
            }
            logger.warning("item_failed", extra=more, exc_info=None if isinstance(error, _EXPECTED) else error)


ITEM_FAILURES: Final = ItemFailures()


class guarded:  # noqa: N801  (reads as a statement, like `suppress`)
    """Around the handling of one item: an exception ends here and is told."""

    __slots__ = ("_item", "_loop")

    def __init__(self, loop: Loop, item: object = "") -> None:
        self._loop: Loop = loop
        self._item = item

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if not isinstance(error, Exception):
            return False
        ITEM_FAILURES.tell(self._loop, self._item, error)
        return True
