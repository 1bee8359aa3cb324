"""The documents of the demo: read from a folder, with what the demo knows about each."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final

from msgspec import Struct

from flotilla.cli.console.documents import read
from flotilla.contracts.capabilities import NamedLabel
from flotilla.contracts.errors import FlotillaError, TaskError
from flotilla.contracts.headers import DataClass

DOCUMENTS_MAX: Final = 100
DOCUMENT_BYTES_MAX: Final = 1024 * 1024
PASSAGE_CHARS_MIN: Final = 300
RESTRICTED_PREFIX: Final = "clinical"

LABELS: Final = (
    NamedLabel(name="billing", description="charged twice, refund, wrong payment, complaint about a bill"),
    NamedLabel(name="technical fault", description="error, update, crash, logs, version, data lost, support"),
    NamedLabel(name="cancellation", description="cancel, terminate, Kündigung, kündigen, Vertrag, Erstattung"),
    NamedLabel(name="medical", description="patient, diagnosis, medication, physician, hospital, examination"),
    NamedLabel(name="contract", description="agreement, parties, clause, liability, term, supplier, client"),
    NamedLabel(name="invoice", description="invoice number, VAT, amount due, quantity, unit price, total"),
    NamedLabel(name="incident", description="incident report, timeline, severity, causes, actions, resolved"),
)


class NoDocumentsError(FlotillaError):
    """There is nothing to work on; the text says where it was looked for."""


class Document(Struct, frozen=True, kw_only=True):
    """
    One document.

    Attributes:
        name: The file's, without its suffix where no other has the same.
        passages: The text in parts of at least PASSAGE_CHARS_MIN characters, each of them whole paragraphs.
    """

    name: str
    text: str
    data_class: DataClass
    passages: tuple[str, ...]


def read_documents(folder: Path, leave_out: Callable[[str], None]) -> list[Document]:
    """
    Read the files of a folder, by name, as every command does; those that begin with `clinical` are restricted data.

    Args:
        folder: Hidden files, and what is in folders of it, are left out.
        leave_out: Told of each file that is no document, and why.

    Raises:
        NoDocumentsError: There are none.
    """
    try:
        files = sorted(file for file in folder.iterdir() if file.is_file() and not file.name.startswith("."))
    except OSError as error:
        raise NoDocumentsError(f"{folder}: {error}") from error
    files = files[:DOCUMENTS_MAX]
    stems = Counter(file.stem for file in files)
    documents: list[Document] = []
    for file in files:
        try:
            if file.stat().st_size > DOCUMENT_BYTES_MAX:
                leave_out(f"{file}: more than {DOCUMENT_BYTES_MAX:,} bytes")
                continue
            text = read(str(file))
        except OSError as error:
            leave_out(f"{file}: {error.strerror}")
        except TaskError as error:
            leave_out(error.message)
        else:
            documents.append(_document(file.stem if stems[file.stem] == 1 else file.name, text))
    if not documents:
        raise NoDocumentsError(f"{folder}: no documents here")
    return documents


def passages_of(text: str) -> tuple[str, ...]:
    """Cut a text at blank lines, leaving no passage shorter than PASSAGE_CHARS_MIN unless the text is."""
    passages: list[str] = []
    held = ""
    for paragraph in text.split("\n\n"):
        held = f"{held}\n\n{paragraph}" if held else paragraph
        if len(held) >= PASSAGE_CHARS_MIN:
            passages.append(held)
            held = ""
    if held.strip():
        passages.append(f"{passages.pop()}\n\n{held}" if passages else held)
    return tuple(passages)


def _document(name: str, text: str) -> Document:
    return Document(
        name=name,
        text=text,
        data_class="restricted" if name.startswith(RESTRICTED_PREFIX) else "internal",
        passages=passages_of(text),
    )
