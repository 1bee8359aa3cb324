"""The pipeline of the demo: each document through a file of `examples/pipelines`, with its gate and who opens it."""

import asyncio
import re
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from flotilla.chassis.private_files import make_directory, own_place, replace_file
from flotilla.cli.demo.documents import Document
from flotilla.client.answers import Answer
from flotilla.client.errors import TaskFailedError
from flotilla.client.fleet import Fleet
from flotilla.contracts.api_approvals import APPROVALS_LIST_MAX, ApprovalEntry, ApprovalShown, AuditEntry
from flotilla.contracts.errors import FlotillaError
from flotilla.contracts.results import StepReport

FILE_DEFAULT: Final = Path("examples/pipelines/process-document.toml")
FILE_BYTES_MAX: Final = 256 * 1024
PIPELINE: Final = "process-document"
REPORTS: Final = "reports"
APPROVER: Final = "demo"
COMMENT: Final = "checked"
DEADLINE_S: Final = 600.0
POLICY_TIMEOUT_S: Final = 30.0
POLL_S: Final = 0.05
POLICY: Final = """\
format = 1

[capabilities.summarize]
routes = [{ pool = "cloud" }, { pool = "local" }]

[capabilities.synthesize]
routes = [{ pool = "cloud" }, { pool = "local" }]

[declassify]
classify = { label = "internal" }
"""
"""Summaries and reports are the cloud's where their data may go there; a document's class alone gives nothing away."""

_NOT_IN_IDS: Final = re.compile(r"[^A-Za-z0-9_-]")
_NAME_LENGTH_MAX: Final = 40


class NoPipelineError(FlotillaError):
    """There is no file to run; the text says where it was looked for."""


class Processed(Struct, frozen=True, kw_only=True):
    """
    One document's run.

    Attributes:
        audit: What became of the requests for approval that it waited for, the oldest line first.
    """

    document: Document
    answer: Answer
    audit: list[AuditEntry] = []

    @property
    def steps(self) -> list[StepReport]:
        """In the order of their start."""
        steps = self.answer.result.steps
        return steps if isinstance(steps, list) else []

    @property
    def report(self) -> str:
        """With the personal data in it; empty where there is none."""
        return str(self.answer.output.get("report") or "") if self.answer.ok else ""

    @property
    def redacted(self) -> str:
        """The document as it may leave the house."""
        return str(self.answer.output.get("redacted") or "") if self.answer.ok else ""

    @property
    def cloud_steps(self) -> list[str]:
        """The names of the steps that ran in the cloud zone."""
        return [step.name for step in self.steps if step.zone == "cloud"]


class Held(Struct, frozen=True, kw_only=True):
    """A run that waits at its gate: what would leave, and as what the fleet has the run meanwhile."""

    document: Document
    task: str
    shown: ApprovalShown
    state: str


def read_pipeline(file: Path) -> str:
    """
    The text of the demo's pipeline.

    Raises:
        NoPipelineError: There is no such file, or it is none that the demo can run.
    """
    try:
        if file.stat().st_size > FILE_BYTES_MAX:
            raise NoPipelineError(f"{file}: more than {FILE_BYTES_MAX} bytes")
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise NoPipelineError(f"{file}: {error}") from error
    if f'name = "{PIPELINE}"' not in text:
        raise NoPipelineError(f'{file}: expected a pipeline with name = "{PIPELINE}"')
    return text


def write_pipeline(folder: Path, text: str) -> Path:
    """Put the pipeline where a fleet finds its capabilities; gives the folder."""
    folder = own_place(folder)
    make_directory(folder, close=False)
    replace_file(folder / f"{PIPELINE}.toml", text.encode())
    return folder


async def set_policy(fleet: Fleet) -> None:
    """
    Put the demo's policy in force: a run keeps what the policy declassifies when it begins.

    Raises:
        FlotillaError: The fleet went away, or refused the policy.
        TimeoutError: The policy was not in force in time.
    """
    set_now = await fleet.policy.set(POLICY, author="make demo", force=True)
    async with asyncio.timeout(POLICY_TIMEOUT_S):
        while (await fleet.explain("summarize")).policy_revision < set_now.revision:  # noqa: ASYNC110  (nothing tells when)
            await asyncio.sleep(POLL_S)


