"""Results of durable tasks, as they are committed: one subscription for any number of tasks."""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Collection
from types import TracebackType
from typing import Final, Self

from flotilla.client.answers import Answer
from flotilla.client.api_calls import ApiCalls
from flotilla.client.errors import ClientError
from flotilla.client.link import Link
from flotilla.contracts.errors import DecodeFailedError, FlotillaError, TaskError
from flotilla.contracts.failures import ErrorKind
from flotilla.contracts.results import decode_result
from flotilla.fabric.connection import Message

logger = logging.getLogger("flotilla.client")

RECHECK_EVERY_S: Final = 5.0
RECHECK_BATCH_MAX: Final = 64
EXPECTED_MAX: Final = 100_000


class ResultFeed:
    """
    Waits for the results of expected tasks.

    What the subscription misses (a reconnect, a result committed before) is found by asking: at once where the caller
    says so, and every few seconds for a batch of those that have waited longest.
    """

    def __init__(self, link: Link, subject: str) -> None:
        self._link = link
        self._subject = subject
        self._api_calls = ApiCalls(link)
        self._expected: dict[str, None] = {}
        self._arrived: deque[Answer] = deque()
        self._wake = asyncio.Event()
        self._rechecks: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self._link.reachable()
        self._subscription = await self._link.connection.subscribe(self._subject, self._on_message)
        self._rechecks = asyncio.create_task(self._recheck())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._rechecks is not None:
            self._rechecks.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._rechecks
        if not self._link.connection.closed.is_set():
            await self._subscription.unsubscribe()

    def __len__(self) -> int:
        return len(self._expected)

    @property
    def expected(self) -> Collection[str]:
        """The tasks that have no result yet, those first that were checked longest ago."""
        return self._expected.keys()

    @property
    def oldest(self) -> str:
        """The task that has been expected longest; an empty string when none is."""
        return next(iter(self._expected), "")

    def expect(self, task: str) -> None:
        """
        Collect the result of this task; to be called before it is submitted, or followed by `check`.

        Raises:
            ClientError: EXPECTED_MAX tasks are expected already.
        """
        if len(self._expected) >= EXPECTED_MAX:
            raise ClientError(f"results of {EXPECTED_MAX} tasks are waited for already")
        self._expected[task] = None

    def settle(self, task: str, answer: Answer) -> None:
        """Take this as the result of a task; the second and later ones for a task are dropped."""
        if task in self._expected:
            del self._expected[task]
            self._arrived.append(answer)
            self._wake.set()

    async def check(self, task: str) -> None:
        """
        Ask for a result that may have been committed already.

        Raises:
            TaskError: The fleet refused to say.
            NoFleetError: Nobody answers.
        """
        try:
            self.settle(task, await self._api_calls.result(task))
        except TaskError as error:
            if error.kind is not ErrorKind.NOT_FOUND:
                raise

    async def next(self) -> Answer:
        """The next result to arrive; cancel it to stop waiting."""
        while not self._arrived:
            self._wake.clear()
            await self._wake.wait()
        return self._arrived.popleft()

    async def _on_message(self, message: Message) -> None:
        task = message.subject.rsplit(".", 1)[1]
        if task not in self._expected:
            return
        try:
            self.settle(task, Answer(decode_result(message.data)))
        except DecodeFailedError:
            logger.warning("result_undecodable", extra={"task": task})

    async def _recheck(self) -> None:
        while True:
            await asyncio.sleep(RECHECK_EVERY_S)
            for task in list(self._expected)[:RECHECK_BATCH_MAX]:
                try:
                    await self.check(task)
                except FlotillaError as error:
                    # A fleet that is away now may be back at the next round; the caller's timeout bounds the rounds.
                    logger.debug("recheck_failed", extra={"error": type(error).__name__})
                    break
                if task in self._expected:
                    self._expected[task] = self._expected.pop(task)
