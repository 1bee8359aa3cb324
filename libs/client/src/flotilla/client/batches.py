"""Many durable tasks at once, in bounded memory."""

import asyncio
import contextlib
import random
import secrets
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from typing import Any, Final

from msgspec import Struct

from flotilla.client.addresses import ANY, checked_task
from flotilla.client.answers import Answer, failed_answer
from flotilla.client.errors import ResultTimeoutError, TaskIdTakenError
from flotilla.client.feeds import ResultFeed
from flotilla.client.link import Link
from flotilla.client.options import Input, SubmitOptions, encode_input
from flotilla.client.submission import Submitted, earlier_answer, is_of_input, submit
from flotilla.contracts.errors import BadRequestError, TaskError
from flotilla.contracts.failures import ErrorKind
from flotilla.contracts.names import check_task_id
from flotilla.contracts.results import input_digest

IN_FLIGHT_MAX: Final = 256
CHECKS_AT_ONCE_MAX: Final = 32
BACKLOG_PATIENCE_S: Final = 600.0
BACKLOG_PAUSE_S: Final = 0.25
BACKLOG_PAUSE_MAX_S: Final = 5.0
BATCH_LENGTH_MAX: Final = 48
"""Leaves room for the number of an input in a task id."""


class WithId(Struct, frozen=True, kw_only=True):
    """An input whose task is to have this id, whatever its place in the batch."""

    task: str
    input: Input


Inputs = Iterable[Input | WithId] | AsyncIterable[Input | WithId]
OnSubmitted = Callable[[int, Submitted], None]


class Done(Struct, frozen=True, kw_only=True):
    """
    One task of a batch, done.

    Attributes:
        index: Of its input, from 0.
        answer: Ask `answer.ok` before reading its output: a batch goes on when a task fails.
    """

    index: int
    answer: Answer


async def submit_many(
    link: Link, capability: str, inputs: Inputs, *, batch: str | None, in_flight_max: int, options: SubmitOptions
) -> AsyncIterator[Submitted]:
    """See `Fleet.submit_many`."""
    prefix = batch_prefix(batch)
    waiting: deque[asyncio.Task[Submitted]] = deque()
    try:
        index = 0
        async for each in _each(inputs):
            if len(waiting) >= in_flight_max:
                yield await waiting.popleft()
            task, body = _named(each, prefix, index)
            submission = submit(link, capability, body, task_id=task, options=options)
            waiting.append(asyncio.create_task(submission))
            index += 1
        while waiting:
            yield await waiting.popleft()
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def results(link: Link, capability: str, tasks: Iterable[str], *, timeout_s: float) -> AsyncIterator[Answer]:
    """See `Fleet.results`."""
    give_up_at = asyncio.get_running_loop().time() + timeout_s
    async with ResultFeed(link, link.addresses.results(capability)) as feed:
        for task in tasks:
            feed.expect(checked_task(task))
        checks = asyncio.create_task(_check_all(feed, list(feed.expected)))
        try:
            for _ in range(len(feed)):
                yield await _next(feed, checks, give_up_at, timeout_s)
        finally:
            checks.cancel()
            await asyncio.gather(checks, return_exceptions=True)


async def run_many(
    link: Link,
    capability: str,
    inputs: Inputs,
    *,
    batch: str | None,
    resume: bool,
    in_flight_max: int,
    on_submitted: OnSubmitted | None,
    options: SubmitOptions,
) -> AsyncIterator[Done]:
    """See `Fleet.run_many`."""
    async with ResultFeed(link, link.addresses.results(capability)) as feed:
        run = _Run(
            link,
            feed,
            capability=capability,
            batch=batch_prefix(batch),
            resume=resume,
            in_flight_max=in_flight_max,
            on_submitted=on_submitted,
            options=options,
        )
        filling = asyncio.create_task(run.fill(inputs))
        try:
            while True:
                done = await run.next(filling)
                if done is None:
                    return
                yield done
        finally:
            filling.cancel()
            await asyncio.gather(filling, return_exceptions=True)
            await run.stop()


