"""
The pipeline of the demo: each document through a file of `examples/pipelines`, and what of it the cloud saw.

The demo runs a copy of the file without gates: nobody is there to open one.
"""

import asyncio
import re
from collections import Counter
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from flotilla.chassis.private_files import make_directory, own_place, replace_file
from flotilla.cli.demo.documents import Document
from flotilla.client.answers import Answer
from flotilla.client.errors import TaskFailedError
from flotilla.client.fleet import Fleet
from flotilla.contracts.errors import FlotillaError
from flotilla.contracts.results import StepReport

FILE_DEFAULT: Final = Path("examples/pipelines/process-document.toml")
FILE_BYTES_MAX: Final = 256 * 1024
PIPELINE: Final = "process-document"
REPORTS: Final = "reports"
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

_GATE: Final = re.compile(r"^approval = .*\n?", re.MULTILINE)
_PLACEHOLDER: Final = re.compile(r"\[([A-Z]{2,16})_\d+_[A-Z0-9]+\]")


class NoPipelineError(FlotillaError):
    """There is no file to run; the text says where it was looked for."""


class Processed(Struct, frozen=True, kw_only=True):
    """One document's run."""

    document: Document
    answer: Answer

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


def read_pipeline(file: Path) -> str:
    """
    The text of the demo's pipeline, without its gates.

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
    return _GATE.sub("", text)


def write_pipeline(folder: Path, text: str) -> Path:
    """Put the pipeline where a fleet finds its capabilities; gives the folder."""
    folder = own_place(folder)
    make_directory(folder, close=False)
    replace_file(folder / f"{PIPELINE}.toml", text.encode())
    return folder


async def process(fleet: Fleet, documents: list[Document]) -> list[Processed]:
    """
    Run every document through the pipeline, side by side; a run that fails is among what comes back.

    Each is taken for restricted data, whatever it is elsewhere in the demo: only what was redacted may leave.

    Raises:
        FlotillaError: The fleet went away, or refused the policy.
        TimeoutError: The policy was not in force in time.
    """
    set_now = await fleet.policy.set(POLICY, author="make demo", force=True)
    async with asyncio.timeout(POLICY_TIMEOUT_S):
        # A run keeps what the policy declassifies when it begins.
        while (await fleet.explain("summarize")).policy_revision < set_now.revision:  # noqa: ASYNC110  (nothing tells when)
            await asyncio.sleep(POLL_S)
    return list(await asyncio.gather(*(_process(fleet, document) for document in documents)))


async def _process(fleet: Fleet, document: Document) -> Processed:
    try:
        answer = await fleet.ask(PIPELINE, {"document": document.text}, data_class="restricted", deadline_s=DEADLINE_S)
    except TaskFailedError as error:
        answer = error.answer
    return Processed(document=document, answer=answer)


def unseen(redacted: str) -> Counter[str]:
    """How many values of each type stand in a redacted text as placeholders, each counted once."""
    return Counter(kind for kind, _ in {(found[1], found[0]) for found in _PLACEHOLDER.finditer(redacted)})


def parts_of(redacted: str) -> list[tuple[str, bool]]:
    """A redacted text in parts, each with whether it is a placeholder."""
    parts: list[tuple[str, bool]] = []
    end = 0
    for found in _PLACEHOLDER.finditer(redacted):
        parts += [(redacted[end : found.start()], False), (found[0], True)]
        end = found.end()
    return [part for part in (*parts, (redacted[end:], False)) if part[0]]


def write_runs(folder: Path, runs: list[Processed]) -> list[Path]:
    """
    Write each restored report, the text that the cloud saw, and the runs' steps, for this user alone; gives the files.

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
    written.append(_write(folder / "pipeline.json", msgspec.json.format(msgspec.json.encode(steps), indent=2) + b"\n"))
    return written


def _write(path: Path, body: bytes) -> Path:
    replace_file(path, body)
    return path
