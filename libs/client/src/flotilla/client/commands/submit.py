"""`flotilla submit`: hand in durable tasks."""

from collections.abc import AsyncGenerator, Iterator
from itertools import count
from typing import Annotated

import msgspec
from cyclopts import Parameter

from flotilla.chassis.terminal_text import encodable
from flotilla.client.console import exits, readable, terminal
from flotilla.client.console.arguments import NO_FIELDS, NO_WHERE, NO_WISHES, SOURCES, Fields, Where, Wishes
from flotilla.client.console.jobs import Job, Plan, plan
from flotilla.client.console.outcomes import JOBS_DEFAULT, Outcome, in_parallel, progress, show
from flotilla.client.console.tables import table
from flotilla.client.errors import TaskFailedError
from flotilla.client.fleet import RESULT_TIMEOUT_S, Fleet
from flotilla.client.options import Input, SubmitOptions
from flotilla.client.submission import Submitted
from flotilla.contracts.errors import TaskError
from flotilla.contracts.failures import ErrorBody
from flotilla.contracts.subjects import Priority


async def submit(  # noqa: D417  (groups of options say it themselves)
    capability: str,
    /,
    *sources: SOURCES,
    where: Where = NO_WHERE,
    fields: Fields = NO_FIELDS,
    wishes: Wishes = NO_WISHES,
    priority: Priority = "normal",
    id: str | None = None,  # noqa: A002  (the option's name)
    wait: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """
    Hand in durable tasks; prints their ids, or with --wait their results.

    Once an id is printed, the task survives the crash of any process. Documents are given as for `flotilla ask`.

    Parameters
    ----------
    capability
        What needs doing; see `flotilla ask --help`.
    sources
        Files, folders, or - for standard input. One that begins with { is JSON: fields of the input.
    priority
        high is served first; low never starves.
    id
        The task's id. Submitting the same id twice makes one task. Of a folder, the beginning of the tasks' ids.
    wait
        Wait for the results and print them.
    """
    wanted = plan(capability, sources, fields)
    options = SubmitOptions(**wishes.options(), priority=priority)
    async with where.fleet() as fleet:
        if wanted.is_batch and wait:
            outcomes = _run_each(fleet, wanted, id, options)
            return await show(outcomes, total=len(wanted), as_json=where.json)
        if wanted.is_batch:
            return await _submit_each(fleet, where, wanted, id, options)
        [job] = wanted.jobs()
        submitted = await fleet.submit(capability, job.body or {}, task_id=id, **options)
        if not wait:
            return _say(submitted, where)
        return await _wait(fleet, where, submitted, capability, wishes.deadline_s)


def _say(submitted: Submitted, where: Where) -> int:
    if where.json:
        terminal.json_line(msgspec.json.encode(submitted))
    else:
        terminal.write(f"{submitted.task}\n")
        known = "it was there already; " if submitted.duplicate else ""
        terminal.aside(f"{known}its result: flotilla result {submitted.task} --wait")
    return exits.OK


async def _wait(fleet: Fleet, where: Where, submitted: Submitted, capability: str, deadline_s: float | None) -> int:
    timeout_s = RESULT_TIMEOUT_S if deadline_s is None else deadline_s + RESULT_TIMEOUT_S
    try:
        answer = await fleet.result(submitted.task, capability=capability, timeout_s=timeout_s)
    except TaskFailedError as error:
        if not where.json:
            raise
        answer = error.answer
    if where.json:
        terminal.json_line(msgspec.json.encode(answer.result))
    else:
        terminal.write(readable.full(answer).rstrip("\n") + "\n")
        terminal.aside(readable.origin(answer))
    return exits.OK if answer.ok else exits.FAILED


async def _run_each(fleet: Fleet, wanted: Plan, batch: str | None, options: SubmitOptions) -> AsyncGenerator[Outcome]:
    refused: list[Outcome] = []
    names: dict[int, str] = {}
    indexes = count()

    def inputs() -> Iterator[Input]:
        for job in wanted.jobs():
            if job.refused is not None:
                refused.append(Outcome(name=job.name, error=job.refused))
            else:
                names[next(indexes)] = job.name
                yield job.body or {}

    async for each in fleet.run_many(wanted.capability, inputs(), batch=batch, **options):
        yield Outcome(name=names.pop(each.index), answer=each.answer)
    for outcome in refused:
        yield outcome


class _Handed(msgspec.Struct, kw_only=True, omit_defaults=True):
    file: str
    submitted: Submitted | None = None
    error: ErrorBody | None = None


async def _submit_each(fleet: Fleet, where: Where, wanted: Plan, batch: str | None, options: SubmitOptions) -> int:
    async def one(numbered: tuple[int, Job]) -> _Handed:
        index, job = numbered
        if job.refused is not None:
            return _Handed(file=job.name, error=job.refused)
        body: Input = job.body or {}
        task_id = None if batch is None else f"{batch}-{index}"
        try:
            submitted = await fleet.submit(wanted.capability, body, task_id=task_id, **options)
        except TaskError as error:
            return _Handed(file=job.name, error=error.body)
        return _Handed(file=job.name, submitted=submitted)

    handed: list[_Handed] = []
    with progress(len(wanted), shown=not where.json) as advance:
        async for each in in_parallel(one, enumerate(wanted.jobs()), JOBS_DEFAULT):
            advance()
            handed.append(each)
            if where.json:
                terminal.json_line(_line(each))
    if not where.json:
        handed.sort(key=lambda each: each.file)
        table(("file", "status", "task", "error"), [_row(each) for each in handed])
    return exits.FAILED if any(each.submitted is None for each in handed) else exits.OK


def _line(handed: _Handed) -> bytes:
    if handed.submitted is None:
        return msgspec.json.encode({"file": encodable(handed.file), "error": handed.error})
    return msgspec.json.encode({"file": encodable(handed.file), **msgspec.structs.asdict(handed.submitted)})


def _row(handed: _Handed) -> tuple[str, ...]:
    if handed.submitted is None:
        error = handed.error
        return (handed.file, "refused", "", "" if error is None else f"{error.kind.value}: {error.message}")
    return (handed.file, "known" if handed.submitted.duplicate else "ok", handed.submitted.task, "")