class _Run:
    """A batch under way: inputs are taken only as tasks end, so that the memory it needs does not grow with it."""

    def __init__(
        self,
        link: Link,
        feed: ResultFeed,
        *,
        capability: str,
        batch: str,
        resume: bool,
        in_flight_max: int,
        on_submitted: OnSubmitted | None,
        options: SubmitOptions,
    ) -> None:
        self._link = link
        self._feed = feed
        self._capability = capability
        self._batch = batch
        self._resume = resume
        self._on_submitted = on_submitted
        self._options = options
        self._room = asyncio.Semaphore(in_flight_max)
        self._indexes: dict[str, int] = {}
        self._digests: dict[str, str] = {}
        self._submissions: set[asyncio.Task[None]] = set()
        self._broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def fill(self, inputs: Inputs) -> None:
        """Submit every input, as room comes free."""
        index = 0
        async for each in _each(inputs):
            await self._room.acquire()
            task, body = _named(each, self._batch, index)
            if task in self._indexes:
                raise BadRequestError(f"two inputs of the batch have the id {task}", path="task")
            self._indexes[task] = index
            self._feed.expect(task)
            submission = asyncio.create_task(self._submit(index, task, body))
            self._submissions.add(submission)
            submission.add_done_callback(self._submissions.discard)
            index += 1

    async def next(self, filling: asyncio.Task[None]) -> Done | None:
        """The next task to end; None when all have."""
        while True:
            if filling.done():
                filling.result()
                if not self._indexes:
                    return None
            arriving = asyncio.ensure_future(self._feed.next())
            watched: set[asyncio.Future[Any]] = {arriving, self._broken}
            if not filling.done():
                watched.add(filling)
            try:
                await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
                if self._broken.done():
                    self._broken.result()
                if arriving.done():
                    answer = arriving.result()
                    self._room.release()
                    return Done(index=self._indexes.pop(answer.task), answer=self._own(answer))
            finally:
                arriving.cancel()

    async def stop(self) -> None:
        """Let go of what is under way; tasks that were accepted go on."""
        for submission in list(self._submissions):
            submission.cancel()
        await asyncio.gather(*self._submissions, return_exceptions=True)
        if not self._broken.cancel():
            self._broken.exception()

    def _own(self, answer: Answer) -> Answer:
        """The answer, unless it belongs to another input that had the same id before."""
        digest = self._digests.pop(answer.task, None)
        if digest is None or is_of_input(answer.result.input_sha256, digest):
            return answer
        return failed_answer(answer.task, self._capability, TaskIdTakenError(answer.task).body)

    async def _submit(self, index: int, task: str, body: Input) -> None:
        try:
            encoded = encode_input(body, payload_bytes_max=self._link.payload_bytes_max)
            self._digests[task] = input_digest(encoded)
            if self._resume and (found := await earlier_answer(self._link, task, encoded)) is not None:
                self._note(index, Submitted(task=task, duplicate=True))
                self._feed.settle(task, found)
                return
            submitted = await self._accepted(task, encoded)
            self._note(index, submitted)
            if submitted.duplicate:
                await self._feed.check(task)
        except TaskError as error:
            self._feed.settle(task, failed_answer(task, self._capability, error.body))
        except Exception as error:  # noqa: BLE001  (handed to whoever reads the batch)
            if not self._broken.done():
                self._broken.set_exception(error)

    def _note(self, index: int, submitted: Submitted) -> None:
        if self._on_submitted is not None:
            self._on_submitted(index, submitted)

    async def _accepted(self, task: str, body: bytes) -> Submitted:
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + BACKLOG_PATIENCE_S
        pause_s = BACKLOG_PAUSE_S
        while True:
            try:
                return await submit(self._link, self._capability, body, task_id=task, options=self._options)
            except TaskError as error:
                if error.kind is not ErrorKind.BACKLOG_FULL or loop.time() >= give_up_at:
                    raise
            await asyncio.sleep(pause_s * (0.5 + random.random()))
            pause_s = min(pause_s * 2, BACKLOG_PAUSE_MAX_S)


async def _next(feed: ResultFeed, checks: asyncio.Task[None], give_up_at: float, timeout_s: float) -> Answer:
    arriving = asyncio.ensure_future(feed.next())
    try:
        while not arriving.done():
            remaining_s = give_up_at - asyncio.get_running_loop().time()
            if remaining_s <= 0:
                raise ResultTimeoutError(feed.oldest, timeout_s)
            watched = {arriving} if checks.done() else {arriving, checks}
            await asyncio.wait(watched, timeout=remaining_s, return_when=asyncio.FIRST_COMPLETED)
            if checks.done():
                checks.result()
        return arriving.result()
    finally:
        arriving.cancel()


async def _check_all(feed: ResultFeed, tasks: list[str]) -> None:
    remaining = iter(tasks)

    async def check_some() -> None:
        for task in remaining:
            await feed.check(task)

    checkers = [asyncio.create_task(check_some()) for _ in range(min(CHECKS_AT_ONCE_MAX, len(tasks)))]
    try:
        await asyncio.gather(*checkers)
    finally:
        for checker in checkers:
            checker.cancel()


def _named(each: Input | WithId, batch: str, index: int) -> tuple[str, Input]:
    return (each.task, each.input) if isinstance(each, WithId) else (f"{batch}-{index}", each)


async def _each(inputs: Inputs) -> AsyncIterator[Input | WithId]:
    if isinstance(inputs, AsyncIterable):
        async for body in inputs:
            yield body
    else:
        for body in inputs:
            yield body


def batch_prefix(batch: str | None) -> str:
    """
    What the ids of a batch's tasks begin with; a random one unless it is given.

    Raises:
        BadRequestError: It is too long, or cannot begin an id.
    """
    if batch is None:
        return f"b-{secrets.token_hex(6)}"
    if len(batch) > BATCH_LENGTH_MAX:
        raise BadRequestError(f"batch: expected at most {BATCH_LENGTH_MAX} characters", path="batch")
    check_task_id(batch)
    return batch


async def result(
    link: Link,
    task: str,
    *,
    capability: str | None,
    input: Input | None,  # noqa: A002  (the wire's word)
    timeout_s: float,
) -> Answer:
    """See `Fleet.result`."""
    encoded = None if input is None else encode_input(input, payload_bytes_max=link.payload_bytes_max)
    async with ResultFeed(link, link.addresses.results(capability or ANY, checked_task(task))) as feed:
        feed.expect(task)
        # The question follows the subscription on the same connection: a result committed in between is seen twice,
        # never missed.
        await feed.check(task)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                answer = await feed.next()
            if encoded is not None and not is_of_input(answer.result.input_sha256, input_digest(encoded)):
                raise TaskIdTakenError(task)
            answer.raise_for_error()
            return answer
    raise ResultTimeoutError(task, timeout_s)
