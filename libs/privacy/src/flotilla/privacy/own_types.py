r"""
Types of one's own, from a TOML file.

    [types.CASE]                      # 2 to 16 capital letters: [CASE_1_KQXRT]
    pattern = 'C-\d{6}'                # RE2's syntax: no look-around, no back-references, and no pattern can hang
    context = ["case", "Fall"]        # only with one of these words shortly before; without, everywhere
    checksum = "luhn"                 # one of CHECKSUMS; a value whose checksum is wrong is redacted as NUMBER
    ignore_case = true
"""

import importlib
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import stdnum.damm
import stdnum.iban
import stdnum.iso7064.mod_11_2
import stdnum.iso7064.mod_11_10
import stdnum.iso7064.mod_37_2
import stdnum.iso7064.mod_37_36
import stdnum.iso7064.mod_97_10
import stdnum.luhn
import stdnum.verhoeff

from flotilla.privacy.errors import OwnTypesError
from flotilla.privacy.normalise import Reading, read_closely
from flotilla.privacy.spans import Span
from flotilla.privacy.types import TYPES, is_type_name

FILE_LENGTH_MAX: Final = 65_536
OWN_TYPES_MAX: Final = 64
PATTERN_LENGTH_MAX: Final = 1_000
CONTEXT_WORDS_MAX: Final = 50
CONTEXT_LENGTH_MAX: Final = 60
_PROGRAM_BYTES_MAX: Final = 8 * 1024 * 1024
CHECKSUMS: Final[Mapping[str, Callable[[str], bool]]] = {
    name: cast("Callable[[str], bool]", module.is_valid)
    for name, module in cast(
        "dict[str, Any]",
        {
            "damm": stdnum.damm,
            "iban": stdnum.iban,
            "luhn": stdnum.luhn,
            "mod_11_2": stdnum.iso7064.mod_11_2,
            "mod_11_10": stdnum.iso7064.mod_11_10,
            "mod_37_2": stdnum.iso7064.mod_37_2,
            "mod_37_36": stdnum.iso7064.mod_37_36,
            "mod_97_10": stdnum.iso7064.mod_97_10,
            "verhoeff": stdnum.verhoeff,
        },
    ).items()
}
# Has no types of its own.
_re2: Any = importlib.import_module("re2")
_KEYS: Final = frozenset({"pattern", "context", "checksum", "ignore_case"})
_SEPARATORS: Final = re.compile(r"[\s./-]")


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnType:
    """
    One type of one's own.

    Attributes:
        name: 2 to 16 capital letters, none of the built-in ones.
        pattern: Compiled by RE2: takes time linear in the text, whatever it says.
        context: Matches one of the words that must stand before; None where none must.
        checksum: Decides between this type and NUMBER; None where there is none.
    """

    name: str
    pattern: Any
    context: re.Pattern[str] | None = None
    checksum: Callable[[str], bool] | None = None


class OwnTypes:
    """The layer of one's own types."""

    name = "own types"

    def __init__(self, own_types: Sequence[OwnType]) -> None:
        self._types = tuple(own_types)

    @property
    def types(self) -> tuple[str, ...]:
        """The types' names."""
        return tuple(own.name for own in self._types)

    def find(self, text: str, language: str) -> Iterator[Span]:  # noqa: ARG002 - patterns belong to no language
        """The spans of a text; reads it a second time as the structured layer does."""
        plain = Reading(text)
        for reading in (plain, read_closely(plain)):
            if reading is None:
                continue
            for own in self._types:
                for match in own.pattern.finditer(reading.text):
                    start, end = match.span()
                    if start < end and _in_context(own, reading.text, start):
                        name = own.name if own.checksum is None or _holds(own.checksum, match[0]) else "NUMBER"
                        yield reading.original(Span(start=start, end=end, type=name, layer=self.name))


def _in_context(own: OwnType, text: str, start: int) -> bool:
    return own.context is None or own.context.search(text, max(0, start - CONTEXT_LENGTH_MAX), start) is not None


