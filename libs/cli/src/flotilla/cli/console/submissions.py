"""A folder's durable tasks: handed in, noted as they are accepted, and told of when the command is interrupted."""

import asyncio
import time
from collections.abc import AsyncGenerator, Generator, Iterator
from contextlib import contextmanager
from typing import Final

import msgspec

from flotilla.chassis.terminal_text import encodable
from flotilla.cli.console import exits, terminal
from flotilla.cli.console.batch_ids import BatchIds
from flotilla.cli.console.jobs import Job, Plan
from flotilla.cli.console.journal import Journal, Noted, fleet_name, journal_path
from flotilla.cli.console.outcomes import JOBS_DEFAULT, Outcome, in_parallel, progress, show
from flotilla.cli.console.readable import counted
from flotilla.cli.console.tables import table
from flotilla.client.batches import WithId
from flotilla.client.errors import NoFleetError
from flotilla.client.fleet import Fleet
from flotilla.client.options import Input, SubmitOptions
from flotilla.client.submission import Submitted
from flotilla.contracts.errors import TaskError
from flotilla.contracts.failures import ErrorBody


class Notes:
    """Notes down what a fleet has accepted from here."""

    def __init__(self, fleet: Fleet, scope: str | None) -> None:
        self._fleet: Final = fleet_name(fleet.url, scope)
        self._journal: Final = Journal(journal_path())

    def note(self, task: str, capability: str, *, batch: str = "", file: str = "") -> None:
        """Add a task that was accepted just now."""
        now_unix_ms = time.time_ns() // 1_000_000
        noted = Noted(
            task=task, capability=capability, at_unix_ms=now_unix_ms, fleet=self._fleet, batch=batch, file=file
        )
        self._journal.note(noted)

    def tell_trouble(self) -> None:
        """Say that `flotilla tasks` will not know of this, where it will not."""
        if self._journal.trouble:
            terminal.aside(f"not noted for `flotilla tasks`: {self._journal.trouble}")


class _Handed(msgspec.Struct, kw_only=True, omit_defaults=True):
    file: str
    submitted: Submitted | None = None
    error: ErrorBody | None = None


class Batch:
    """
    The tasks of a folder.

    `given` is the id that the user gave the batch: then results that are there from an earlier run are taken.
    """

    def __init__(self, fleet: Fleet, wanted: Plan, given: str | None, options: SubmitOptions, notes: Notes) -> None:
        self._fleet: Final = fleet
        self._wanted: Final = wanted
        self._resume: Final = given is not None
        self._options: Final = options
        self._notes: Final = notes
        self._ids: Final = BatchIds(given, wanted.capability, options)
        self._submitted = 0

    async def run(self, *, as_json: bool) -> int:
        """Hand everything in, and show the results; gives the exit code."""
        with self._told_when_interrupted():
            code = await show(self._outcomes(), total=len(self._wanted), as_json=as_json)
        self._notes.tell_trouble()
        return code

    async def hand_in(self, *, as_json: bool) -> int:
        """Hand everything in, and show the ids; gives the exit code."""
        handed: list[_Handed] = []
        with self._told_when_interrupted(), progress(len(self._wanted), shown=not as_json) as advance:
            async for each in in_parallel(self._hand_in, self._wanted.jobs(), JOBS_DEFAULT):
                advance()
                handed.append(each)
                if as_json:
                    terminal.json_line(_line(each))
        if not as_json:
            handed.sort(key=lambda each: each.file)
            table(("file", "status", "task", "error"), [_row(each) for each in handed])
            terminal.aside(f"their results: flotilla result --batch {self._ids.batch} --wait")
        self._notes.tell_trouble()
        return exits.FAILED if any(each.submitted is None for each in handed) else exits.OK

    async def _outcomes(self) -> AsyncGenerator[Outcome]:
        refused: list[Outcome] = []
        files: list[str] = []

        def inputs() -> Iterator[WithId]:
            for job in self._wanted.jobs():
                if job.refused is not None:
                    refused.append(Outcome(name=job.name, error=job.refused))
                else:
                    files.append(job.name)
                    body = job.body or {}
                    yield WithId(task=self._ids.of(job.name, body), input=body)

        def on_submitted(index: int, submitted: Submitted) -> None:
            self._note(submitted, files[index])

        done = self._fleet.run_many(
            self._wanted.capability,
            inputs(),
            batch=self._ids.batch,
            resume=self._resume,
            on_submitted=on_submitted,
            **self._options,
        )
        async for each in done:
            yield Outcome(name=files[each.index], answer=each.answer)
        for outcome in refused:
            yield outcome

    async def _hand_in(self, job: Job) -> _Handed:
        if job.refused is not None:
            return _Handed(file=job.name, error=job.refused)
        body = job.body or {}
        try:
            submitted = await submit_once(
                self._fleet,
                self._wanted.capability,
                body,
                task=self._ids.of(job.name, body),
                look_first=self._resume,
                options=self._options,
            )
        except TaskError as error:
            return _Handed(file=job.name, error=error.body)
        self._note(submitted, job.name)
        return _Handed(file=job.name, submitted=submitted)

    def _note(self, submitted: Submitted, file: str) -> None:
        self._submitted += 1
        self._notes.note(submitted.task, self._wanted.capability, batch=self._ids.batch, file=file)

    @contextmanager
    def _told_when_interrupted(self) -> Generator[None]:
        try:
            yield
        except asyncio.CancelledError:
            batch = self._ids.batch
            total = counted(len(self._wanted), "task")
            terminal.aside(f"{self._submitted:,} of {total} submitted; what was accepted goes on")
            terminal.aside(f"to go on: the same command with --id {batch} makes none of them twice")
            terminal.aside(f"their results: flotilla result --batch {batch}")
            raise


async def submit_once(
    fleet: Fleet, capability: str, body: Input, *, task: str | None, look_first: bool, options: SubmitOptions
) -> Submitted:
    """
    Submit a task, unless its result is there from long ago, which is looked for where `look_first` says so.

    Raises:
        TaskIdTakenError: The id was given to another input before.
        FlotillaError: As `Fleet.submit`.
    """
    if task is not None and look_first:
        try:
            earlier = await fleet.earlier_answer(task, body)
        except NoFleetError:
            earlier = None  # a task is safe in the stream while no orchestrator runs
        if earlier is not None:
            return Submitted(task=task, duplicate=True)
    return await fleet.submit(capability, body, task_id=task, **options)


def _line(handed: _Handed) -> bytes:
    if handed.submitted is None:
        return msgspec.json.encode({"file": encodable(handed.file), "error": handed.error})
    return msgspec.json.encode({"file": encodable(handed.file), **msgspec.structs.asdict(handed.submitted)})


def _row(handed: _Handed) -> tuple[str, ...]:
    if handed.submitted is None:
        error = handed.error
        return (handed.file, "refused", "", "" if error is None else f"{error.kind.value}: {error.message}")
    return (handed.file, "known" if handed.submitted.duplicate else "ok", handed.submitted.task, "")
