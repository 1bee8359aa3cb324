"""How the demo looks in a terminal."""

from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec
from rich.console import Console
from rich.padding import Padding
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from rich.text import Text

from flotilla.cli.console import terminal
from flotilla.cli.console.readable import counted
from flotilla.cli.demo.documents import Document
from flotilla.cli.demo.outputs import output_of
from flotilla.cli.demo.pipeline import COMMENT, Held, Processed
from flotilla.cli.demo.redacted import parts_of, unseen, values_at_home
from flotilla.cli.demo.summary import dollars, milliseconds, rows, summary_line
from flotilla.cli.demo.work import DOCUMENT_ENTITIES, SUMMARIES, TITLES, Batch, Ran
from flotilla.cli.supervisor.engines import Engines
from flotilla.contracts.providers import OLLAMA_MODELS

WIDTH_MAX: Final = 100
ENTITY_TYPES_SHOWN: Final = 3
REPORT_LINES_MAX: Final = 10
SEEN_LINES_MAX: Final = 14
VALUES_SHOWN_MAX: Final = 8
INPUT_CHARS_MAX: Final = 1_200
MARKED: Final = "black on yellow"


class Screen:
    """Writes to one console, at most WIDTH_MAX columns wide: long lines are hard to read."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or terminal.console()
        self._report_lines = 0
        self._console.width = min(self._console.width, WIDTH_MAX)

    def say(self, line: str) -> None:
        """Print a line of plain text; where it is wrapped, what it begins with stays empty."""
        said = line.lstrip(" ")
        self._console.print(Padding(Text(said, style="dim"), (0, 0, 0, len(line) - len(said)), expand=False))

    def fail(self, line: str) -> None:
        """Print a line about what went wrong."""
        self._console.print(Text(line, style="bold red"))

    def head(self, title: str, explanation: str = "") -> None:
        """Print the head of a new part of the demonstration."""
        self._console.print()
        self._console.print(Text.assemble((title, "bold"), ("  " if explanation else ""), (explanation, "dim")))

    @contextmanager
    def waiting(self, text: str) -> Generator[None]:
        """Say what is waited for while the block runs, with the seconds on a terminal."""
        if not self._console.is_terminal:
            yield
            return
        columns = (SpinnerColumn(), TextColumn("{task.description}", style="dim"), TimeElapsedColumn())
        with Progress(*columns, console=self._console, transient=True) as progress:
            progress.add_task(text, total=None)
            yield

    def engines(self, engines: Engines, *, looked_for: bool) -> None:
        """What stands behind the zones, plainly; and why, where models and keys were looked for."""
        if not looked_for:
            self._console.print(
                f"The {engines.local} engine stands in for the models, in both zones: it counts words and matches "
                "patterns on this CPU and is no language model. Nothing leaves this machine; `make demo ENGINE=auto` "
                f"uses an {OLLAMA_MODELS.title} server or an API key where there is one."
            )
        else:
            for note in engines.notes:
                self._console.print(note)

    def classified(self, document: Document, ran: Ran) -> None:
        """One document's class, as its answer came."""
        answer = ran.answer
        if not answer.ok:
            self.fail(f"  {document.name}: {answer.error.message if answer.error else ''}")
            return
        output = answer.output
        self._console.print(
            Text.assemble(
                f"  {document.name:<22}",
                (f"{output['label']:<16}", "bold"),
                f"{output['confidence']:>5.0%}  ",
                (f"{milliseconds(answer.latency_ms):>8}  {answer.model}", "dim"),
            )
        )

    def run(self, run: Processed) -> None:
        """A document's run: which step ran where, with which model, what it took and cost."""
        document, answer = run.document, run.answer
        category = str(answer.output.get("category", "")) if answer.ok else "failed"
        took = milliseconds(answer.latency_ms)
        self._console.print()
        self._console.print(Text.assemble(f"  {document.name}  ", (category, "bold"), (f"  {took} in all", "dim")))
        table = _table("step", "zone", "model", right=("took", "cost"))
        for step in run.steps:
            zone = step.zone if isinstance(step.zone, str) else "-"
            table.add_row(
                step.name,
                Text(zone, style="bold cyan" if zone == "cloud" else ""),
                step.model or step.error or "-",
                milliseconds(step.latency_ms),
                dollars(step.usage.cost_usd),
            )
        self._console.print(Padding(table, (0, 0, 0, 4)))
        for line in run.audit:
            # What became of each request, as the audit keeps it.
            who = f" by {line.who}: {line.comment}" if line.status == "granted" else ""
            self.say(f"    {line.step}: {line.status}{who}")
        if answer.error is not None:
            self.fail(f"    {answer.error.message}")

    def gate(self, held: Held) -> None:
        """A run that waits: what would leave, and what a person types to let it."""
        request = held.shown.approval
        self.head("Gate", f"{request.step} of {held.document.name} leaves when somebody has said so")
        zones = " or ".join(request.zones)
        meanwhile = "no process holds it" if held.state == "waiting" else held.state
        self.say(f"  {request.capability}, {request.data_class} data, to {zones}; meanwhile {meanwhile}")
        self._command(f"flotilla approvals show {request.id}")
        payload = msgspec.json.format(bytes(held.shown.payload)).decode()
        cut = len(payload) > INPUT_CHARS_MAX
        self._marked(payload[:INPUT_CHARS_MAX] + ("..." if cut else ""), indent=4)
        self._command(f"flotilla approvals grant {request.id} --comment {COMMENT}")

    def seen(self, run: Processed, report: Path) -> None:
        """What the cloud saw of a document: each placeholder stands for a value that it did not see."""
        self._marked("\n".join(run.redacted.strip().splitlines()[:SEEN_LINES_MAX]), indent=2)
        kinds = unseen(run.redacted)
        listed = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
        self.say(f"  {counted(kinds.total(), 'value')} that it did not see: {listed}")
        values = values_at_home(run.document.text.strip(), run.redacted.strip())
        if values:
            self.say("  At home they are:")
        table = _table("", "")
        table.show_header = False
        for placeholder, value in list(values.items())[:VALUES_SHOWN_MAX]:
            table.add_row(Text(placeholder, style=MARKED), Text(" ".join(value.split())))
        self._console.print(Padding(table, (0, 0, 0, 4)))
        more = len(values) - VALUES_SHOWN_MAX
        if more > 0:
            self.say(f"    and {more} more")
        self.say(f"  Put back at home: {report}")

    def _command(self, line: str) -> None:
        self._console.print(Text(f"  $ {line}", style="bold"), overflow="fold")

    def _marked(self, text: str, *, indent: int) -> None:
        shown = Text()
        for part, is_placeholder in parts_of(text):
            shown.append(part, style=MARKED if is_placeholder else "")
        self._console.print(Padding(shown, (0, 0, 0, indent)))

    @contextmanager
    def progress(self, work: list[Batch]) -> Generator["Bars", None, None]:
        """A bar for each kind of work and zone, while the block runs."""
        columns = (
            TextColumn("  {task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self._console) as progress:
            yield Bars(progress, work)

    def refusal(self, document: Document, reason: str) -> None:
        """What became of the attempt to send restricted data away."""
        line = f"{document.name}: asked for the cloud zone, the fleet refused: {reason}"
        self._console.print(Padding(line, (0, 0, 0, 2)))

    def piece(self, text: str) -> None:
        """A piece of the streamed report, as it comes: as many lines as are pleasant, the rest is in the file."""
        for part in text.splitlines(keepends=True):
            if self._report_lines < REPORT_LINES_MAX:
                self._console.print(Text(part), end="")
            self._report_lines += part.endswith("\n")

    def end_report(self, file: Path) -> None:
        """The stream is through."""
        more = self._report_lines - REPORT_LINES_MAX
        self.say(f"\n... {counted(more, 'more line')} in {file}" if more > 0 else "")

    def documents(self, documents: list[Document], ran: list[Ran]) -> None:
        """A row for each document: where its summary was made, and its entities."""
        table = _table("document", "data", "summary")
        table.add_column("entities", overflow="ellipsis")
        where = {each.item.document: each.answer for each in ran if each.title == SUMMARIES}
        for document in documents:
            found = Counter(
                entity["type"] for entity in output_of(ran, DOCUMENT_ENTITIES, document.name).get("entities", [])
            )
            common = ", ".join(f"{count} {kind}" for kind, count in found.most_common(ENTITY_TYPES_SHOWN))
            summary = where.get(document.name)
            table.add_row(
                document.name,
                document.data_class,
                (summary.zone if summary is not None else "") or "-",
                f"{found.total()}: {common}" if found else "none",
            )
        self._show(table)

    def table(self, ran: list[Ran]) -> None:
        """A row for each kind of work, zone and model."""
        table = _table("work", "zone", "model", right=("tasks", "avg", "tokens", "cost"))
        for row in rows(ran):
            table.add_row(
                row.title,
                row.zone,
                row.model or "-",
                f"{row.tasks}, {row.failed} failed" if row.failed else str(row.tasks),
                milliseconds(row.latency_ms),
                f"{row.tokens:,}" if row.tokens else "-",
                dollars(row.cost_usd),
            )
        self._show(table)
        self.say(" avg: from acceptance to the result, the wait for a free slot included")

    def end(self, ran: list[Ran], folder: Path, files: int) -> None:
        """Print how the tasks ended, and where the outputs are."""
        good = all(each.answer.ok for each in ran)
        self._console.print()
        self._console.print(Text(summary_line(ran), style="bold green" if good else "bold red"))
        self._console.print(Text(f"{counted(files, 'file')} in {folder}/", style="dim"))

    def _show(self, table: Table) -> None:
        self._console.print(Padding(table, (0, 0, 0, 1)))


class Bars:
    """The progress bars of the batches."""

    def __init__(self, progress: Progress, work: list[Batch]) -> None:
        self._progress = progress
        totals: Counter[tuple[str, str]] = Counter()
        for batch in work:
            totals[batch.title, batch.zone] += len(batch.items)
        width = max((len(title) for title, _ in totals), default=0)
        self._bars = {
            (title, zone): progress.add_task(f"{title:<{width}}  {zone:<5}", total=total)
            for (title, zone), total in sorted(totals.items(), key=lambda item: TITLES.index(item[0][0]))
        }

    def advance(self, batch: Batch) -> None:
        """One more task of a batch ended."""
        self._progress.advance(self._bars[batch.title, batch.zone])


def _table(*left: str, right: tuple[str, ...] = ()) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in left:
        table.add_column(name, no_wrap=True)
    for name in right:
        table.add_column(name, justify="right", no_wrap=True)
    return table
