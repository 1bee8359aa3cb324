"""
Names without a capital of their own: in small letters in a chat, after a title, or said again later in the text.

Texts that have but one case are read with capitals (`capitals.py`); this is for those that mix both.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Final

from flotilla.privacy import lexicon
from flotilla.privacy.lexicon import COMMON, COMMON_ANYWHERE, FIRST, LAST
from flotilla.privacy.names.people import NO_NAMES, PARTICLES
from flotilla.privacy.names.tokens import Token
from flotilla.privacy.values.regions import words

_TITLES: Final = words(
    "mr mrs ms miss dr prof professor herr herrn frau mme mlle monsieur madame mademoiselle maître docteur señor señora "
    "señorita don doña sr sra srta dra uncle aunt auntie onkel tante tonton tío tía"
)
# Ordinary words of our days that the lists have as names alone.
NOBODYS: Final = words(
    "retries retry ok server servers page pages link links per len doc docs manual trace unique dev edit elif dot constant "
    "che nil peer angle "
    "job jobs ninja alpha della dell min beta colon chance mac sys dalla steward nas els alla delle forum nella sep nel star "
    "conn ping lim cal essence doctor song songs kit lean tex maxima ward boss lady judge sung mini mega major minor senior "
    "junior sir pope bishop baron royal unknown see reason"
)
FILE_ENDINGS: Final = words(
    "pdf doc docx xls xlsx ppt pptx txt csv tsv json xml yaml yml toml html htm md log png jpg jpeg gif svg tif tiff zip gz "
    "tar py js ts go rs java sql db exe eml msg odt ods rtf vcf ics mp mp4 wav mov"
)
# Names that in small letters are more often something else.
NO_SMALL_NAMES: Final = NOBODYS | words(
    "mark max art gray grey jade sue patience king prince duke earl grace joy faith rand love honey baby angel harmony "
    "melody destiny sky trinity heaven summer autumn winter story journey haven legend ace chase cash buddy rocky sunny "
    "happy lucky precious princess queen blue"
)
_NAME_LENGTH_MIN: Final = 3
_WORDS_KEPT_MAX: Final = 16_384
_AFTER_NOUNS: Final = words(
    "der die das den dem des ein eine einen einem eines im am vom zum zur beim ins ans jeder jede jeden kein keine dieser "
    "diese diesen the a an this that every each no our your their le la les un une ce cette el los las una este esta"
)
# A noun has an article before it in these three languages, so that a bare one that is or does something is a name; in
# German that says nothing.
_AFTER_PERSONS: Final = words(
    "is was has had said says asked told called wrote est était avait es era tiene tenía había dijo"
)


def small_names(text: str, tokens: Sequence[Token], language: str) -> Iterator[tuple[int, int]]:
    """Listed first names in small letters, with the family name after them, and what stands after a title."""
    common = COMMON.get(language, COMMON_ANYWHERE)
    for at, token in enumerate(tokens):
        if token.capital:
            continue
        if token.text in _TITLES:
            after = _next(text, tokens, at)
            while after is not None and tokens[after].lower in PARTICLES | _TITLES:
                after = _next(text, tokens, after)
            if after is not None and not tokens[after].capital and _may_be_name(tokens[after].text, common):
                yield tokens[after].start, tokens[after].end
        elif _is_small_name(token.text, alone=False):
            after = _next(text, tokens, at)
            if after is not None and not tokens[after].capital and _may_be_family(tokens[after].text, common):
                yield token.start, tokens[after].end
            elif _is_small_name(token.text, alone=True):
                yield token.start, token.end


def _next(text: str, tokens: Sequence[Token], at: int) -> int | None:
    """The word after one, where nothing but a space, or the stop of a title, stands between."""
    if at + 1 == len(tokens) or text[tokens[at].end : tokens[at + 1].start] not in {" ", ". "}:
        return None
    return at + 1


@lru_cache(maxsize=_WORDS_KEPT_MAX)
def _is_small_name(word: str, *, alone: bool) -> bool:
    """Whether a word can only be a first name, or without another one after it only a place."""
    return (
        len(word) >= _NAME_LENGTH_MIN
        and word not in NO_SMALL_NAMES
        and bool(lexicon.names().flags(word) & FIRST)
        and not lexicon.ordinary_words().flags(word)
        and not (alone and lexicon.places().flags(word))
    )


def _may_be_name(word: str, common: int) -> bool:
    return (
        len(word) >= _NAME_LENGTH_MIN
        and word not in NO_NAMES
        and (not lexicon.ordinary_words().flags(word) & common or bool(lexicon.names().flags(word)))
    )


def _may_be_family(word: str, common: int) -> bool:
    return bool(lexicon.names().flags(word) & LAST) and not lexicon.ordinary_words().flags(word) & common


def said_again(tokens: Sequence[Token], people: Sequence[tuple[str, bool]]) -> Iterator[tuple[int, int]]:
    """
    Words of people that the text names elsewhere: in any case, where they are nothing but names.

    Args:
        tokens: The words of the text.
        people: What was taken for names, and whether it is sure; of these, words that are ordinary ones as well count
            too where they have a capital and no article before them, and at the beginning of a sentence before what a
            person does ("Price was late").
    """
    known: set[str] = set()
    sure: set[str] = set()
    ordinary, names = lexicon.ordinary_words(), lexicon.names()
    for name, is_sure in people:
        for part in name.replace("-", " ").split():
            lower = part.strip(".,'").lower()
            if len(lower) < _NAME_LENGTH_MIN or lower in NO_NAMES or lower in NO_SMALL_NAMES or lower in PARTICLES:
                continue
            if not ordinary.flags(lower):
                known.add(lower)
            elif is_sure and names.flags(lower):
                sure.add(lower)
    if not known and not sure:
        return
    before = ""
    for at, token in enumerate(tokens):
        lower = token.lower
        # Found already, and nothing but a place gets another type by being said again.
        if token.name and not token.place:
            pass
        elif lower in known or (token.capital and lower in sure and _is_person(tokens, at, before)):
            yield token.start, token.end
        before = lower


def _is_person(tokens: Sequence[Token], at: int, before: str) -> bool:
    """Whether a name that is an ordinary word as well is a name where it stands."""
    if not tokens[at].begins:
        return before not in _AFTER_NOUNS
    return at + 1 < len(tokens) and tokens[at + 1].text in _AFTER_PERSONS
