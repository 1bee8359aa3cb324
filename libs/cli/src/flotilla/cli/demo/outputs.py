"""What the demo leaves behind: a JSON file per document, the report, and every task with where and how it ran."""

from pathlib import Path
from typing import Any, Final

import msgspec

from flotilla.chassis.private_files import make_directory, own_place, replace_file
from flotilla.cli.demo.work import DOCUMENT_CLASSES, DOCUMENT_ENTITIES, REPORT, SUMMARIES, Ran

TASKS_FILE: Final = "tasks.json"
REPORT_FILE: Final = "report.md"


def write_outputs(folder: Path, ran: list[Ran], report: str) -> list[Path]:
    """
    Write everything, for this user alone: what is in the documents is in the results. Gives the files.

    Raises:
        PrivateFileError: The folder is a link or folder of another user, or cannot be written to.
    """
    folder = own_place(folder)
    make_directory(folder, close=False)
    written: list[Path] = []
    for name in sorted({each.item.document for each in ran if each.title != REPORT}):
        own = [each for each in ran if each.item.document == name]
        written.append(_write_json(folder / f"{name}.json", _of_document(name, own)))
    written.append(_write_json(folder / TASKS_FILE, [_of_task(each) for each in ran]))
    path = folder / REPORT_FILE
    replace_file(path, f"{report.strip()}\n".encode())
    return [*written, path]


def output_of(ran: list[Ran], title: str, document: str) -> dict[str, Any]:
    """The output of one of the tasks that were done once per document; {} when it failed."""
    for each in ran:
        if each.title == title and each.item.document == document and each.item.passage is None and each.answer.ok:
            return each.answer.output
    return {}


def _of_document(name: str, own: list[Ran]) -> dict[str, Any]:
    passages = sorted({each.item.passage for each in own if each.item.passage is not None})
    return {
        "document": name,
        "class": output_of(own, DOCUMENT_CLASSES, name),
        "summary": output_of(own, SUMMARIES, name).get("summary"),
        "entities": output_of(own, DOCUMENT_ENTITIES, name).get("entities", []),
        "passages": [
            {each.title: each.answer.output if each.answer.ok else None for each in own if each.item.passage == passage}
            for passage in passages
        ],
    }


def _of_task(ran: Ran) -> dict[str, Any]:
    answer = ran.answer
    return {
        "task": answer.task,
        "way": ran.way,
        "work": ran.title,
        "document": ran.item.document,
        "passage": ran.item.passage,
        "capability": answer.capability,
        "status": answer.result.status,
        "error": msgspec.to_builtins(answer.error),
        "zone": answer.zone,
        "pool": answer.pool,
        "replica": answer.result.replica,
        "provider": answer.provider,
        "model": answer.model,
        "latency_ms": answer.latency_ms,
        "usage": msgspec.to_builtins(answer.usage),
        "attempts": msgspec.to_builtins(answer.attempts),
    }


def _write_json(path: Path, data: Any) -> Path:
    replace_file(path, msgspec.json.format(msgspec.json.encode(data), indent=2) + b"\n")
    return path
