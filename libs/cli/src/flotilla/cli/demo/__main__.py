"""`python -m flotilla.cli.demo`: wiring, and the order of the show."""

import argparse
import asyncio
import sys
import tempfile
import time
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Final

from flotilla.chassis.service import EXIT_FAILED, EXIT_OK, EXIT_USAGE
from flotilla.cli.console.readable import counted
from flotilla.cli.demo.documents import Document, NoDocumentsError, read_documents
from flotilla.cli.demo.outputs import REPORT_FILE, output_of, write_outputs
from flotilla.cli.demo.pipeline import (
    FILE_DEFAULT,
    PIPELINE,
    REPORTS,
    NoPipelineError,
    Processed,
    Runs,
    read_pipeline,
    set_policy,
    write_pipeline,
    write_runs,
)
from flotilla.cli.demo.screen import Screen
from flotilla.cli.demo.summary import failures
from flotilla.cli.demo.work import REPORT, Batch, Ran, batches, classify, report, run_batches, try_the_cloud
from flotilla.cli.supervisor.engines import Engines
from flotilla.cli.supervisor.options import ENGINES, UpOptions
from flotilla.cli.supervisor.signals import Stop, stop_signals
from flotilla.cli.supervisor.supervisor import Supervisor, supervised
from flotilla.client.fleet import Fleet
from flotilla.contracts.errors import FlotillaError
from flotilla.contracts.subjects import Zone

EXIT_INTERRUPTED: Final = 130
REPLICAS: Final = 2
PASSAGES_MAX: Final = 50
PASSAGES_MAX_WITH_MODELS: Final = 1
RUNS_MAX_WITH_MODELS: Final = 2
"""A model takes its time, or money."""


async def show(
    fleet: Fleet, approver: Fleet, documents: list[Document], engines: Engines, screen: Screen, *, output: Path
) -> bool:
    """Have everything done and shown; says whether every task went well."""
    ran: list[Ran] = []
    near: Zone = "local" if engines.local else "cloud"
    far: Zone = "cloud" if engines.cloud else "local"
    if not engines.local:
        left_out = [document.name for document in documents if document.data_class == "restricted"]
        documents = [document for document in documents if document.data_class != "restricted"]
        screen.say(f"Nothing runs in the local zone, so restricted documents are left out: {', '.join(left_out)}.")
    screen.head("Interactive", f"core NATS request and reply, served in the {near} zone")
    for document in documents:
        with screen.waiting(document.name):
            ran.append(await classify(fleet, document, near))
        screen.classified(document, ran[-1])

    offline = engines.local == engines.cloud
    # What is not redacted yet is read at home, or nowhere.
    own = (documents if offline else documents[:RUNS_MAX_WITH_MODELS]) if engines.local else []
    runs = await _show_pipeline(fleet, approver, own, screen, output) if own else []
    work = batches(documents, PASSAGES_MAX if offline else PASSAGES_MAX_WITH_MODELS, near=near, cloud=far)
    screen.head("Durable", "accepted by JetStream, done by whoever has a free slot")
    with screen.progress(work) as bars:

        def on_done(batch: Batch, done: Ran) -> None:
            ran.append(done)
            bars.advance(batch)

        await run_batches(fleet, work, on_done)

    kept = await _show_boundary(fleet, documents, screen) if engines.cloud else True
    await _show_report(fleet, documents, ran, screen, far)
    screen.end_report(output / REPORT_FILE)
    screen.head("What was found")
    screen.documents(documents, ran)
    screen.head("What ran where")
    screen.table(ran)
    files = [*write_outputs(output, ran, _report_of(ran)), *write_runs(output, runs)]
    screen.end(ran, output, len(files))
    for line in failures(ran):
        screen.fail(line)
    return kept and all(each.answer.ok for each in (*ran, *runs))


async def _show_pipeline(
    fleet: Fleet, approver: Fleet, documents: list[Document], screen: Screen, output: Path
) -> list[Processed]:
    screen.head("Pipeline", "redacted at home, written in the cloud, restored at home")
    await set_policy(fleet)
    done: list[Processed] = []
    runs = Runs(fleet, approver)
    try:
        await runs.start(documents)
        while True:
            with screen.waiting(f"{counted(len(documents), 'document')}, each through the steps of {PIPELINE}"):
                ended, held = await runs.settle()
            for run in ended:
                screen.run(run)
            done += ended
            if not held:
                break
            for each in held:
                screen.gate(each)
                await runs.grant(each)
    finally:
        await runs.stop()
    seen = [run for run in done if run.cloud_steps and run.redacted]
    if seen:
        most = max(seen, key=lambda run: (run.document.name.endswith("-de"), len(run.redacted)))
        screen.head("What the cloud saw", f"of {most.document.name}; of the others: {REPORTS}/")
        screen.seen(most, output / REPORTS / f"{most.document.name}.md")
    return done


