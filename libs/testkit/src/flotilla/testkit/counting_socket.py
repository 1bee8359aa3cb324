"""A connection that counts what it is sent, so cheaply that hundreds, or thousands of messages a second, are no load."""

import asyncio
from typing import Final


class CountingSocket(asyncio.Protocol):
    """
    Counts marks in what comes, also where one is cut by the end of a piece, and keeps none of it.

    Attributes:
        counts: How often each mark has come.
        size_bytes: Of all that has come.
        is_over: The other side has closed it.
    """

    def __init__(self, *marks: bytes) -> None:
        self._end = b""
        self._end_bytes: Final = max(map(len, marks)) - 1
        self.counts: Final = dict.fromkeys(marks, 0)
        self.size_bytes = 0
        self.is_over = False

    def data_received(self, data: bytes) -> None:
        """Count what ends in it."""
        self.size_bytes += len(data)
        for mark in self.counts:
            # One byte less of either side than the mark has: what is found there is in neither as a whole.
            seam = self._end[1 - len(mark) :] + data[: len(mark) - 1]
            self.counts[mark] += data.count(mark) + seam.count(mark)
        self._end = (self._end + data[-self._end_bytes :])[-self._end_bytes :]

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing more comes."""
        del exc
        self.is_over = True
