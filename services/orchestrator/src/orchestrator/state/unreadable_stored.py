"""
What stands in a stream or bucket and cannot be read: counted, logged once a minute, and final.

An orchestrator of another version may have written it, or whoever may write there. It is neither done over nor written
over, and keeps nothing beside it from being read.
"""

from collections.abc import Callable
from typing import Literal

import structlog

from flotilla.contracts.errors import DecodeFailedError
from flotilla.contracts.failures import ErrorBody, ErrorKind
from flotilla.fabric.unreadable import Sparing

logger = structlog.get_logger("orchestrator")

What = Literal["approval", "audit", "cache", "dead_record", "experiment", "policy", "result", "stats"]


class UnreadableStored:
    """Tells of it; `count` is called with each that is found."""

    def __init__(self, count: Callable[[What], None]) -> None:
        self._count = count
        self._sparing = Sparing()

    def found(self, what: What, where: str, error: DecodeFailedError | None = None) -> None:
        """One was found; `where` is its subject or key."""
        self._count(what)
        unsaid = self._sparing.due(what)
        if unsaid is not None:
            detail = "" if error is None else str(error)
            logger.error("stored_unreadable", what=what, where=where, detail=detail, unsaid=unsaid)


def standing_for(thing: str, error: DecodeFailedError, size_bytes: int) -> ErrorBody:
    """
    The error that stands where a result or record cannot be read.

    Args:
        thing: What it is, for people.
        error: Why.
        size_bytes: How long it is.
    """
    return ErrorBody(
        kind=ErrorKind.INTERNAL,
        message=f"{thing} is stored and cannot be read; it stays as it is: submit the task again under another id",
        details={"unreadable": str(error), "size_bytes": size_bytes},
    )
