"""Dates, ages and long numbers that are written in words, in English, German, French and Spanish."""

import re
from collections.abc import Iterator
from typing import Final

from flotilla.privacy.values.regions import around, matches, places_of_words, words

_MONTHS: Final = {
    "en": "january|february|march|april|may|june|july|august|september|october|november|december",
    "de": "januar|jänner|februar|märz|april|mai|juni|juli|august|september|oktober|november|dezember",
    "fr": "janvier|février|mars|avril|mai|juin|juillet|août|septembre|octobre|novembre|décembre",
    "es": "enero|febrero|marzo|abril|mayo|junio|julio|agosto|septiembre|setiembre|octubre|noviembre|diciembre",
}
_ENGLISH: Final = (
    r"(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|(?:thir|four|fif|six|seven|eigh|nine)teen"
    r"|twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety|hundred|thousand|oh|and)"
)
_ENGLISH_ORDINAL: Final = (
    r"(?:(?:twenty|thirty)[ -])?(?:first|second|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth|eleventh|twelfth"
    r"|(?:thir|four|fif|six|seven|eigh|nine)teenth|twentieth|thirtieth)"
)
_FRENCH: Final = (
    r"(?:premier|une?|deux|trois|quatre|cinq|six|sept|huit|neuf|dix|onze|douze|treize|quatorze|quinze|seize|vingts?|trente"
    r"|quarante|cinquante|soixante|septante|huitante|octante|nonante|cents?|mille|mil|et)"
)
_SPANISH: Final = (
    r"(?:primero|uno?|dos|tres|cuatro|cinco|seis|siete|ocho|nueve|diez|once|doce|trece|catorce|quince|dieci[a-zé]{4,7}"
    r"|veinte|veinti[a-zéó]{2,7}|treinta|cuarenta|cincuenta|sesenta|setenta|ochenta|noventa|cien|ciento|[a-z]{3,7}cientos"
    r"|mil|y)"
)
_GERMAN_ENDS: Final = (
    r"(?:zwanzig|drei(?:ß|ss)ig|vierzig|fünfzig|sechzig|siebzig|achtzig|neunzig|zehn|elf|zwölf|hundert|eins?|zwei|drei|vier"
    r"|fünf|sechs|sieben|acht|neun)"
)
# How the words end that make numbers, and what may stand between them and a month.
_ENDS: Final = tuple(
    words(
        "one two three four five six seven eight nine ten eleven twelve teen ty hundred thousand first second third th "
        "te ter ten tes zig ßig ssig zehn elf zwölf hundert ein eins zwei drei vier fünf sechs sieben acht neun "
        "premier un une deux trois quatre cinq sept huit neuf dix onze douze treize quatorze quinze seize vingt vingts ante "
        "trente cent cents mille primero uno dos tres cuatro cinco seis siete ocho nueve diez once doce trece catorce quince "
        "veinte enta cien ciento cientos mil veintiún veintidós veintitrés veintiséis dieciséis"
    )
)
_SMALL: Final = words("of de the day del")
_LOOKED_AT: Final = 36
# What nine words take, on either side of the word that tells.
_BESIDE: Final = 130
# At most nine words: ochenta y siete, mil novecientos ochenta y siete.
_MORE: Final = r"(?:[ -]{number}){{0,8}}"


def _several(number: str) -> str:
    return number + _MORE.format(number=number)


