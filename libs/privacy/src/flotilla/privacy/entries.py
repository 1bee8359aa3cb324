"""What a vault holds of one case: which value each placeholder stands for."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from flotilla.privacy.errors import EntriesError
from flotilla.privacy.placeholders import NUMBER_MAX, Forms, forms_of, is_tag, placeholder, tag_of
from flotilla.privacy.types import TYPES, is_type_name

ENTRIES_MAX: Final = 10_000
NUMBER_MARK: Final = "\0"
"""Begins the value of an entry that stands for a number of a JSON document: no text has it, since NUL is refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """
    One value.

    Attributes:
        number: From 1; no two entries of a vault share it.
        type: One of `types.TYPES`, or a type of one's own.
        value: The very characters that stood in the text; of a number of a JSON document, NUMBER_MARK and its digits.
            Shown by no `repr`.
    """

    number: int
    type: str
    value: str = field(repr=False)

    def __post_init__(self) -> None:
        if not 1 <= self.number <= NUMBER_MAX or not is_type_name(self.type) or not self.value:
            raise EntriesError("an entry of the vault is not well-formed")

    @property
    def is_number(self) -> bool:
        """Whether it stands for a number of a JSON document."""
        return self.value.startswith(NUMBER_MARK)

    @property
    def text(self) -> str:
        """The value as it reads in a text."""
        return self.value.removeprefix(NUMBER_MARK)

    @property
    def json(self) -> str | int | float:
        """The value as it stood in a JSON document."""
        if not self.is_number:
            return self.value
        return int(self.text) if self.text.lstrip("-").isdecimal() else float(self.text)


class Entries:
    """
    The entries of one vault. Immutable: `with_values` gives others.

    Raises:
        EntriesError: a tag that is none, two entries with one number or one value, or more than `ENTRIES_MAX`.
    """

    def __init__(self, tag: str, entries: Iterable[Entry] = ()) -> None:
        if not is_tag(tag):
            raise EntriesError("the vault's tag is not well-formed")
        self.tag = tag
        self._by_number: dict[int, Entry] = {}
        self._by_value: dict[str, Entry] = {}
        for entry in entries:
            if entry.number in self._by_number or entry.value in self._by_value:
                raise EntriesError("two entries of the vault have one number or one value")
            self._by_number[entry.number] = entry
            self._by_value[entry.value] = entry
        if len(self._by_number) > ENTRIES_MAX:
            raise EntriesError(f"a vault holds at most {ENTRIES_MAX} entries; begin another case")

    @classmethod
    def empty(cls, vault_id: str) -> "Entries":
        """The entries of a vault that has none yet."""
        return cls(tag_of(vault_id))

    def __len__(self) -> int:
        return len(self._by_number)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._by_number.values())

    def __repr__(self) -> str:
        return f"Entries({self.tag}, {len(self)} entries)"

    def numbered(self, number: int) -> Entry | None:
        """The entry with that number."""
        return self._by_number.get(number)

    def of_value(self, value: str) -> Entry | None:
        """The entry of that very value."""
        return self._by_value.get(value)

    def placeholder_of(self, entry: Entry) -> str:
        """What stands in a redacted text for an entry."""
        return placeholder(entry.type, entry.number, self.tag)

    @cached_property
    def forms(self) -> Forms:
        """What this vault's placeholders look like in a text that a model wrote."""
        return forms_of(self.tag, tuple(sorted(self.types)))

    @cached_property
    def types(self) -> frozenset[str]:
        """Every built-in type, and those of one's own that an entry has."""
        return frozenset((*TYPES, *(entry.type for entry in self._by_number.values())))

    def with_values(self, types_by_value: Mapping[str, str]) -> "Entries":
        """
        These entries, and one more for each value that has none; numbers go on in the mapping's order.

        A value that has an entry keeps it, whatever type it is given now: one value, one placeholder.

        Raises:
            EntriesError: more than `ENTRIES_MAX` entries.
        """
        new = {value: name for value, name in types_by_value.items() if value not in self._by_value}
        if not new:
            return self
        first = max(self._by_number, default=0) + 1
        added = (Entry(number=first + place, type=name, value=value) for place, (value, name) in enumerate(new.items()))
        return Entries(self.tag, (*self, *added))
