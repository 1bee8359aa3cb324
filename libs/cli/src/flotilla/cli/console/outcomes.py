"""What became of the tasks of a folder: a progress bar while they run, then a table; or JSON, a line each."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Iterable
from contextlib import contextmanager
from typing import Any, Final, Self, TypeVar

import msgspec
from msgspec import Struct

from flotilla.chassis.terminal_text import encodable
from flotilla.cli.console import exits, readable, terminal
from flotilla.cli.console.tables import table
from flotilla.client.answers import Answer
from flotilla.client.errors import TaskFailedError
from flotilla.contracts.errors import TaskError
from flotilla.contracts.failures import ErrorBody

JOBS_DEFAULT: Final = 16
JOBS_MAX: Final = 1000
COLUMNS: Final = ("file", "status", "answer", "pool", "model", "latency", "tokens", "cost")

ItemT = TypeVar("ItemT")
DoneT = TypeVar("DoneT")


class Outcome(Struct, frozen=True, kw_only=True):
    """
    How one task of a batch ended: with an answer, or with an error when it never became a task.

    Attributes:
        name: The file that it was made of.
        status: What it is without an answer: refused, or the state of a task that has not ended.
        task: Its id, where there is no answer.
    """

    name: str
    answer: Answer | None = None
    error: ErrorBody | None = None
    status: str = "refused"
    task: str = ""

    @classmethod
    def of_error(cls, name: str, error: TaskError) -> Self:
        """The outcome of a task that was refused or failed."""
        if isinstance(error, TaskFailedError):
            return cls(name=name, answer=error.answer)
        return cls(name=name, error=error.body)

    @property
    def ok(self) -> bool:
        """Whether there is an output."""
        return self.answer is not None and self.answer.ok

    def line(self) -> bytes:
        """As JSON: the result, or the error, and the file."""
        found: dict[str, Any] = {"file": encodable(self.name)}
        if self.answer is not None:
            found |= {
                name: value
                for name, value in msgspec.structs.asdict(self.answer.result).items()
                if value is not msgspec.UNSET
            }
        else:
            found |= {"task": self.task, "state": self.status} if self.task else {}
            found |= {"error": self.error} if self.error is not None else {}
        return msgspec.json.encode(found)

    def row(self) -> tuple[str, ...]:
        """As a line of the table; see COLUMNS."""
        answer = self.answer
        if answer is None:
            error = self.error
            text = "" if error is None else f"{error.kind.value}: {error.message}"
            return (self.name, self.status, text, "", "", "", "", "")
        result = answer.result
        latency = readable.milliseconds(result.latency_ms)
        tokens = readable.tokens(answer).removesuffix(" tokens")
        status = "ok" if answer.ok else "failed"
        return (
            self.name,
            status,
            readable.brief(answer),
            result.pool,
            result.model,
            latency,
            tokens,
            readable.cost(answer),
        )


async def in_parallel(
    work: Callable[[ItemT], Awaitable[DoneT]], items: Iterable[ItemT], jobs_max: int
) -> AsyncGenerator[DoneT]:
    """Do the work for each item, `jobs_max` at a time; gives what it gives, in the order in which it is done."""
    remaining = iter(items)
    running: set[asyncio.Future[DoneT]] = set()
    try:
        while True:
            while len(running) < jobs_max:
                try:
                    running.add(asyncio.ensure_future(work(next(remaining))))
                except StopIteration:
                    break
            if not running:
                return
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for each in done:
                yield each.result()
    finally:
        for each in running:
            each.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def show(outcomes: AsyncIterator[Outcome], *, total: int, as_json: bool) -> int:
    """Show the outcomes as they come, and all of them at the end; gives the exit code."""
    seen: list[Outcome] = []
    failed = 0
    began_at = time.monotonic()
    with progress(total, shown=not as_json) as advance:
        async for outcome in outcomes:
            failed += not outcome.ok
            advance()
            if as_json:
                terminal.json_line(outcome.line())
            else:
                seen.append(outcome)
    if not as_json:
        table(COLUMNS, [outcome.row() for outcome in sorted(seen, key=lambda outcome: outcome.name)])
        terminal.aside(_total(seen, failed, time.monotonic() - began_at))
    return exits.FAILED if failed else exits.OK


@contextmanager
def progress(total: int, *, shown: bool) -> Generator[Callable[[], None]]:
    """A progress bar on standard error, if that is a terminal; gives what to call for each step."""
    if not shown or not terminal.error_is_terminal():
        yield lambda: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=terminal.console(stderr=True), transient=True) as bar:
        task = bar.add_task("tasks", total=total)
        yield lambda: bar.advance(task)


def _total(outcomes: list[Outcome], failed: int, elapsed_s: float) -> str:
    answers = [outcome.answer for outcome in outcomes if outcome.answer is not None]
    tokens = sum(answer.usage.input_tokens + answer.usage.output_tokens for answer in answers)
    parts = [f"{len(outcomes) - failed:,} of {len(outcomes):,} ok", f"{elapsed_s:.1f} s"]
    if tokens:
        parts.append(f"{tokens:,} tokens")
    parts.append(readable.dollars(sum(answer.usage.cost_usd or 0.0 for answer in answers)))
    if unpriced := sum((answer.usage.cost_usd is None) + (answer.usage.unpriced or 0) for answer in answers):
        parts.append(f"{unpriced:,} calls of unknown cost")
    return " · ".join(part for part in parts if part)
