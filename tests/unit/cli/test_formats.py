# ruff: noqa: RUF001  (letters of other languages are what is tested)
"""Text out of files: PDF, Word, HTML, any encoding; and what is none."""

import asyncio
import io
import sys
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flotilla.cli.commands.redact import redact
from flotilla.cli.console import formats
from flotilla.cli.console.arguments import Fields
from flotilla.cli.console.documents import read
from flotilla.cli.console.encodings import NotTextError, decode
from flotilla.cli.console.exits import UsageError
from flotilla.cli.console.formats import FormatError, format_of, text_of
from flotilla.cli.console.jobs import plan
from flotilla.contracts.errors import TaskError
from flotilla.contracts.failures import ErrorKind

GERMAN = (
    "Sehr geehrte Damen und Herren,\n\nhiermit kündige ich den Vertrag fristgerecht zum nächstmöglichen Zeitpunkt. "
    "Bitte bestätigen Sie mir die Kündigung schriftlich und überweisen Sie mir das übrige Guthaben.\n\n"
    "Mit freundlichen Grüßen aus Köln\nJörg Müller\n"
)
TYPES = (
    '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"><Default Extension="xml" '
    'ContentType="application/xml"/></Types>'
)
RELATIONS = (
    '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="r1" '
    'Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument" '
    'Target="word/document.xml"/></Relationships>'
)


