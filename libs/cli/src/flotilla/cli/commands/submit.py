"""`flotilla submit`: hand in durable tasks."""

import asyncio
from typing import Annotated

import msgspec
from cyclopts import Parameter

from flotilla.cli.console import exits, readable, terminal
from flotilla.cli.console.arguments import NO_FIELDS, NO_WHERE, NO_WISHES, SOURCES, Fields, Where, Wishes
from flotilla.cli.console.jobs import plan
from flotilla.cli.console.submissions import Batch, Notes, submit_once
from flotilla.client.errors import TaskFailedError
from flotilla.client.fleet import RESULT_TIMEOUT_S, Fleet
from flotilla.client.options import Input, SubmitOptions
from flotilla.client.submission import Submitted
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
        The task's id. Submitting the same input under the same id twice makes one task. Of a folder, the name of the
        batch, with which the tasks' ids begin: submitted again, only what is new or was changed is done.
    wait
        Wait for the results and print them.
    """
    wanted = plan(capability, sources, fields)
    options = SubmitOptions(**wishes.options(), priority=priority)
    async with where.fleet() as fleet:
        notes = Notes(fleet, where.scope)
        if wanted.is_batch:
            batch = Batch(fleet, wanted, id, options, notes)
            return await (batch.run(as_json=where.json) if wait else batch.hand_in(as_json=where.json))
        [job] = wanted.jobs()
        body = job.body or {}
        submitted = await submit_once(fleet, capability, body, task=id, look_first=True, options=options)
        notes.note(submitted.task, capability, file=job.name)
        notes.tell_trouble()
        if not wait:
            return _say(submitted, where)
        return await _wait(fleet, where, submitted, body, timeout_s=RESULT_TIMEOUT_S + (wishes.deadline_s or 0.0))


def _say(submitted: Submitted, where: Where) -> int:
    if where.json:
        terminal.json_line(msgspec.json.encode(submitted))
    else:
        terminal.write(f"{submitted.task}\n")
        known = "it was there already; " if submitted.duplicate else ""
        terminal.aside(f"{known}its result: flotilla result {submitted.task} --wait")
    return exits.OK


async def _wait(fleet: Fleet, where: Where, submitted: Submitted, body: Input, *, timeout_s: float) -> int:
    try:
        answer = await fleet.result(submitted.task, input=body, timeout_s=timeout_s)
    except TaskFailedError as error:
        if not where.json:
            raise
        answer = error.answer
    except asyncio.CancelledError:
        terminal.aside(f"task {submitted.task} goes on; its result: flotilla result {submitted.task} --wait")
        raise
    if where.json:
        terminal.json_line(msgspec.json.encode(answer.result))
    else:
        terminal.write(readable.full(answer).rstrip("\n") + "\n")
        terminal.aside(readable.origin(answer))
    return exits.OK if answer.ok else exits.FAILED
