"""
Conditions in CEL, the Common Expression Language (https://cel.dev), over the values of a run.

CEL has no loops and no side effects, but the engine has no bound of cost: so the expression's length and nesting, its
macros over lists (one, never within another), the size of what it is given and how often it is read are bounded here. It
is given exactly the values whose paths stand in its text, nothing beside: what was overlooked in the text would be absent,
not leaked.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import Any, Final

import msgspec

from flotilla.contracts.fields import is_bounded
from flotilla.pipelines.cel_engine import engine
from flotilla.pipelines.errors import ConditionError
from flotilla.pipelines.references import ROOTS, AbsentError, NotAReferenceError, Reference, reference
from flotilla.pipelines.values import OutOfBoundsError, encoded

LENGTH_MAX: Final = 1_000
NESTING_MAX: Final = 16
OPERATORS_MAX: Final = 100
PATTERN_LENGTH_MAX: Final = 200
PATTERN_REPEATS_MAX: Final = 200
"""
Of all counted repetitions of a pattern, multiplied. The engine compiles a pattern each time that it is looked for, which
took 69 ms for `\\w{1,100}`: over a list of 1,900 texts an orchestrator would do nothing else for minutes.
"""
GIVEN_BYTES_MAX: Final = 256 * 1024
"""Of the values that a condition reads, as JSON."""
GIVEN_VALUES_MAX: Final = 2_000
"""Of the same: numbers, texts, objects."""
REPEATED_READS_MAX: Final = 250_000
"""
Of the values that stand within a macro over a list, which are read once for each of its elements. Each may be copied then:
`input.l.all(x, x in input.l)` took 0.2 s for 1,900 elements, a sum of forty lists ten times as long.
"""
READ_BYTES: Final = 256
"""So many of a value count as one more read."""

_MACROS: Final = frozenset({"all", "exists", "exists_one", "filter"})
_MAKES_LISTS: Final = "map"
"""Not among them: the engine copies what it has made so far for each element, of whatever size that is."""
_FUNCTIONS: Final = frozenset(
    {"has", "size", "contains", "startsWith", "endsWith", "matches", "int", "uint", "double", "string", "bool", "type"}
)
_REPEATS: Final = re.compile(r"\{(\d+)(?:,(\d*))?\}")
_LEXEME: Final = re.compile(
    r"""(?P<skip>\s+|//[^\n]*)
    |(?P<text>(?:[rR][bB]?|[bB][rR]?)?(?:\"{3}(?:\\.|[^\\])*?\"{3}|'{3}(?:\\.|[^\\])*?'{3}|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'))
    |(?P<chain>[A-Za-z_]\w*(?:\s*\.\s*[A-Za-z_]\w*)*)
    |(?P<number>\d[\w.]*)
    |(?P<sign>.)""",
    re.VERBOSE | re.DOTALL,
)
_FAILS: Final = (ValueError, TypeError, RuntimeError, LookupError, ArithmeticError)
"""What the engine raises; its texts may quote values and are not passed on."""


class Condition:
    """A compiled condition; does not change once it is made."""

    __slots__ = ("_execute", "references", "repeated", "text")

    def __init__(
        self,
        text: str,
        references: tuple[Reference, ...],
        repeated: Mapping[Reference, int],
        execute: Callable[[dict[str, Any]], Any],
    ) -> None:
        self.text = text
        self.references = references
        """Each once, shorter paths first."""
        self.repeated = repeated
        """Those within a macro over a list, and how often they stand there."""
        self._execute = execute

    def holds(self, step: str, resolve: Callable[[Reference], Any]) -> bool:
        """
        Evaluate it for a step, over the values of its references; those that are absent are left out.

        Raises:
            ConditionError: It fails over these values, is neither true nor false, or reads too much.
        """
        given = self._given(resolve)
        self._check_size(step, given)
        self._check_repeated(step, given, resolve)
        try:
            result = self._execute(given)
        except _FAILS as error:
            raise ConditionError(
                step, f"the condition {self.text!r} fails over the values of this run ({type(error).__name__})"
            ) from None
        if not isinstance(result, bool):
            raise ConditionError(step, f"the condition {self.text!r} is neither true nor false")
        return result

    def _given(self, resolve: Callable[[Reference], Any]) -> dict[str, Any]:
        given: dict[str, Any] = {}
        placed: set[tuple[str, ...]] = set()
        for read in self.references:
            parts = tuple(str(read).split("."))
            if any(parts[:length] in placed for length in range(1, len(parts))):
                continue
            try:
                value = resolve(read)
            except AbsentError:
                value = msgspec.UNSET
            table = given
            for part in parts[:-1]:
                table = table.setdefault(part, {})
            if value is not msgspec.UNSET:
                table[parts[-1]] = value
                placed.add(parts)
        return given

    def _check_size(self, step: str, given: dict[str, Any]) -> None:
        if _count(given, GIVEN_VALUES_MAX) > GIVEN_VALUES_MAX or _size_bytes(given) > GIVEN_BYTES_MAX:
            raise ConditionError(
                step,
                f"the condition {self.text!r} reads more "
                f"than {GIVEN_BYTES_MAX} bytes or {GIVEN_VALUES_MAX} values, or too large a number: "
                "have a step make what it asks for",
            )

    def _check_repeated(self, step: str, given: dict[str, Any], resolve: Callable[[Reference], Any]) -> None:
        if not self.repeated:
            return
        # Of whichever list the macro is, it has no more elements than values are given and commas stand in the text.
        elements = _count(given, GIVEN_VALUES_MAX) + OPERATORS_MAX
        reads = elements * sum(times * _reads(resolve, read) for read, times in self.repeated.items())
        if reads > REPEATED_READS_MAX:
            raise ConditionError(
                step,
                f"the condition {self.text!r} reads {reads} values for the elements of a list, expected at most "
                f"{REPEATED_READS_MAX}: have a step make what it asks for",
            )


def condition(text: Any, key: str, faults: list[str]) -> Condition | None:
    """Read a condition; `faults` gets what is wrong, each with its key, and the result is None then."""
    if not isinstance(text, str):
        faults.append(f"{key}: expected a condition in CEL, as text")
        return None
    found = list(_bound_faults(text))
    if not found:
        references, repeated = _references(text, found)
        if not found and (execute := _compiled(text, found)) is not None:
            return Condition(text, references, repeated, execute)
    faults.extend(f"{key}: {fault}" for fault in found)
    return None


def _compiled(text: str, found: list[str]) -> Callable[[dict[str, Any]], Any] | None:
    try:
        program = engine().compile(text)
        functions = program.functions()
    except _FAILS as error:
        reason = str(error).partition("\n")[0]
        found.append(f"expected CEL: {reason}")
        return None
    named = {name for name in functions if name.isidentifier() and not name.startswith("_")}
    if unknown := sorted(named - _FUNCTIONS - _MACROS):
        found.append(f"unknown function {', '.join(unknown)}; known are {', '.join(sorted(_FUNCTIONS))}")
        return None
    return program.execute


def _lexemes(text: str) -> Iterator[tuple[str, str]]:
    for match in _LEXEME.finditer(text):
        if match.lastgroup != "skip":
            yield match.lastgroup or "sign", match.group()


def _bound_faults(text: str) -> Iterator[str]:
    """Length, nesting, operators, patterns, and macros over lists that stand within one another."""
    if len(text) > LENGTH_MAX:
        yield f"{len(text)} characters, expected at most {LENGTH_MAX}"
        return
    depth = signs = 0
    last = ("", "")
    lexemes = list(_lexemes(text))
    for at, ((kind, lexeme), in_macro) in enumerate(zip(lexemes, _in_macro(lexemes), strict=True)):
        if kind == "sign" and lexeme in "([{":
            called = _called(last) if lexeme == "(" else ""
            if fault := _call_fault(called, lexemes[at + 1 : at + 3], in_macro=in_macro):
                yield fault
                return
            depth += 1
            if depth > NESTING_MAX:
                yield f"nested deeper than {NESTING_MAX} brackets"
                return
        elif kind == "sign" and lexeme in ")]}":
            depth = max(0, depth - 1)
        elif kind == "sign":
            signs += 1
        last = (kind, lexeme)
    if signs > OPERATORS_MAX:
        yield f"{signs} operators, expected at most {OPERATORS_MAX}"


def _call_fault(called: str, given: list[tuple[str, str]], *, in_macro: bool) -> str:
    """What is wrong with a function here, or with what it is given; empty where nothing is."""
    if called == _MAKES_LISTS:
        return "map has no bound of cost: ask with all, exists, exists_one or filter"
    if in_macro and called in _MACROS:
        return "a macro over a list stands within another: expected one at a time"
    return _pattern_fault(given, in_macro=in_macro) if called == "matches" else ""


def _pattern_fault(given: list[tuple[str, str]], *, in_macro: bool) -> str:
    if in_macro:
        return "matches stands within a macro over a list: expected one pattern for one text"
    if [kind for kind, _ in given] != ["text", "sign"] or given[1][1] != ")":
        return "expected the pattern of matches as a text: one that comes with the data may take any time"
    pattern = given[0][1]
    repeats = math.prod(max(1, int(most or least)) for least, most in _REPEATS.findall(pattern))
    if len(pattern) > PATTERN_LENGTH_MAX or repeats > PATTERN_REPEATS_MAX:
        bounds = f"{PATTERN_LENGTH_MAX} characters, and repetitions that multiply to {PATTERN_REPEATS_MAX}"
        return (
            f"a pattern of {len(pattern)} characters whose repetitions multiply to {repeats}: expected at most {bounds}"
        )
    return ""


def _references(text: str, faults: list[str]) -> tuple[tuple[Reference, ...], Mapping[Reference, int]]:
    """All, each once and shorter paths first; and those within macros over lists, with how often they stand there."""
    found: dict[Reference, None] = {}
    repeated: Counter[Reference] = Counter()
    lexemes = [*_lexemes(text), ("end", "")]
    before = ("", "")
    for ((kind, lexeme), (_, following)), in_macro in zip(pairwise(lexemes), _in_macro(lexemes), strict=False):
        if kind == "chain" and before[1] != ".":
            parts = [part.strip() for part in lexeme.split(".")]
            if following == "(":
                parts.pop()  # a function of it
            if parts and parts[0] in ROOTS:
                try:
                    read = reference(".".join(parts))
                except NotAReferenceError as error:
                    faults.append(str(error))
                else:
                    found[read] = None
                    repeated[read] += in_macro
        elif (kind, lexeme) == ("sign", ".") and before[1] not in (")", "]", "}"):
            faults.append("expected a name or a bracket before the dot")
        before = (kind, lexeme)
    return tuple(sorted(found, key=lambda read: len(read.path))), +repeated


def _in_macro(lexemes: list[tuple[str, str]]) -> Iterator[bool]:
    """Of each, whether it stands between the brackets of a macro over a list."""
    open_brackets: list[bool] = []
    before = ("", "")
    for kind, lexeme in lexemes:
        yield any(open_brackets)
        if kind == "sign" and lexeme in "([{":
            open_brackets.append(lexeme == "(" and _called(before) in _MACROS)
        elif kind == "sign" and lexeme in ")]}" and open_brackets:
            open_brackets.pop()
        before = (kind, lexeme)


def _called(before: tuple[str, str]) -> str:
    """The function whose bracket opens after this; empty where it is none."""
    return before[1].rpartition(".")[2].strip() if before[0] == "chain" else ""


def _reads(resolve: Callable[[Reference], Any], read: Reference) -> int:
    """How many values are read with this one."""
    try:
        value = resolve(read)
    except AbsentError:
        return 1
    return _count(value, GIVEN_VALUES_MAX) + _size_bytes(value) // READ_BYTES


def _size_bytes(given: Any) -> int:
    try:
        return len(encoded(given)) if is_bounded(given) else GIVEN_BYTES_MAX + 1
    except OutOfBoundsError:
        return GIVEN_BYTES_MAX + 1


def _count(value: Any, bound: int) -> int:
    """How many values there are in JSON; stops a little above the bound."""
    waiting: list[Any] = [value]
    count = 0
    while waiting and count <= bound:
        value = waiting.pop()
        count += 1
        if isinstance(value, dict):
            waiting.extend(value.values())  # pyright: ignore[reportUnknownArgumentType, reportUnknownMemberType]
        elif isinstance(value, list):
            waiting.extend(value)  # pyright: ignore[reportUnknownArgumentType]
    return count