class Runs:
    """Documents on their way through the pipeline, side by side."""

    def __init__(self, fleet: Fleet, approver: Fleet) -> None:
        self._fleet = fleet
        self._approver = approver
        self._documents: dict[str, Document] = {}
        self._under_way: dict[str, asyncio.Future[Answer]] = {}
        self._requests: dict[str, list[str]] = {}

    async def start(self, documents: list[Document]) -> None:
        """
        Submit a run of each, as restricted data whatever it is elsewhere in the demo: only what was redacted may leave.

        Raises:
            FlotillaError: The fleet does not take it.
        """
        for number, document in enumerate(documents, 1):
            task = f"{number}-{_NOT_IN_IDS.sub('-', document.name)[:_NAME_LENGTH_MAX]}"
            self._documents[task] = document
            body = {"document": document.text}
            await self._fleet.submit(PIPELINE, body, task_id=task, data_class="restricted", deadline_s=DEADLINE_S)
            self._under_way[task] = asyncio.ensure_future(self._end(task))

    async def settle(self) -> tuple[list[Processed], list[Held]]:
        """
        Wait until each is through or waits at a gate; gives those that have ended since the last call, and those that wait.

        A run that failed is among those that have ended.

        Raises:
            FlotillaError: The fleet went away.
        """
        while not await self._is_settled():
            await asyncio.wait(self._under_way.values(), timeout=POLL_S)
        ended = [task for task, end in self._under_way.items() if end.done()]
        done = [await self._processed(task, self._under_way.pop(task).result()) for task in ended]
        waiting = [each for each in await self._waiting() if each.task in self._under_way]
        return done, [await self._held(each) for each in waiting]

    async def grant(self, held: Held) -> None:
        """
        Let what was shown pass.

        Raises:
            FlotillaError: The fleet went away, or refused the decision.
        """
        await self._approver.approvals.grant(held.shown.approval, comment=COMMENT, by=APPROVER)
        self._requests.setdefault(held.task, []).append(held.shown.approval.id)

    async def stop(self) -> None:
        """Wait for none of them any more."""
        for end in self._under_way.values():
            end.cancel()
        await asyncio.gather(*self._under_way.values(), return_exceptions=True)

    async def _is_settled(self) -> bool:
        waiting = {each.task for each in await self._waiting()}
        for task, end in self._under_way.items():
            # One that waits is under way for a moment still, until its other steps are done.
            if not end.done() and (task not in waiting or await self._state(task) != "waiting"):
                return False
        return True

    async def _waiting(self) -> list[ApprovalEntry]:
        return await self._approver.approvals.list(limit=APPROVALS_LIST_MAX)

    async def _state(self, task: str) -> str:
        return (await self._fleet.task_status(task)).state

    async def _held(self, request: ApprovalEntry) -> Held:
        shown = await self._approver.approvals.show(request.id)
        return Held(
            document=self._documents[request.task],
            task=request.task,
            shown=shown,
            state=await self._state(request.task),
        )

    async def _processed(self, task: str, answer: Answer) -> Processed:
        audit = [await self._approver.approvals.audit(request) for request in self._requests.get(task, ())]
        lines = [line for of_one in audit for line in reversed(of_one)]
        return Processed(document=self._documents[task], answer=answer, audit=lines)

    async def _end(self, task: str) -> Answer:
        try:
            return await self._fleet.result(task, capability=PIPELINE, timeout_s=DEADLINE_S)
        except TaskFailedError as error:
            return error.answer


def write_runs(folder: Path, runs: list[Processed]) -> list[Path]:
    """
    Write each restored report, the text that the cloud saw, and the runs' steps and approvals, for this user alone.

    Gives the files.

    Raises:
        PrivateFileError: The folder is a link or folder of another user, or cannot be written to.
    """
    folder = own_place(folder)
    make_directory(folder, close=False)
    reports = folder / REPORTS
    make_directory(reports, close=False)
    written: list[Path] = []
    for run in runs:
        if run.report:
            written.append(_write(reports / f"{run.document.name}.md", f"{run.report.strip()}\n".encode()))
        if run.redacted and run.cloud_steps:
            path = reports / f"{run.document.name}.as-the-cloud-saw-it.md"
            written.append(_write(path, f"{run.redacted.strip()}\n".encode()))
    steps = {run.document.name: msgspec.to_builtins(run.steps) for run in runs}
    written.append(_write_json(folder / "pipeline.json", steps))
    audit = [line for run in runs for line in run.audit]
    written.append(_write_json(folder / "approvals.json", msgspec.to_builtins(audit)))
    return written


def _write_json(path: Path, data: object) -> Path:
    return _write(path, msgspec.json.format(msgspec.json.encode(data), indent=2) + b"\n")


def _write(path: Path, body: bytes) -> Path:
    replace_file(path, body)
    return path
