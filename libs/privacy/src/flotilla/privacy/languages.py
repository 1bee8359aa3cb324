"""
Which language a text is in: whether the lists serve it.

By the small words that every sentence has, and by the script. Libraries that know a hundred languages take 65 MiB
(lingua in its low accuracy), 93 (py3langid, with numpy) or 246 (langidentify); which of four it is, or none of them,
takes a table of some hundred words.
"""

import re
import unicodedata
from collections import Counter
from typing import Final

from flotilla.privacy.errors import LanguageError
from flotilla.privacy.values.regions import words

SERVED: Final = ("en", "de", "fr", "es")
ANY: Final = "any"
_SMALL_WORDS: Final = {
    "en": (
        "the and of to is was for with that this are be have has not you your from by on at it we will which "
        "an as or she he they"
    ),
    "de": (
        "der die das und ist nicht mit für von den dem ein eine zu auf im ich sie wir auch werden wurde sich "
        "bei aus nach oder dass wird zum"
    ),
    "fr": (
        "le la les et est des une un dans pour que qui pas sur au avec vous nous je il elle ce cette du sont "
        "par être ont plus aux"
    ),
    "es": (
        "el la los las y es que en de un una por con para no se del su al como más pero fue ha usted este "
        "esta sus muy lo"
    ),
    "it": (
        "il lo gli di che è non per una del della dei con sono alla nel anche come più questo si da ha stato "
        "dalla le e ho sua"
    ),
    "pt": (
        "o os as de que não do da em um uma para com por mais dos das ao foi são é como mas seu sua à também você muito"
    ),
    "nl": (
        "de het een en van is niet dat op te met voor zijn aan er ook om door als bij naar hij ze wij heeft "
        "worden deze werd maar uw"
    ),
    "pl": "i w na z do nie się jest to że jak o przez od po dla tak ale był oraz jego za są jako został który",
    "sv": "och att det som en på är av för med den till inte har om ett jag de var från han hon vi kan ska eller",
    "da": "og at det er en til på som med for den af ikke har der de jeg vi et var fra han hun kan skal blev også",
    "no": "og at det er en til på som med for den av ikke har jeg vi et var fra han hun kan skal ble også etter",
    "fi": "ja on ei että se oli hän mutta kun niin myös joka ovat sen ole kuin tai mukaan jos minä hänen",
    "cs": "a se na je že to v s z do o pro jako jsem ale by podle který byl není jeho jsou také",
    "ro": "și în de la cu pe este o un nu că din pentru mai să care au sunt lui prin ca fost",
    "hu": "a az és hogy nem is egy van meg de volt ez csak mint már még azt el vagy kell",
    "tr": "ve bir bu için ile da de olarak daha çok var gibi olan ne ben o değil kadar sonra",
    "ca": "el la els les i és que en un una per amb no del al com més però ha seu aquesta aquest són dels",
    "hr": "i je u na se da za su s od a ne to kao ili koji bio iz nije što će po",
}
_LANGUAGES_OF_WORD: Final = {
    word: [language for language, listed in _SMALL_WORDS.items() if word in words(listed)]
    for listed in _SMALL_WORDS.values()
    for word in listed.split()
}
# Not the parts of an address: example.com.
_WORD: Final = re.compile(r"(?<![\w.@-])[^\W\d_]+(?![\w@-]|\.\w)")
# Beginning, middle and end of a long text.
_SAMPLE_LENGTH_MAX: Final = 2_000
# Different ones: one that is repeated may be a name or an abbreviation.
_WORDS_MIN: Final = 4
# Less is needed to say that it is one of ours: nothing is refused then.
_SERVED_WORDS_MIN: Final = 3
_MARGIN: Final = 1.25
# A foreign address in a sentence makes it no foreign sentence.
_FOREIGN_SCRIPT_MIN: Final = 0.5


def language_of(text: str) -> str | None:
    """The code of the language; None when the text is too short, or no prose."""
    sample = _sample(text)
    letters = [sign for sign in sample if sign.isalpha()]
    foreign = Counter(name for name in map(_script, letters) if name != "LATIN")
    if letters and foreign.total() >= _FOREIGN_SCRIPT_MIN * len(letters):
        return foreign.most_common(1)[0][0].lower()
    scores: Counter[str] = Counter()
    found = Counter(_WORD.findall(sample.lower()))
    different: Counter[str] = Counter()
    for word, count in found.items():
        for language in _LANGUAGES_OF_WORD.get(word, ()):
            scores[language] += count
            different[language] += 1
    if not scores:
        return None
    best, score = max(scores.items(), key=lambda item: (item[1], item[0] in SERVED))
    served, served_score = max(((one, scores[one]) for one in SERVED), key=lambda item: item[1])
    if served_score * _MARGIN >= score:
        return served if different[served] >= _SERVED_WORDS_MIN else None
    return best if different[best] >= _WORDS_MIN else None


def served_language(text: str, language: str | None) -> str:
    """
    The language to give to the layers.

    Args:
        text: Looked at only when no language is told.
        language: As the caller tells it; "any" accepts that what only the lists of a language find may be missed.

    Raises:
        LanguageError: it is told or found to be one that the lists do not serve.
    """
    if language is None:
        found = language_of(text)
        if found is None:
            return ANY
    else:
        found = language.lower().partition("-")[0]
        if found == ANY:
            return ANY
    if found not in SERVED:
        raise LanguageError(found if found.isalpha() and len(found) <= 20 else "unknown")  # noqa: PLR2004 - what a caller told may be anything
    return found


def _sample(text: str) -> str:
    if len(text) <= 3 * _SAMPLE_LENGTH_MAX:
        return text
    middle = len(text) // 2
    return "\n".join(
        (text[:_SAMPLE_LENGTH_MAX], text[middle : middle + _SAMPLE_LENGTH_MAX], text[-_SAMPLE_LENGTH_MAX:])
    )


def _script(letter: str) -> str:
    return "LATIN" if letter < "\u0250" else unicodedata.name(letter, "unknown").partition(" ")[0]
