"""
Text out of documents that are no plain text: PDF, Word (.docx) and HTML, by what they hold and not by their names.

The libraries come with the extra `documents` and are imported when the first such document is read. What a document may
unpack to is bounded; what its library cannot read is refused, whatever the library makes of it.
"""

import codecs
import io
import logging
import re
import warnings
import zipfile
from collections.abc import Callable
from importlib import import_module
from typing import Any, Final, Literal

from flotilla.contracts.errors import FlotillaError

EXTRA: Final = "pip install 'flotilla-cli[documents]'"
HEAD_BYTES: Final = 1024
"""A PDF's signature stands somewhere in here, and so does an HTML page's first tag."""
PAGES_MAX: Final = 10_000
TEXT_CHARS_MAX: Final = 64 * 1024 * 1024
UNPACKED_BYTES_MAX: Final = 256 * 1024 * 1024
ENTRIES_MAX: Final = 10_000

Format = Literal["pdf", "docx", "html", "doc", "rtf", "office", "zip"]

_BEFORE_HTML: Final = re.compile(
    r"(?:\s|<\?xml[^>]{0,200}>|<!--.{0,500}?-->)*<(?:!doctype\s+html|html)\b", re.IGNORECASE | re.DOTALL
)
_WIDE_MARKS: Final = ((codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_DOCX_BODY: Final = "word/document.xml"
_BLOCKS: Final = (
    *("address", "article", "aside", "blockquote", "dd", "div", "dl", "dt", "fieldset", "figcaption", "figure"),
    *("footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "nav", "ol", "p", "pre"),
    *("section", "table", "title", "tr", "ul"),
)
_UNSEEN: Final = ("script", "style", "template", "noscript")


class FormatError(FlotillaError):
    """A document of a known format cannot be read; the text says why, and what to do."""


def format_of(raw: bytes) -> Format | None:
    """What a document is, by its first bytes; None for what may be text."""
    head = raw[:HEAD_BYTES]
    if b"%PDF-" in head and (head.lstrip().startswith(b"%PDF-") or not _is_plain(head)):
        return "pdf"
    if head.startswith(b"PK\x03\x04"):
        return _packed(raw)
    if head.startswith(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"):
        return "doc"
    if head.startswith(b"{\\rtf"):
        return "rtf"
    wide = next((name for mark, name in _WIDE_MARKS if head.startswith(mark)), None)
    begin = head.decode(wide or "utf-8-sig", "replace")
    return "html" if _BEFORE_HTML.match(begin) else None


def text_of(raw: bytes, kind: Format, *, encoding: str | None) -> str:
    """
    The text of a document; `encoding` is that of an HTML page, which says it itself unless it is given.

    Raises:
        FormatError: It cannot be read, or holds more than may be.
    """
    match kind:
        case "doc":
            raise FormatError(
                "an old Office document, or one with a password; save it as .docx without one, or as text"
            )
        case "rtf":
            raise FormatError("a document in rich text (RTF); save it as .docx or as text")
        case "office":
            raise FormatError("slides, a sheet, an OpenDocument file or a book; save it as PDF or text")
        case "zip":
            raise FormatError("an archive; unpack it first")
        case "pdf":
            return _read(lambda: _pdf(raw), "a PDF", "convert it to text, with pdftotext for example")
        case "docx":
            return _read(lambda: _docx(raw), "a Word document", "save it as text")
        case "html":
            return _read(lambda: _html(raw, encoding), "an HTML page", "save it as text")


def _read(work: Callable[[], str], what: str, otherwise: str) -> str:
    try:
        text = work()
    except ImportError as error:
        raise FormatError(f"{what}, which {EXTRA} can read; or {otherwise}") from error
    except FormatError:
        raise
    except Exception as error:  # a malformed document makes a library raise anything
        raise FormatError(f"{what} that cannot be read ({type(error).__name__}); {otherwise}") from error
    return text.encode("utf-8", "replace").decode()


def _pdf(raw: bytes) -> str:
    from pypdf import PdfReader  # noqa: PLC0415  (an extra)

    # What it warns of is of no use to whoever reads an answer.
    logging.getLogger("pypdf").addHandler(logging.NullHandler())
    reader = PdfReader(io.BytesIO(raw))
    if reader.is_encrypted and not reader.decrypt(""):
        raise FormatError("a PDF with a password; save it without one first")
    if len(reader.pages) > PAGES_MAX:
        raise FormatError(f"a PDF of more than {PAGES_MAX:,} pages; split it")
    pages: list[str] = []
    left = TEXT_CHARS_MAX
    for page in reader.pages:
        text = page.extract_text().strip()
        left -= len(text)
        if left < 0:
            raise FormatError(f"a PDF of more than {TEXT_CHARS_MAX:,} characters; split it")
        pages.append(text)
    found = "\n\n".join(page for page in pages if page)
    if not found:
        raise FormatError("a PDF without text, as a scanner makes it; have its text recognised first (OCR)")
    return found


def _docx(raw: bytes) -> str:
    mammoth: Any = import_module("mammoth")  # an extra, and untyped
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        entries = archive.infolist()
        if len(entries) > ENTRIES_MAX or sum(entry.file_size for entry in entries) > UNPACKED_BYTES_MAX:
            raise FormatError(f"a Word document that unpacks to more than {UNPACKED_BYTES_MAX:,} bytes; split it")
        for entry in entries:
            # No Word document declares entities; one that does is made to grow without bounds.
            if entry.filename.endswith((".xml", ".rels")) and b"<!ENTITY" in archive.read(entry):
                raise FormatError("a Word document with entities of its own; save it as text")
    return mammoth.extract_raw_text(io.BytesIO(raw)).value


def _html(raw: bytes, encoding: str | None) -> str:
    from bs4 import BeautifulSoup  # noqa: PLC0415  (an extra)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pages that look like XML, characters that were replaced
        soup = BeautifulSoup(raw, "html.parser", from_encoding=encoding)
    for tag in soup.find_all(_UNSEEN):
        tag.decompose()
    for tag in soup.find_all("br"):
        tag.replace_with("\n")
    for tag in soup.find_all(_BLOCKS):
        tag.insert(0, "\n")
        tag.append("\n")
    for tag in soup.find_all(("td", "th")):
        # Before it, since cells that are not closed stand one in the other.
        tag.insert(0, "\t")
    lines = (" ".join(line.split()) for line in soup.get_text().splitlines())
    return "\n".join(line for line in lines if line) + "\n"


def _packed(raw: bytes) -> Format:
    """What an archive is."""
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            names = frozenset(archive.namelist())
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError):
        return "zip"
    if _DOCX_BODY in names:
        return "docx"
    # Office Open XML has the first, OpenDocument and EPUB the second.
    return "office" if names & {"[Content_Types].xml", "mimetype"} else "zip"


def _is_plain(head: bytes) -> bool:
    """Whether the beginning of a file is text, in which a signature is only spoken of."""
    return all(byte in b"\t\n\r\f" or 32 <= byte < 127 for byte in head)  # noqa: PLR2004  (printable ASCII)
