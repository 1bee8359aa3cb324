"""Reading the ledger of a scope: the newest day first, as many entries at a time as one answer adds up."""

from collections.abc import AsyncIterator, Iterator
from datetime import date, timedelta
from typing import Final, NamedTuple

from flotilla.contracts import subjects
from flotilla.contracts.api_spend import SpendPosition
from flotilla.fabric.counters import Count, counts
from flotilla.fabric.inbox import Requests
from flotilla.fabric.stored import next_message

DAYS_MAX: Final = 500
"""That are looked at: the ledger is kept for 400."""
DAY_TOKEN: Final = 2


class Entry(NamedTuple):
    """One entry of the ledger; `is_oldest` if none that is older is left of its counter."""

    written: Count
    is_oldest: bool


class LedgerWalk:
    """
    One scope's entries, of some days.

    Attributes:
        stopped_at: Where the next walk goes on; None where all was read.
    """

    def __init__(
        self, requests: Requests, scope: str, *, since: str | None, until: str, after: SpendPosition | None = None
    ) -> None:
        """
        Read nothing yet.

        Args:
            requests: The connection's.
            scope: Whose ledger.
            since: The first day; None for the first of the ledger.
            until: The last day.
            after: Where an earlier walk stopped.
        """
        self._requests = requests
        self._scope = scope
        self._since = since
        self._until = until
        self._after = after
        self.stopped_at: SpendPosition | None = None

    async def entries(self, entries_max: int) -> AsyncIterator[Entry]:
        """
        At most so many, the newest day first and within a day the oldest entry first.

        Raises:
            FabricError: The ledger cannot be read.
        """
        since = self._since or await self._first_day()
        if since is None:
            return
        read, stream, after = 0, subjects.ledger_stream(self._scope), self._after
        for day in days_back(self._until if after is None else min(after.day, self._until), since):
            begins = after.sequence if after is not None and after.day == day else 1
            seen: set[str] = set()
            pattern = subjects.ledger_day(self._scope, day)
            last = begins
            async for count in counts(
                self._requests, stream, pattern, from_sequence=begins, counts_max=entries_max - read
            ):
                is_first = count.subject not in seen
                seen.add(count.subject)
                read, last = read + 1, count.sequence + 1
                yield Entry(count, is_first and (begins == 1 or await self._is_oldest(count)))
            if read >= entries_max:
                self.stopped_at = SpendPosition(scope=self._scope, day=day, sequence=last)
                return

    async def _first_day(self) -> str | None:
        """Of the oldest entry, and one more: clocks differ."""
        found = await next_message(self._requests, subjects.ledger_stream(self._scope), f"ledger.{self._scope}.>")
        day = None if found is None else _day(found.subject.split(".")[DAY_TOKEN])
        return None if day is None else (day - timedelta(days=1)).isoformat()

    async def _is_oldest(self, count: Count) -> bool:
        found = await next_message(self._requests, subjects.ledger_stream(self._scope), count.subject)
        return found is not None and found.sequence == count.sequence


def days_back(until: str, since: str) -> Iterator[str]:
    """The days from the last to the first, at most DAYS_MAX; none where either is no day."""
    day, first = _day(until), _day(since)
    for _ in range(DAYS_MAX):
        if day is None or first is None or day < first or day == date.min:
            return
        yield day.isoformat()
        day -= timedelta(days=1)


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None
