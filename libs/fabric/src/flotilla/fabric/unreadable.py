"""Messages that cannot be read: dropped, counted, and logged once a minute, whatever anybody sends."""

import logging
import time
from typing import Final, Literal

logger = logging.getLogger("flotilla.fabric")

SAID_EVERY_S: Final = 60.0
KEYS_MAX: Final = 256

_OTHER: Final = ""

Reason = Literal["subject", "reply"]


class Sparing:
    """Says when something that may happen at any rate may be logged again."""

    def __init__(self, every_s: float = SAID_EVERY_S) -> None:
        self._every_s = every_s
        self._said: dict[str, tuple[float, int]] = {}

    def due(self, key: str) -> int | None:
        """How often it went unsaid since it was said last, this time excluded; None: it is not to be said now."""
        now = time.monotonic()
        if key not in self._said and len(self._said) >= KEYS_MAX:
            self._said = {known: said for known, said in self._said.items() if now < said[0]}
            key = key if len(self._said) < KEYS_MAX else _OTHER
        quiet_until, unsaid = self._said.get(key, (0.0, 0))
        if now < quiet_until:
            self._said[key] = (quiet_until, unsaid + 1)
            return None
        self._said[key] = (now + self._every_s, 0)
        return unsaid


class Unreadable:
    """
    Counts them, for all connections of the process.

    Attributes:
        counts: By what could not be read.
    """

    def __init__(self) -> None:
        self.counts: Final[dict[Reason, int]] = {"subject": 0, "reply": 0}
        self._sparing = Sparing()

    def dropped(self, reason: Reason, subscription: str) -> None:
        """
        A message was dropped.

        Args:
            reason: Its subject, or its reply subject, is none (`subject_guard`).
            subscription: What was subscribed to. What the sender wrote is not logged.
        """
        self.counts[reason] += 1
        unsaid = self._sparing.due(f"{reason} {subscription}")
        if unsaid is not None:
            more = {"reason": reason, "subscription": subscription, "unsaid": unsaid}
            logger.warning("nats_message_unreadable", extra=more)


UNREADABLE: Final = Unreadable()
