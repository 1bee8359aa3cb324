"""`flotilla ask`: have a task done now."""

from functools import partial
from typing import TYPE_CHECKING, Annotated

import msgspec
from cyclopts import Parameter

from flotilla.cli.console import exits, readable, terminal
from flotilla.cli.console.arguments import NO_FIELDS, NO_WHERE, NO_WISHES, SOURCES, Fields, Where, Wishes
from flotilla.cli.console.jobs import Job, Plan, plan
from flotilla.cli.console.outcomes import JOBS_DEFAULT, JOBS_MAX, Outcome, in_parallel, show
from flotilla.client.interactive import new_task_id
from flotilla.client.options import AskOptions
from flotilla.contracts.errors import TaskError
from flotilla.contracts.redaction import RedactOutput
from flotilla.contracts.results import StepMessage

if TYPE_CHECKING:
    from flotilla.client.fleet import Fleet


async def ask(  # noqa: D417  (groups of options say it themselves)
    capability: str,
    /,
    *sources: SOURCES,
    where: Where = NO_WHERE,
    fields: Fields = NO_FIELDS,
    wishes: Wishes = NO_WISHES,
    stream: Annotated[bool, Parameter(negative="")] = False,
    jobs: int = JOBS_DEFAULT,
) -> int:
    """
    Have a task done now; prints the answer.

    A file, or standard input, becomes the document of the task: text, PDF, Word or HTML. A folder, or several files,
    become a task each (one task of all of them for synthesize). The answer goes to standard output, and a line on where
    it ran to standard error.

    Parameters
    ----------
    capability
        classify, extract-entities, summarize, synthesize, translate, embed, generate-code, reason, chat, redact,
        restore, vault, or one of your own.
    sources
        Files, folders, or - for standard input. One that begins with { is JSON: fields of the input.
    stream
        Print the answer as it comes.
    jobs
        Of a folder: how many tasks at a time.
    """
    if not 1 <= jobs <= JOBS_MAX:
        raise exits.UsageError(f"--jobs {jobs}: expected 1 to {JOBS_MAX}")
    wanted = plan(capability, sources, fields)
    options = wishes.options()
    if wanted.is_batch and stream:
        raise exits.UsageError("--stream is for a single task")
    if wanted.is_batch:
        return await _ask_each(where, wanted, options, jobs)
    [job] = wanted.jobs()
    async with where.fleet() as fleet:
        if stream:
            return await _stream(fleet, where, job, capability, options)
        answer = await fleet.ask(capability, job.body or {}, task_id=new_task_id(), **options)
    if where.json:
        terminal.json_line(msgspec.json.encode(answer.result))
    else:
        terminal.write(readable.full(answer).rstrip("\n") + "\n")
        if capability == "redact":
            terminal.aside(readable.redaction(answer.output_as(RedactOutput)))
        for line in readable.steps(answer):
            terminal.aside(line)
        terminal.aside(readable.origin(answer))
    return exits.OK


async def _stream(fleet: "Fleet", where: Where, job: Job, capability: str, options: AskOptions) -> int:
    last = ""
    try:
        on_step = partial(_tell_step, where)
        async with fleet.stream(capability, job.body or {}, on_step=on_step, **options) as stream:
            async for piece in stream:
                if where.json:
                    terminal.json_line(msgspec.json.encode({"type": "piece", "seq": stream.pieces - 1, "text": piece}))
                else:
                    terminal.write(piece)
                last = piece or last
    finally:
        if not where.json and last and not last.endswith("\n"):
            terminal.write("\n")
    if where.json:
        terminal.json_line(msgspec.json.encode(stream.answer.result))
    else:
        if not stream.pieces:
            # Of a pipeline the output comes whole.
            terminal.write(readable.full(stream.answer) + "\n")
        terminal.aside(readable.origin(stream.answer))
    return exits.OK


def _tell_step(where: Where, step: StepMessage) -> None:
    """A step of a pipeline, as it begins or ends."""
    if where.json:
        terminal.json_line(msgspec.json.encode(step))
    else:
        terminal.aside(readable.step_as_it_goes(step))


async def _ask_each(where: Where, wanted: Plan, options: AskOptions, jobs_max: int) -> int:
    async with where.fleet() as fleet:

        async def one(job: Job) -> Outcome:
            if job.refused is not None:
                return Outcome(name=job.name, error=job.refused)
            try:
                answer = await fleet.ask(wanted.capability, job.body or {}, task_id=new_task_id(), **options)
            except TaskError as error:
                return Outcome.of_error(job.name, error)
            return Outcome(name=job.name, answer=answer)

        return await show(in_parallel(one, wanted.jobs(), jobs_max), total=len(wanted), as_json=where.json)