def _holds(checksum: Callable[[str], bool], value: str) -> bool:
    return checksum(value) or checksum(_SEPARATORS.sub("", value))


def own_types(toml: str) -> OwnTypes:
    """
    Read a file of one's own types.

    Raises:
        OwnTypesError: it is not one; says the key and what is expected there.
    """
    if len(toml) > FILE_LENGTH_MAX:
        raise OwnTypesError("", f"the file is longer than {FILE_LENGTH_MAX} characters")
    try:
        document: dict[str, Any] = tomllib.loads(toml)
    except tomllib.TOMLDecodeError as error:
        raise OwnTypesError("", f"not TOML: {error}") from None
    if set(document) - {"types"} or not isinstance(document.get("types"), dict):
        raise OwnTypesError("", "expected tables [types.NAME] and nothing else")
    tables = cast("dict[str, Any]", document["types"])
    if not 1 <= len(tables) <= OWN_TYPES_MAX:
        raise OwnTypesError("types", f"expected 1 to {OWN_TYPES_MAX} types")
    return OwnTypes([_own_type(name, table) for name, table in tables.items()])


def _own_type(name: str, table: Any) -> OwnType:
    path = f"types.{name}"
    if not is_type_name(name) or name in TYPES:
        raise OwnTypesError(path, "the name is to be 2 to 16 capital letters, and none of the built-in types'")
    if not isinstance(table, dict):
        raise OwnTypesError(path, "expected a table")
    given = cast("dict[str, Any]", table)
    unknown = sorted(set(given) - _KEYS)
    if unknown:
        raise OwnTypesError(f"{path}.{unknown[0]}", f"unknown; there are {', '.join(sorted(_KEYS))}")
    checksum = given.get("checksum")
    if checksum is not None and checksum not in CHECKSUMS:
        raise OwnTypesError(f"{path}.checksum", f"expected one of {', '.join(CHECKSUMS)}")
    if not isinstance(given.get("ignore_case", False), bool):
        raise OwnTypesError(f"{path}.ignore_case", "expected true or false")
    return OwnType(
        name=name,
        pattern=_pattern(f"{path}.pattern", given.get("pattern"), ignore_case=given.get("ignore_case", False)),
        context=_context(f"{path}.context", given.get("context")),
        checksum=None if checksum is None else CHECKSUMS[checksum],
    )


def _pattern(path: str, pattern: Any, *, ignore_case: bool) -> Any:
    if not isinstance(pattern, str) or not 1 <= len(pattern) <= PATTERN_LENGTH_MAX:
        raise OwnTypesError(path, f"expected a pattern of 1 to {PATTERN_LENGTH_MAX} characters")
    options: Any = _re2.Options()
    options.log_errors = False
    options.max_mem = _PROGRAM_BYTES_MAX
    options.case_sensitive = not ignore_case
    try:
        compiled: Any = _re2.compile(pattern, options)
    except _re2.error as error:
        raise OwnTypesError(path, f"no pattern of RE2: {error}") from None
    if compiled.fullmatch(""):
        raise OwnTypesError(path, "it matches nothing at all, so it would match everywhere")
    return compiled


def _context(path: str, listed: Any) -> re.Pattern[str] | None:
    if listed is None:
        return None
    if not isinstance(listed, list) or not 1 <= len(cast("list[Any]", listed)) <= CONTEXT_WORDS_MAX:
        raise OwnTypesError(path, f"expected a list of 1 to {CONTEXT_WORDS_MAX} words")
    context: list[str] = []
    for word in cast("list[Any]", listed):
        if not isinstance(word, str) or not 1 <= len(word.strip()) <= CONTEXT_LENGTH_MAX:
            raise OwnTypesError(path, f"every word is to be a string of 1 to {CONTEXT_LENGTH_MAX} characters")
        context.append(re.escape(word.strip()))
    return re.compile(rf"(?<!\w)(?:{'|'.join(context)})", re.IGNORECASE)
