"""Put the values of a vault back into a text, a JSON value or a stream that contains its placeholders."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast

from flotilla.privacy.entries import Entries, Entry
from flotilla.privacy.errors import UnsupportedTextError
from flotilla.privacy.placeholders import PLACEHOLDER_LENGTH_MAX, told_type

JSON_DEPTH_MAX: Final = 128
UNKNOWN_MAX: Final = 100


@dataclass(slots=True)
class Account:
    """
    What was put back.

    Attributes:
        restored: How many placeholders were replaced.
        seen: Numbers of the entries that occurred.
        unknown: Placeholders in the vault's form that no entry has, as they stood; at most `UNKNOWN_MAX` of them.
    """

    restored: int = 0
    seen: set[int] = field(default_factory=set[int])
    unknown: Counter[str] = field(default_factory=Counter[str])

    def missing(self, entries: Entries) -> list[str]:
        """Placeholders of the entries that did not occur."""
        return [entries.placeholder_of(entry) for entry in entries if entry.number not in self.seen]


def restore_text(text: str, entries: Entries, account: Account | None = None) -> str:
    """
    The text with every placeholder of the vault replaced by its value, in one pass: values are not read again.

    A placeholder whose number has no entry, or an entry of another type, stays as it stands.
    """
    account = Account() if account is None else account
    return entries.forms.whole.sub(lambda match: _value(match, entries, account), text)


def restore_json(value: Any, entries: Entries, account: Account | None = None) -> Any:
    """
    A JSON value of the same shape with every string restored, keys included.

    A string that is one placeholder, of a number, becomes that number again.

    Raises:
        UnsupportedTextError: nested deeper than `JSON_DEPTH_MAX`.
    """
    account = Account() if account is None else account
    return _restored(value, entries, account, JSON_DEPTH_MAX)


def _restored(value: Any, entries: Entries, account: Account, depth: int) -> Any:
    if depth < 0:
        raise UnsupportedTextError(f"a value to restore is nested deeper than {JSON_DEPTH_MAX}; flatten it")
    if isinstance(value, str):
        number = _number(value, entries, account) if len(value) <= PLACEHOLDER_LENGTH_MAX else None
        return restore_text(value, entries, account) if number is None else number
    if isinstance(value, list):
        return [_restored(item, entries, account, depth - 1) for item in cast("list[Any]", value)]
    if isinstance(value, Mapping):
        return {
            restore_text(key, entries, account): _restored(item, entries, account, depth - 1)
            for key, item in cast("Mapping[str, Any]", value).items()
        }
    return value


def _number(text: str, entries: Entries, account: Account) -> str | int | float | None:
    match = entries.forms.whole.fullmatch(text)
    entry = None if match is None else _entry(match, entries)
    if entry is None or not entry.is_number:
        return None
    account.restored += 1
    account.seen.add(entry.number)
    return entry.json


class StreamRestorer:
    """
    Restores a text that arrives in pieces: `feed` each one, then `close`.

    However the text is cut, what comes out is what `restore_text` gives for the whole, and no piece holds a part of a
    placeholder. At most `placeholders.PLACEHOLDER_LENGTH_MAX` characters are held back.
    """

    def __init__(self, entries: Entries) -> None:
        self.account = Account()
        self._entries = entries
        self._forms = entries.forms
        self._held = ""

    def feed(self, piece: str) -> str:
        """What can be said now; may be empty."""
        text = self._held + piece
        told: list[str] = []
        done = 0
        while True:
            whole = self._forms.whole.search(text, done)
            begun = self._forms.begun.search(text, max(done, len(text) - PLACEHOLDER_LENGTH_MAX))
            if whole is None or (begun is not None and begun.start() <= whole.start()):
                break
            told += (text[done : whole.start()], _value(whole, self._entries, self.account))
            done = whole.end()
        held_from = len(text) if begun is None else begun.start()
        told.append(text[done:held_from])
        self._held = text[held_from:]
        return "".join(told)

    def close(self) -> str:
        """What was held back, restored where it is a placeholder."""
        held, self._held = self._held, ""
        return restore_text(held, self._entries, self.account)


def _value(match: re.Match[str], entries: Entries, account: Account) -> str:
    entry = _entry(match, entries)
    if entry is None:
        if match[0] in account.unknown or len(account.unknown) < UNKNOWN_MAX:
            account.unknown[match[0]] += 1
        return match[0]
    account.restored += 1
    account.seen.add(entry.number)
    return entry.text


def _entry(match: re.Match[str], entries: Entries) -> Entry | None:
    """
    The entry that a placeholder names by its number; None where there is none such, or its type is another one.

    A word that is no type says nothing: the type's in another language, or its plural.
    """
    type_name, number = (match["word"], match["in"]) if match["word"] is not None else (match["type"], match["alone"])
    entry = entries.numbered(int(number))
    told = told_type(type_name)
    if entry is None or (told != entry.type and told in entries.types):
        return None
    return entry
