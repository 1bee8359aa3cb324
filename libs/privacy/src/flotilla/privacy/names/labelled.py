"""
Values with a label: cells below a heading, JSON keys, XML elements, fields of a form.

A label says what its value is whatever the value looks like: `rain` below "first name" is somebody's. Where a label may
be anything's (`name`, `contact`), its value counts unless it consists of ordinary words that are nobody's name.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from flotilla.privacy import lexicon
from flotilla.privacy.lexicon import COMMON_ANYWHERE, FIRST, LAST
from flotilla.privacy.names.labels import LABEL_LENGTH_MAX, type_of_label
from flotilla.privacy.names.small import NOBODYS
from flotilla.privacy.values.regions import words

Found = tuple[int, int, str]

VALUE_LENGTH_MAX: Final = 200
COLUMNS_MAX: Final = 100
_VALUE_WORDS_MAX: Final = 12
_NO_VALUES: Final = words(
    "n/a na none null nil unknown tbd - -- --- . ? yes no true false ja nein oui non sí si unbekannt keine keiner aucun "
    "aucune ninguno ninguna inconnu desconocido undefined nan"
)
_WITH_DIGITS: Final = words("PHONE DATE AGE ID TAX CARD RECORD IP PLATE")
_WORD: Final = re.compile(r"[^\W\d_]+")

# --- fields -----------------------------------------------------------------------------------------------------------
# Things have these too.
_NOT_ALONE: Final = frozenset({"DATE", "ORG", "AGE", "IP", "SECRET"})
_KEY: Final = re.compile(rf"\"([^\"\n]{{1,{LABEL_LENGTH_MAX}}})\"\s{{0,4}}:")
_COLON: Final = re.compile(r"[:=](?:(?<==)>)?[ \t]{0,8}(?![:=/])")
# Read backwards from the colon.
_LABEL_BACKWARDS: Final = re.compile(rf"[^\n\t;,|{{}}()\[\]\"'<>:=]{{1,{LABEL_LENGTH_MAX}}}")
_QUOTED: Final = re.compile(rf"\"((?:[^\"\\\n]|\\.){{1,{VALUE_LENGTH_MAX}}})\"|'([^'\n]{{1,{VALUE_LENGTH_MAX}}})'")
_LISTED: Final = re.compile(r"\[[^\[\]{}]{0,2000}\]")
_END: Final = r"(?=[ \t]{0,8}(?:\Z|[\n\r\t;,|(){}<>\]\"']| {2}|\.(?:\s|\Z)))"
_NAME_WORD: Final = r"[^\W\d_][\w.'-]{0,40}"
_NAME: Final = re.compile(rf"{_NAME_WORD}(?:,? {_NAME_WORD}){{0,4}}?{_END}")
_LINE: Final = re.compile(rf"[^\W_](?:[^\n\r\t:;|{{}}<>\"](?! {{2}})){{0,{VALUE_LENGTH_MAX // 2}}}")
_NUMBER: Final = re.compile(r"[+(#]{0,2}\w[\w./()+-]{0,40}(?: [\w./()+-]{0,10}\d[\w./()+-]{0,20}){0,8}")
_FORMS: Final = {
    "PERSON": _NAME,
    "PLACE": _NAME,
    "GROUP": _NAME,
    "ADDRESS": _LINE,
    "ORG": _LINE,
    **dict.fromkeys(_WITH_DIGITS | {"ACCOUNT"}, _NUMBER),
}
_ELEMENT: Final = re.compile(
    rf"<(?:\w{{1,20}}:)?([\w.-]{{1,40}})(?:\s[^<>]{{0,200}})?>([^<>]{{1,{VALUE_LENGTH_MAX}}})</"
)

# --- tables -----------------------------------------------------------------------------------------------------------
_DELIMITERS: Final = ("\t", ";", "|", ",", "  ")
_QUOTED_CELL: Final = r"\"(?P<quoted>(?:[^\"]|\"\"){0,1000})\""
_CELL: Final = {
    mark: re.compile(
        rf"{space}{{0,80}}(?:{_QUOTED_CELL}|(?P<plain>[^{mark}\n\r]{{0,1000}}))[ ]{{0,80}}(?P<end>{mark}|\r?\n|\r|\Z)"
    )
    for mark, space in ((r"\t", "[ ]"), (";", r"[ \t]"), (r"\|", r"[ \t]"), (",", r"[ \t]"))
}
_SPACED_CELL: Final = re.compile(
    r"(?P<quoted>(?!))?(?P<plain>(?:[^ \n\r\t]| (?! )){0,400})(?P<end> {2,80}|\t|\r?\n|\r|\Z)"
)
_HEADING_LINE: Final = re.compile(r"^[^\n\r]{3,1000}$", re.MULTILINE)
_SENTENCE: Final = re.compile(r"[.!?](?:\s|\Z)")
_HEADING_WORDS_MAX: Final = 5
_RULE: Final = re.compile(r"[ \t|:=+-]*\Z")


def find(text: str) -> Iterator[Found]:
    """Values whose labels say that they are personal data."""
    yield from _fields(text)
    if "</" in text:
        for match in _ELEMENT.finditer(text):
            yield from _value(text, *match.span(2), type_of_label(match[1]))
    yield from _tables(text)


def _fields(text: str) -> Iterator[Found]:
    persons: bool | None = None
    for colon in _COLON.finditer(text):
        end = colon.start()
        end -= end > 0 and text[end - 1] in " \t"
        end -= end > 0 and text[end - 1] in "\"'"
        before = text[max(0, end - LABEL_LENGTH_MAX) : end]
        backwards = _LABEL_BACKWARDS.match(before[::-1])
        if backwards is None:
            continue
        label = backwards[0][::-1].rpartition("  ")[2].strip(" \t*->#")
        # "Tel. privat" is one label, "It is late. Name" is none.
        kind = type_of_label(label) or type_of_label(label.rpartition(". ")[2])
        if kind is None:
            continue
        if kind[1] and text[colon.end() : colon.end() + 1] in {'"', "["}:
            # In an object with other keys of a person's, a name is somebody's.
            persons = _of_persons(text) if persons is None else persons
            kind = (kind[0], not persons)
        yield from _after(text, colon.end(), kind)


def _of_persons(text: str) -> bool:
    return any(
        kind is not None and not kind[1] and kind[0] not in _NOT_ALONE
        for kind in (type_of_label(key[1]) for key in _KEY.finditer(text))
    )


def _after(text: str, at: int, kind: tuple[str, bool]) -> Iterator[Found]:
    """The value that begins at a place: a text in quotes, a list of such, or what the line goes on with."""
    opening = text[at : at + 1]
    listed = _LISTED.match(text, at) if opening == "[" else None
    value = None
    if listed is not None:
        for quoted in _QUOTED.finditer(text, *listed.span()):
            yield from _value(text, *quoted.span(quoted.lastindex or 0), kind)
    elif opening in {'"', "'"}:
        value = _QUOTED.match(text, at)
    elif kind[0] in _FORMS:
        value = _FORMS[kind[0]].match(text, at)
        # A sentence may follow: "Address: see below".
        kind = (kind[0], kind[1] or kind[0] in {"ADDRESS", "ORG"})
    if value is not None:
        yield from _value(text, *value.span(value.lastindex or 0), kind)


def _tables(text: str) -> Iterator[Found]:
    done = 0
    for line in _HEADING_LINE.finditer(text):
        if line.start() < done:
            continue
        mark = next((mark for mark in _DELIMITERS if mark in line[0].strip()), None)
        if mark is None or line.end() >= len(text) - 1:
            continue
        cell = _SPACED_CELL if mark == "  " else _CELL[{"|": r"\|", "\t": r"\t"}.get(mark, mark)]
        headings, at = _row(text, line.start(), cell)
        kinds = [_heading(text[start:end]) for start, end in headings]
        if not any(kinds) or len(headings) < 2 or not all(_may_be_heading(text[start:end]) for start, end in headings):  # noqa: PLR2004 - a table has columns
            continue
        done, found = _cells(text, at, cell, kinds)
        yield from found


def _heading(text: str) -> tuple[str, bool] | None:
    return type_of_label(text.strip(" \t*_#"))


def _may_be_heading(text: str) -> bool:
    return len(text.split()) <= _HEADING_WORDS_MAX and not _SENTENCE.search(text[:-1])


def _cells(
    text: str, at: int, cell: re.Pattern[str], kinds: Sequence[tuple[str, bool] | None]
) -> tuple[int, list[Found]]:
    """Where the table ends, and its values; a column of names of which half are names has nothing but names."""
    columns: list[list[tuple[int, int]]] = [[] for _ in kinds]
    while at < len(text):
        row, after = _row(text, at, cell)
        if len(row) < 2 and not _RULE.match(text[at:after].strip()):  # noqa: PLR2004
            break
        if not text[at:after].strip():
            break
        for column, place in zip(columns, row, strict=False):
            column.append(place)
        at = after
    found: list[Found] = []
    # Beside an address or a telephone, what is called a name is somebody's.
    persons = any(kind is not None and not kind[1] and kind[0] not in _NOT_ALONE for kind in kinds)
    for column, kind in zip(columns, kinds, strict=True):
        if kind is None:
            continue
        sure = (kind[0], kind[1] and not persons)
        values = [one for start, end in column for one in _value(text, start, end, sure)]
        if sure[1] and 2 * len(values) >= len(column):
            values = [one for start, end in column for one in _value(text, start, end, (kind[0], False))]
        found += values
    return at, found


def _row(text: str, at: int, cell: re.Pattern[str]) -> tuple[list[tuple[int, int]], int]:
    """The cells of a row, without quotes, and where the next one begins."""
    cells: list[tuple[int, int]] = []
    while at <= len(text):
        match = cell.match(text, at)
        if match is None:
            after = text.find("\n", at)
            return cells, len(text) if after < 0 else after + 1
        cells.append(match.span("plain" if match["quoted"] is None else "quoted"))
        at = match.end()
        if match["end"][:1] in {"", "\n", "\r"} or len(cells) > COLUMNS_MAX:
            break
    if len(cells) > COLUMNS_MAX:
        after = text.find("\n", at)
        at = len(text) if after < 0 else after + 1
    return cells, at


def _value(text: str, start: int, end: int, kind: tuple[str, bool] | None) -> Iterator[Found]:
    """The span of a value without the space around it; none where it is no value of that kind."""
    if kind is None:
        return
    name, unsure = kind
    value = text[start:end]
    start += len(value) - len(value.lstrip())
    value = value.strip().rstrip(",;")
    if (
        not value
        or len(value) > VALUE_LENGTH_MAX
        or (len(value) > 2 * _VALUE_WORDS_MAX and len(value.split()) > _VALUE_WORDS_MAX)
        or value.lower() in _NO_VALUES
    ):
        return
    digit = any(map(str.isdigit, value))
    if name in _WITH_DIGITS and not digit:
        return
    if name in {"PERSON", "PLACE", "ORG", "GROUP"} and not any(map(str.isalpha, value)):
        return
    if name == "ACCOUNT" and not digit and " " in value:
        return
    if unsure and not digit and _is_ordinary(value):
        return
    yield start, start + len(value), name


def _is_ordinary(value: str) -> bool:
    """Whether it has ordinary words alone; those that are family names as well count as names with a capital."""
    listed, names, places = lexicon.ordinary_words(), lexicon.names(), lexicon.places()
    return all(
        word in NOBODYS
        or (
            listed.flags(word.lower()) & COMMON_ANYWHERE
            and not names.flags(word.lower()) & (FIRST if word.islower() else FIRST | LAST)
            and not places.flags(word.lower())
        )
        for word in _WORD.findall(value)
    )
