"""`flotilla ask`: have a task done now."""

from collections import deque
from typing import TYPE_CHECKING, Annotated, Final

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

HELD_MAX: Final = 1_000
"""Steps that end while the answer's text is written: they are told behind it, the last of them."""


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
    told = _Told(as_json=where.json)
    try:
        async with fleet.stream(capability, job.body or {}, on_step=told.step, **options) as stream:
            async for piece in stream:
                told.piece(stream.pieces - 1, piece)
    finally:
        told.end_line()
    if where.json:
        terminal.json_line(msgspec.json.encode(stream.answer.result))
    else:
        if not stream.pieces:
            # Of a pipeline whose last step does not stream the output comes whole.
            terminal.write(readable.full(stream.answer) + "\n")
        else:
            for line in readable.beside(stream.answer, told.text):
                terminal.aside(line)
        terminal.aside(readable.origin(stream.answer))
    return exits.OK


class _Told:
    """What of a stream is on the screen."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._pieces: list[str] = []
        self._held: deque[StepMessage] = deque(maxlen=HELD_MAX)

    @property
    def text(self) -> str:
        """The pieces so far."""
        return "".join(self._pieces)

    def piece(self, seq: int, text: str) -> None:
        """A piece of the answer."""
        if self._as_json:
            terminal.json_line(msgspec.json.encode({"type": "piece", "seq": seq, "text": text}))
        else:
            terminal.write(text)
            self._pieces.append(text)

    def step(self, step: StepMessage) -> None:
        """A step of a pipeline, as it begins or ends; not in the middle of the answer's text."""
        if self._as_json:
            terminal.json_line(msgspec.json.encode(step))
        elif self._pieces:
            self._held.append(step)
        else:
            terminal.aside(readable.step_as_it_goes(step))

    def end_line(self) -> None:
        """No more pieces come."""
        if self._pieces and not self._pieces[-1].endswith("\n"):
            terminal.write("\n")
        for step in self._held:
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