# "It may second what": in the middle of a sentence a small one is no month.
_CAPITAL_MONTHS: Final = "|".join(map(str.capitalize, _MONTHS["en"].split("|")))
# With the words of which a text must have one, in small letters.
_DATES: Final = tuple(
    (frozenset(_MONTHS[language].split("|")), re.compile(pattern, re.IGNORECASE))
    for language, pattern in (
        (
            "en",
            (
                rf"\b(?:{_ENGLISH_ORDINAL}(?: day)? of (?:{_MONTHS['en']})"
                rf"|(?-i:{_CAPITAL_MONTHS}) (?:the )?{_ENGLISH_ORDINAL})\b"
                rf"(?:,? (?:in )?(?:(?:1[89]|20)\d\d|{_several(_ENGLISH)})\b)?"
            ),
        ),
        (
            "de",
            (
                rf"\b[a-zäöüß]{{2,22}}t(?:e|er|en|es) (?:{_MONTHS['de']})\b"
                rf"(?: (?:(?:1[89]|20)\d\d|(?:achtzehn|neunzehn)hundert[a-zäöüß]{{0,30}}|zweitausend[a-zäöüß]{{0,30}})\b)?"
            ),
        ),
        ("fr", rf"\b{_several(_FRENCH)} (?:{_MONTHS['fr']})\b(?: (?:(?:1[89]|20)\d\d|{_several(_FRENCH)})\b)?"),
        (
            "es",
            rf"\b{_several(_SPANISH)} de (?:{_MONTHS['es']})\b(?: del? (?:(?:1[89]|20)\d\d|{_several(_SPANISH)})\b)?",
        ),
    )
)
_AGES: Final = (
    (
        frozenset({"year", "years", "month", "months", "week", "weeks"}),
        re.compile(rf"\b{_several(_ENGLISH)}(?=[ -](?:years?|months?|weeks?)[ -](?:old|of age)\b)", re.IGNORECASE),
    ),
    (
        frozenset({"aged", "age", "turned", "turns", "turning"}),
        re.compile(
            rf"\b(?:aged?|turned|turns|turning)(?: of)? ({_several(_ENGLISH)})\b(?! (?:people|men|women))",
            re.IGNORECASE,
        ),
    ),
    (
        frozenset({"jahre", "monate", "wochen"}),
        re.compile(rf"\b[a-zäöüß]{{0,20}}?{_GERMAN_ENDS}(?= (?:Jahre|Monate|Wochen) alt\b)", re.IGNORECASE),
    ),
    (
        frozenset({"ans", "mois"}),
        re.compile(rf"(?:\b(?:a|ai|avait|aura|âgée?s? de)|,) ({_several(_FRENCH)})(?= (?:ans|mois)\b)", re.IGNORECASE),
    ),
    (
        frozenset({"años", "meses"}),
        re.compile(
            rf"(?:\b(?:tiene|tengo|tenía|cumple|cumplió|cumplirá|edad de|(?:niñ[oa]|hombre|mujer|varón|chic[oa]|joven"
            rf"|hij[oa]|paciente|ancian[oa]|señora?|viud[oa]) de)|,) ({_several(_SPANISH)})(?= (?:años|meses)\b)",
            re.IGNORECASE,
        ),
    ),
)

# A number that is said digit by digit: "double oh seven, four one five".
_DIGITS: Final = words(
    "zero nought oh one two three four five six seven eight nine null eins zwo zwei drei vier fünf sechs sieben acht neun "
    "zéro un deux trois quatre cinq sept huit neuf cero uno dos tres cuatro cinco seis siete ocho nueve"
)
_DIGIT: Final = (
    rf"(?:(?:double|triple|doble|triple) )?(?:{'|'.join(sorted(_DIGITS, key=len, reverse=True))})(?: hundred)?"
)
_SAID: Final = re.compile(rf"\b{_DIGIT}(?:(?:, ?| ?- ?|\. ?| |\n){_DIGIT}){{6,40}}\b", re.IGNORECASE)
_DIFFERENT_MIN: Final = 3


def find(text: str, lower: str, words_in: frozenset[str]) -> Iterator[tuple[int, int, str]]:
    """
    Dates, ages and numbers of seven digits or more that are written in words; of an age only its number.

    Args:
        text: What is read.
        lower: The same in small letters, of the same length.
        words_in: Its words, in small letters.
    """
    if len(_DIGITS & words_in) >= _DIFFERENT_MIN:
        yield from ((*match.span(), "NUMBER") for match in _SAID.finditer(text))
    for name, patterns in (("DATE", _DATES), ("AGE", _AGES)):
        for told_by, pattern in patterns:
            beside = [place for place in places_of_words(lower, told_by & words_in) if _beside_a_number(lower, *place)]
            if beside:
                for match in matches(pattern, text, around(text, sorted(beside), before=_BESIDE, after=_BESIDE)):
                    yield *match.span(match.lastindex or 0), name


def _beside_a_number(lower: str, start: int, end: int) -> bool:
    """Whether a word that ends as numbers do stands directly before or after it, or with "of" or the like between."""
    before = lower[max(0, start - _LOOKED_AT) : start].replace("-", " ").split()
    while before and before[-1] in _SMALL:
        before.pop()
    if before and before[-1].endswith(_ENDS):
        return True
    after = lower[end : end + _LOOKED_AT].replace("-", " ").split()
    return any(word.endswith(_ENDS) for word in after[:2])