async def _show_boundary(fleet: Fleet, documents: list[Document], screen: Screen) -> bool:
    kept = True
    for document in [each for each in documents if each.data_class == "restricted"][:1]:
        screen.head("Privacy boundary", "restricted data never enters the cloud zone")
        refusal = await try_the_cloud(fleet, document)
        if refusal is None:
            kept = False
            screen.fail(f"  {document.name}: restricted data was taken to the cloud zone, which must never happen")
        else:
            screen.refusal(document, f"{refusal.kind.value}, {refusal.message}")
    return kept


async def _show_report(fleet: Fleet, documents: list[Document], ran: list[Ran], screen: Screen, zone: Zone) -> None:
    sources: list[dict[str, str]] = []
    for document in documents:
        summary = output_of(ran, "summaries", document.name).get("summary")
        if summary and document.data_class != "restricted":
            sources.append({"title": document.name, "text": summary})
    if sources:
        screen.head("Streamed", f"a report on all that is not restricted, from the {zone} zone")
        with ExitStack() as until_first_piece:
            until_first_piece.enter_context(screen.waiting("the first words"))

            def on_piece(text: str) -> None:
                until_first_piece.close()
                screen.piece(text)

            ran.append(await report(fleet, sources, on_piece, zone))


def _report_of(ran: list[Ran]) -> str:
    return next((each.answer.text or "" for each in ran if each.title == REPORT and each.answer.ok), "")


async def run(arguments: argparse.Namespace, screen: Screen) -> int:
    """Start a fleet, show it at work, drain it; gives the exit code."""
    documents = read_documents(arguments.documents, lambda why: screen.say(f"Left out: {why}"))
    pipeline = read_pipeline(arguments.pipeline)
    with (
        tempfile.TemporaryDirectory(prefix="flotilla-demo-") as folder,
        stop_signals(lambda _: screen.say("stopping")) as stop,
    ):
        options = UpOptions(
            port=0,
            directory=Path(folder),
            local=REPLICAS,
            cloud=REPLICAS,
            redaction=1,
            engine=arguments.engine,
            capabilities=write_pipeline(Path(folder) / "pipelines", pipeline),
            log_level="warning",
        )
        events: list[str] = []
        screen.head("Flotilla")
        try:
            async with AsyncExitStack() as stack:
                with screen.waiting("Looking for models and keys"):
                    supervisor = await stack.enter_async_context(supervised(options, stop, events.append))
                shown = _start_and_show(
                    supervisor, documents, screen, arguments.output, looked_for=arguments.engine == "auto"
                )
                return await _until_stopped(asyncio.ensure_future(shown), stop)
        except FlotillaError:
            for event in events:
                screen.say(event)
            raise


async def _start_and_show(
    supervisor: Supervisor, documents: list[Document], screen: Screen, output: Path, *, looked_for: bool
) -> bool:
    began_at = time.monotonic()
    engines = supervisor.engines
    screen.engines(engines, looked_for=looked_for)
    parts = f"1 orchestrator, {(bool(engines.local) + bool(engines.cloud)) * REPLICAS + 1} workers"
    with screen.waiting(f"Starting nats-server, {parts}"):
        await supervisor.start()
    took_s = time.monotonic() - began_at
    screen.say(f"Ready in {took_s:.1f} s at {supervisor.url}: {parts}.")
    approver_creds = supervisor.facts().credentials["approver"]
    async with (
        Fleet.connect(supervisor.url, name="flotilla demo") as fleet,
        Fleet.connect(supervisor.url, name="flotilla demo approver", creds=approver_creds) as approver,
    ):
        return await show(fleet, approver, documents, supervisor.engines, screen, output=output)


async def _until_stopped(showing: asyncio.Future[bool], stop: Stop) -> int:
    stopped = asyncio.ensure_future(stop.asked.wait())
    try:
        await asyncio.wait((showing, stopped), return_when=asyncio.FIRST_COMPLETED)
        if not showing.done():
            return EXIT_INTERRUPTED
        return EXIT_OK if await showing else EXIT_FAILED
    finally:
        for waiting in (showing, stopped):
            waiting.cancel()
        await asyncio.gather(showing, stopped, return_exceptions=True)


def main() -> int:
    """Run the demo; 0 when every task went well, 1 when one did not, 2 when there is nothing to work on."""
    parser = argparse.ArgumentParser(prog="make demo", description="A fleet on this machine, and documents through it.")
    parser.add_argument("--engine", choices=ENGINES, default="embedded")
    parser.add_argument("--documents", type=Path, default=Path("examples/documents"), metavar="FOLDER")
    parser.add_argument("--pipeline", type=Path, default=FILE_DEFAULT, metavar="FILE")
    parser.add_argument("--output", type=Path, default=Path("demo-output"), metavar="FOLDER")
    arguments = parser.parse_args()
    screen = Screen()
    try:
        return asyncio.run(run(arguments, screen))
    except (NoDocumentsError, NoPipelineError) as error:
        screen.fail(str(error))
        return EXIT_USAGE
    except (FlotillaError, OSError) as error:
        screen.fail(f"the demo broke off: {error}")
        return EXIT_FAILED


if __name__ == "__main__":
    sys.exit(main())
