"""
What a provider says of an error, as far as anybody may read it.

"You exceeded your current quota" is what an operator needs; but providers quote the prompt, and part of a key, in the
same sentence. So a word is shown only when it is harmless by itself: plain words that stand in errors anyway, short
numbers, the model's name, and words that neither the request nor the secrets sent with it have. Whatever else stands
there becomes an ellipsis.
"""

import re
from collections.abc import Sequence
from typing import Final

from flotilla.capabilities.errors import AttemptError
from flotilla.contracts.failures import FailureKind

SENTENCE_CHARS_MAX: Final = 240
SAID_CHARS_MAX: Final = 1_000
"""Of the provider's text; what follows is not looked at."""
REQUEST_CHARS_MAX: Final = 200_000
"""Of a request that is searched for the words; of a longer one only plain words are shown."""
QUOTED_CHARS_MIN: Final = 4
"""A shorter word stands in every text."""
WORDS_MIN: Final = 3
"""Fewer that may be shown say nothing."""
HIDDEN: Final = "…"

_QUOTING: Final = frozenset({FailureKind.AUTH, FailureKind.INVALID_OUTPUT})
"""A refusal of a key quotes the key, one of what a model wrote quotes that: nothing but plain words is shown."""

_WORD: Final = re.compile(r"[A-Za-z]{1,24}(?:['/-][A-Za-z]{1,24}){0,2}|[a-z]{1,24}(?:_[a-z]{1,24}){1,4}")
_WORDS_WITHIN: Final = re.compile(rf"\w{{{QUOTED_CHARS_MIN},}}")
_JOINTS: Final = re.compile(r"['/_-]")
_NUMBER: Final = re.compile(r"\d{1,7}(?:[.,]\d{1,3})?%?")
_ENDS: Final = ")]>.,:;!?'"
_AROUND: Final = re.compile(r"(['(\[<]{0,3})(.*?)([)\]>.,:;!?']{0,4})", re.DOTALL)
_QUOTED: Final = re.compile(
    r"\"[^\"]*(?:\"|\Z)|`[^`]*(?:`|\Z)|(?<!\w)'[^']*(?:'(?!\w)|\Z)|[\u201c\u2018\u00ab][^\u201d\u2019\u00bb]*(?:[\u201d\u2019\u00bb]|\Z)"
)
_MARKS: Final = "\"'`\u201c\u201d\u2018\u2019\u00ab\u00bb"

_WORDS: Final = """
a about above access account active add after again all allowed also an and any api are argument as ask at
authentication available balance be been before below billing but buy by can cannot capacity change check choose
closed completion configured console contact content context could count country credit credits current currently
daily date deadline denied deployment details disabled do docs documentation does enable enabled endpoint error
exceed exceeded exceeds exist exists expired failed field file find first for format found free from gateway has
have header help hour if in incorrect input insufficient internal invalid is it its key later length less limit
limits load loaded loading location long low many maximum may memory message messages method minute missing model
models month more must name names no not number of on one only or organization out output over overloaded owner page
parameter payment per permission plan please project prompt provided purchase quota rate rates reach reached
received reduce refused region request requested requests require required requires resource response retry running
schema second seconds see server service set size soon sorry specified still stop stream support supported supports
suspended temporarily than that the then this time timeout to today token tokens too top try type unable
unauthorized unavailable unknown unpaid unsupported up upgrade usage use used user valid value version was we when
which will with you your
"""
_PLAIN: Final = frozenset(_WORDS.split())
"""Words of errors: that a request has one of them, too, says nothing of it."""


def explained(error: AttemptError, *, request: Sequence[str], model: str, secrets: Sequence[str] = ()) -> AttemptError:
    """
    The same failure, with what the provider said of it in its message, as far as that may be shown.

    Args:
        error: As the adapter raised it.
        request: Every text that was sent.
        model: Which was asked.
        secrets: The key and the other headers' values that went with it.
    """
    sentence = safe_sentence(error.said, request=request, model=model, secrets=secrets, plain=error.kind in _QUOTING)
    if not sentence:
        return error
    message = f"{error.message}: {sentence}"
    return AttemptError(error.kind, message, retry_after_s=error.retry_after_s, usage=error.usage)


def safe_sentence(
    said: str, *, request: Sequence[str], model: str = "", secrets: Sequence[str] = (), plain: bool = False
) -> str:
    """
    The sentence without anything that may be the caller's, on one line of at most `SENTENCE_CHARS_MAX` characters.

    Args:
        said: The provider's own text, of any length and in any language; only words of plain Latin letters are shown.
        request: Every text that was sent: no word that stands in one of them is shown, nor a part of one. When the
            sentence has such a word it seems to quote the request, and only plain words are shown of it.
        model: Its name is shown wherever it stands.
        secrets: What was sent in headers: of each no part is shown, however the sentence reads.
        plain: Whether only plain words may be shown in any case.

    Returns:
        "" when less than a sentence is left.
    """
    said = said[:SAID_CHARS_MAX]
    plain = plain or sum(len(text) for text in request) > REQUEST_CHARS_MAX
    texts = [] if plain else [text.casefold() for text in request]
    words_said = set(_WORDS_WITHIN.findall(said.casefold())) - _PLAIN
    plain = plain or any(word in text for word in words_said for text in texts)
    hidden = [secret.casefold() for secret in secrets]

    def is_shown(word: str) -> bool:
        folded = word.casefold()
        if folded in _PLAIN or (model and folded == model.casefold()):
            return True
        if plain or not (_WORD.fullmatch(word) or _NUMBER.fullmatch(word)):
            return False
        parts = [folded, *(part for part in _JOINTS.split(folded) if len(part) >= QUOTED_CHARS_MIN)]
        if any(_is_of(secret, part) for secret in hidden for part in parts):
            return False
        return not any(part in text for part in parts for text in texts)

    def unquoted(match: re.Match[str]) -> str:
        inner = match[0].strip(_MARKS)
        return f"'{inner}'" if is_shown(inner) else HIDDEN

    shown: list[str] = []
    words = 0
    for token in _QUOTED.sub(unquoted, said).split():
        match = _AROUND.fullmatch(token)
        before, word, after = match.groups() if match is not None else ("", token, "")
        if not is_shown(word):
            before, word = "", HIDDEN
            if shown and shown[-1].rstrip(_ENDS) == HIDDEN:
                shown.pop()
        else:
            words += 1
        shown.append(f"{before}{word}{after}")
    return _cut(" ".join(shown)) if words >= WORDS_MIN else ""


def _is_of(secret: str, part: str) -> bool:
    """Whether a word shows something of a secret; what is shorter than a word is one only as a whole."""
    return (
        part == secret
        or (len(part) >= QUOTED_CHARS_MIN and part in secret)
        or (len(secret) >= QUOTED_CHARS_MIN and secret in part)
    )


def _cut(text: str) -> str:
    return text if len(text) <= SENTENCE_CHARS_MAX else text[: SENTENCE_CHARS_MAX - 1].rsplit(" ", 1)[0] + HIDDEN