def pdf(*pages: str, filler: bytes = b"") -> bytes:
    """A PDF with a line of text on each page."""
    kids = " ".join(f"{4 + 2 * number} 0 R" for number in range(len(pages)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for number, text in enumerate(pages):
        content = zlib.compress(f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET".encode() if text else b"")
        objects += [
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Resources << /Font << /F1 3 0 R >> >> "
            + f"/Contents {5 + 2 * number} 0 R >>".encode(),
            f"<< /Length {len(content)} /Filter /FlateDecode >>\nstream\n".encode() + content + b"\nendstream",
        ]
    out = b"%PDF-1.4\n" + filler
    places: list[int] = []
    for number, body in enumerate(objects, start=1):
        places.append(len(out))
        out += f"{number} 0 obj\n".encode() + body + b"\nendobj\n"
    table = b"".join(f"{place:010} 00000 n \n".encode() for place in places)
    start = len(out)
    return (
        out
        + f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n".encode()
        + table
        + f"trailer << /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{start}\n%%EOF\n".encode()
    )


def docx(*paragraphs: str, before: str = "") -> bytes:
    """A Word document, as small as can be."""
    body = "".join(f"<w:p><w:r><w:t>{text}</w:t></w:r></w:p>" for text in paragraphs)
    space = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", TYPES)
        archive.writestr("_rels/.rels", RELATIONS)
        document = f'{before}<w:document xmlns:w="{space}"><w:body>{body}</w:body></w:document>'
        archive.writestr("word/document.xml", '<?xml version="1.0" encoding="UTF-8"?>' + document)
    return out.getvalue()


def packed(*names: str) -> bytes:
    """An archive of files with nothing in them."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in names:
            archive.writestr(name, "")
    return out.getvalue()


HTML = (
    "<!DOCTYPE html><html><head><title>Letter</title><style>p { color: red }</style></head><body>"
    "<p>I was <b>charged</b> twice.</p><script>track()</script><ul><li>once<li>and again</ul>"
    "<table><tr><td>May</td><td>12</td></tr></table></body></html>"
)


@pytest.mark.parametrize(
    ("name", "raw", "words"),
    [
        ("letter.pdf", pdf("I was charged twice", "and again"), ["I was charged twice", "and again"]),
        ("letter.docx", docx("I was charged twice", "und zurück"), ["I was charged twice", "und zurück"]),
        ("letter.html", HTML.encode(), ["I was charged twice.", "once", "and again", "May 12"]),
        ("no-suffix", pdf("I was charged twice"), ["I was charged twice"]),
        ("letter.htm", "<html><meta charset=cp1252><p>Grüße".encode("cp1252"), ["Grüße"]),
        ("wide.htm", "<html><p>Grüße".encode("utf-16"), ["Grüße"]),
        ("saved.htm", b"<!-- saved from a page -->\n<html><p>once", ["once"]),
        ("strict.xhtml", b"<?xml version='1.0'?>\n<!DOCTYPE html><html><p>once</p></html>", ["once"]),
        ("open-cells.htm", b"<html><table><tr><td>May<td>12</table>", ["May 12"]),
        ("old.xml", "<?xml version='1.0' encoding='cp866'?>\nГруша".encode("cp866"), ["Груша"]),
        (
            "about.txt",
            b"\nA file begins with %PDF-1.7 where it is a PDF",
            ["A file begins with %PDF-1.7 where it is a PDF"],
        ),
    ],
)
def test_a_document_is_read_by_what_it_is(tmp_path: Path, name: str, raw: bytes, words: list[str]) -> None:
    """
    Its words, each part on a line of its own; nothing of scripts, styles or tags.
    """
    (tmp_path / name).write_bytes(raw)
    lines = [" ".join(line.split()) for line in read(str(tmp_path / name)).splitlines()]

    for word in words:
        assert word in lines
    text = "\n".join(lines)
    assert not any(hidden in text for hidden in ("track", "color", "<p", "charset"))


@pytest.mark.parametrize("module", ["pypdf", "mammoth", "bs4"])
def test_without_the_extra_it_is_said_what_to_install(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Or what to do instead.
    """
    raw = {"pypdf": pdf("x"), "mammoth": docx("x"), "bs4": HTML.encode()}[module]
    kind = format_of(raw)
    assert kind is not None
    monkeypatch.setitem(sys.modules, module, None)

    with pytest.raises(FormatError, match=r"pip install 'flotilla-cli\[documents\]'") as refused:
        text_of(raw, kind, encoding=None)

    assert "or " in str(refused.value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252", "iso-8859-15"])
def test_a_letter_is_read_in_its_encoding(encoding: str) -> None:
    """
    By its mark, or by what is in it; then it is told which one was guessed.
    """
    found = decode(GERMAN.encode(encoding), None)

    assert found.text == GERMAN
    assert bool(found.detected) == (encoding in ("cp1252", "iso-8859-15"))


LETTERS = {
    "en": "Dear all, I’d like to cancel, “soon”. Café Zoë.\n",
    "fr": "Facture réglée deux fois à tort, voilà.\n",
    "pt": "Prezados, não consigo cancelar a minha assinatura. João Gonçalves\n",
    "sv": "Hej, jag vill säga upp mitt avtal från första mars. Åsa Öberg\n",
    "cs": "Vážení, prosím o ukončení smlouvy. Jiří Dvořák, příští týden\n",
    "pl": "Szanowni Państwo, proszę o rozwiązanie umowy. Łukasz Żółć\n",
    "ru": "Уважаемые господа, прошу расторгнуть мой договор.\n",
    "el": "Αγαπητοί κύριοι, θα ήθελα να ακυρώσω τη σύμβασή μου.\n",
    "tr": "Merhaba, ücret iki kez alındı. Lütfen parayı iade edin. Teşekkürler, Şükrü\n",
    "euro": "Es kostet 12,50 €.\n",
    "he": "שלום רב, ברצוני לבטל את החוזה שלי. תודה רבה\n",
    "ja": "お世話になっております。請求書の金額が間違っているようです。\n",
    "ko": "계약을 해지하고 싶습니다. 3월 1일부터 적용해 주세요.\n",
    "zh": "尊敬的先生们,我想取消我的合同。请确认收到此信件。谢谢。\n",
}


@pytest.mark.parametrize(
    ("language", "encoding"),
    [
        *[(language, "cp1252") for language in ("en", "fr", "pt", "sv")],
        *[("cs", "cp1250"), ("pl", "cp1250"), ("pl", "iso8859-2")],
        *[("tr", "cp1254"), ("tr", "iso8859-9"), ("fr", "mac_roman"), ("euro", "cp1252"), ("ru", "cp866")],
        *[("ru", "cp1251"), ("ru", "koi8-r"), ("el", "cp1253"), ("he", "cp1255")],
        *[("ja", "cp932"), ("ja", "euc_jp"), ("ja", "iso2022_jp"), ("ko", "euc_kr"), ("zh", "gb18030")],
        *[("en", "utf-16-le"), ("fr", "utf-16-be"), ("ru", "utf-16-le"), ("ja", "utf-16-be"), ("pt", "utf-32-le")],
    ],
)
def test_a_short_letter_is_no_other_language_s(language: str, encoding: str) -> None:
    """
    Its bytes are text in several encodings, of which a detector likes another one better, or in none that has no mark.
    """
    found = decode(LETTERS[language].encode(encoding), None)

    assert found.text == LETTERS[language]
    assert found.detected


def test_noise_in_a_wide_encoding_is_no_text() -> None:
    """
    NULs alone make no UTF-16 of a binary file.
    """
    for raw in (b"a\0b\0\0\0c\0", b"\0\1\0\2", b"MZ\x90\0\3\0\0\0\4\0\0\0", bytes(range(256)) * 2):
        with pytest.raises(NotTextError, match="binary"):
            decode(raw, None)


@given(text=st.text(st.characters(codec="cp1252", exclude_categories=("Cc",)), min_size=1))
def test_a_named_encoding_is_what_counts(text: str) -> None:
    """
    Whatever the bytes look like.
    """
    assert decode(text.encode("cp1252"), "cp1252") == (text, "")


@given(raw=st.binary(min_size=1, max_size=300))
@example(raw=b"\0\0\0\0 \0\0\1\0\1\0\1\0\1\0")
@example(raw=b"\0\0\0\0\0 \1\0\1\0\0 \0 \0")
def test_bytes_are_a_text_without_controls_or_are_refused(raw: bytes) -> None:
    """
    Never anything else.
    """
    try:
        text = decode(raw, None).text
    except NotTextError:
        return
    assert all(each in "\t\n\r\x0b\x0c\x0d\x1b" or ord(each) not in {*range(32), 127} for each in text)


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"\x89PNG\r\n\x1a\n\x00\x00", "binary"),
        (b"\x7fELF\x01\x01\x01\x00", "binary"),
        (b"\xff\xd8\xff\xe1 Exif", "binary"),
        (b"Gr\xfc\xdfe \x02\x03", "binary"),
        (b"PK\x03\x04 and no archive", "an archive; unpack it first"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1 old", "save it as .docx"),
        (rb"{\rtf1\ansi Gr\'fc\'dfe\par}", "save it as .docx"),
        (packed("mimetype", "content.xml"), "OpenDocument file"),
        (packed("[Content_Types].xml", "xl/workbook.xml"), "a sheet"),
        (packed("letter.txt"), "an archive; unpack it first"),
        (pdf(""), "OCR"),
        (b"%PDF-1.7 and nothing more", r"a PDF that cannot be read \(\w+\); convert it to text, with"),
        (docx("&a;", before='<!DOCTYPE d [<!ENTITY a "aaaa">]>'), "entities"),
    ],
)
def test_what_is_no_document_is_refused_with_what_to_do(tmp_path: Path, raw: bytes, says: str) -> None:
    """
    With the file's name; nothing of it is shown.
    """
    file = tmp_path / "letter"
    file.write_bytes(raw)

    with pytest.raises(TaskError, match=says) as refused:
        read(str(file))

    assert refused.value.kind is ErrorKind.BAD_REQUEST
    assert refused.value.message.startswith(f"{file}: ")


def test_what_a_document_unpacks_to_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Bytes of a Word document, pages and characters of a PDF.
    """
    big = docx("x" * 100_000)
    assert len(big) < 10_000
    monkeypatch.setattr(formats, "UNPACKED_BYTES_MAX", 50_000)
    with pytest.raises(FormatError, match="unpacks to more than 50,000 bytes"):
        text_of(big, "docx", encoding=None)
    monkeypatch.setattr(formats, "PAGES_MAX", 1)
    with pytest.raises(FormatError, match="more than 1 pages"):
        text_of(pdf("a", "b"), "pdf", encoding=None)
    monkeypatch.setattr(formats, "TEXT_CHARS_MAX", 3)
    with pytest.raises(FormatError, match="more than 3 characters"):
        text_of(pdf("abcd"), "pdf", encoding=None)


@given(
    raw=st.sampled_from([pdf("one", "two"), docx("one", "two"), HTML.encode()]),
    at=st.integers(0, 2000),
    noise=st.binary(max_size=8),
    cut=st.booleans(),
)
def test_a_broken_document_is_read_or_refused(raw: bytes, at: int, noise: bytes, cut: bool) -> None:  # noqa: FBT001  (hypothesis gives it)
    """
    A library that stumbles ends no command.
    """
    broken = raw[:at] if cut else raw[:at] + noise + raw[at + len(noise) :]
    kind = format_of(broken)
    if kind is None:
        return
    with suppress(FormatError):
        text_of(broken, kind, encoding=None).encode()


def test_an_encoding_that_nobody_knows_is_refused_before_anything_is_read() -> None:
    """
    Nor is one that makes no text.
    """
    for name in ("no-such", "hex"):
        with pytest.raises(UsageError, match=f"--encoding {name}"):
            plan("summarize", ("missing.txt",), Fields(encoding=name))
        with pytest.raises(UsageError, match=f"--encoding {name}"):
            asyncio.run(redact("missing.txt", encoding=name))
