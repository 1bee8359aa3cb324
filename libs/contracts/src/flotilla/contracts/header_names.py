"""
Names that were probably meant to be an option of ours: a misspelt privacy option must not pass as a foreign header.

`X-Flotilla-Data-Class`, `Flotilla_Data_Class`, `Data-Class`, `Fl0tilla-Route` and `Flotila-Data-Class` are no options, but
nobody sends them for another reader.
"""

from functools import lru_cache
from typing import Final

OURS: Final = "flotilla"
DATA_CLASS: Final = "dataclass"
DATA_CLASS_LINE: Final = "data-class:"
EDITS_MAX: Final = 2
NAMES_CACHED_MAX: Final = 1024
NAME_CACHED_LENGTH_MAX: Final = 128
_TWINS: Final = str.maketrans("01!|$5@4", "oillssaa")


def is_lookalike(name: str) -> bool:
    """Whether a header's name, which is none of ours, looks as if it was meant to be."""
    # What a caller makes up is not kept beyond the length of a name.
    return _known(name) if len(name) <= NAME_CACHED_LENGTH_MAX else _looks_like_ours(name)


def _looks_like_ours(name: str) -> bool:
    lowered = name.lower().translate(_TWINS)
    letters = "".join(filter(str.isalnum, lowered))
    if OURS in letters or letters.endswith(DATA_CLASS):
        return True
    return _edits(lowered.replace("_", "-").partition("-")[0], OURS) <= EDITS_MAX


def holds_an_option(value: str) -> bool:
    """Whether a value goes on into what was probably meant to be a line of its own, and to name a data class."""
    return ":" in value and DATA_CLASS_LINE in value.lower()


_known: Final = lru_cache(maxsize=NAMES_CACHED_MAX)(_looks_like_ours)


def _edits(given: str, wanted: str) -> int:
    """How many letters were dropped, added, changed or swapped with their neighbour, at most EDITS_MAX + 1."""
    if abs(len(given) - len(wanted)) > EDITS_MAX:
        return EDITS_MAX + 1
    before: list[int] = []
    row = list(range(len(wanted) + 1))
    for i, letter in enumerate(given, start=1):
        older, before, row = before, row, [i]
        for j, other in enumerate(wanted, start=1):
            best = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != other))
            if older and j > 1 and letter == wanted[j - 2] and given[i - 2] == other:
                best = min(best, older[j - 2] + 1)
            row.append(best)
    return row[-1]
