"""Replace personal data in a text by a vault's placeholders."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from flotilla.privacy.entries import NUMBER_MARK, Entries, Entry
from flotilla.privacy.errors import UnsupportedTextError
from flotilla.privacy.languages import ANY, served_language
from flotilla.privacy.layers import ALL, Layer, Policy, find_spans
from flotilla.privacy.spans import Span, union
from flotilla.privacy.types import strength

TEXT_LENGTH_MAX: Final = 1_000_000
# Shorter values stand in other words' company too often: an age of 45 is no reason to redact every 45.
_REPEATED_LENGTH_MIN: Final = 4
# What stands before a longer text says nothing of most of it.
_TOLD_LENGTH_MAX: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Redacted:
    """
    A text without the personal data that was found.

    Attributes:
        text: With placeholders. Shown by no `repr`, since what was not found is still in it.
        entries: The vault's entries, those of this text included.
        counts: How often each entry's placeholder stands in the text.
    """

    text: str = field(repr=False)
    entries: Entries
    counts: Counter[int]

    def report(self) -> Iterator[tuple[str, str, int]]:
        """Placeholder, type and count of everything that was replaced; no value and no offset."""
        for entry in self.entries:
            if self.counts[entry.number]:
                yield self.entries.placeholder_of(entry), entry.type, self.counts[entry.number]


def redact(
    text: str,
    entries: Entries,
    layers: Sequence[Layer],
    *,
    language: str | None = None,
    policy: Policy = ALL,
    context: str = "",
) -> Redacted:
    """
    Replace what the layers find, and what the vault knows already, by placeholders.

    `restore.restore_text` of the result, with its entries, is the text again, character by character.

    Args:
        text: At most `TEXT_LENGTH_MAX` characters, without NUL and lone surrogates.
        entries: What the vault holds; `Entries.empty(vault_id)` at first.
        layers: What finds personal data; their union is replaced.
        language: "en", "de", "fr" or "es"; detected where none is told; "any" accepts another one.
        policy: Which types count.
        context: Words that say what a short text is, as the key that it stands under; they only add to what is found.

    Raises:
        UnsupportedTextError: the text cannot be redacted safely.
        LanguageError: it is in a language that the lists do not serve, and not told as "any".
        LayerError: a layer failed.
        EntriesError: the vault is full.
    """
    check_text(text)
    spans = _found(text, layers, served_language(text, language), policy, context)
    known = {text[span.start : span.end]: span.type for span in spans}
    known |= {entry.text: entry.type for entry in entries if policy.counts(Span(start=0, end=1, type=entry.type))}
    spans = union((*spans, *_repeated(text, known), *_tags(text, entries)))
    types: dict[str, str] = {}
    for span in spans:
        types.setdefault(text[span.start : span.end], span.type)
    entries = entries.with_values(types)
    pieces: list[str] = []
    counts: Counter[int] = Counter()
    done = 0
    for span in spans:
        entry = _entry(entries, text[span.start : span.end])
        counts[entry.number] += 1
        pieces += (text[done : span.start], entries.placeholder_of(entry))
        done = span.end
    pieces.append(text[done:])
    return Redacted(text="".join(pieces), entries=entries, counts=counts)


def redact_number(
    number: float, entries: Entries, layers: Sequence[Layer], *, policy: Policy = ALL, context: str = ""
) -> Redacted | None:
    """
    The placeholder for a number of a JSON document that is personal data; None where it is none.

    `restore.restore_json` gives the number again, with its type. It has an entry of its own, apart from that of a text
    with the same digits.

    Args and raises: as `redact`.
    """
    shown = repr(number)
    spans = _found(shown, layers, ANY, policy, context)
    types = [span.type for span in spans]
    for value in (shown, NUMBER_MARK + shown) if len(shown) >= _REPEATED_LENGTH_MIN else ():
        known = entries.of_value(value)
        if known is not None and policy.counts(Span(start=0, end=1, type=known.type)):
            types.append(known.type)
    if not types:
        return None
    entries = entries.with_values({NUMBER_MARK + shown: max(types, key=strength)})
    entry = _entry(entries, NUMBER_MARK + shown)
    return Redacted(text=entries.placeholder_of(entry), entries=entries, counts=Counter({entry.number: 1}))


def check_text(text: str) -> None:
    """
    Refuse what cannot be redacted safely.

    Raises:
        UnsupportedTextError: too long, with NUL, or with half of a surrogate pair.
    """
    if len(text) > TEXT_LENGTH_MAX:
        raise UnsupportedTextError(f"the text is longer than {TEXT_LENGTH_MAX} characters; send it in parts")
    if "\0" in text:
        raise UnsupportedTextError("the text contains NUL characters; it may be binary: extract its text first")
    try:
        text.encode()
    except UnicodeEncodeError:
        broken = True
    else:
        broken = False
    if broken:  # raised here, so that the error has no context that quotes the text
        raise UnsupportedTextError("the text contains half of a surrogate pair; decode it again")


def _found(text: str, layers: Sequence[Layer], language: str, policy: Policy, context: str) -> list[Span]:
    """What is found in a text, and more of a short one with what stands before it; that names what both find."""
    spans = find_spans(text, layers, language=language, policy=policy)
    if not context or len(text) > _TOLD_LENGTH_MAX:
        return spans
    shift = len(context)
    told = [
        span._replace(start=max(0, span.start - shift), end=span.end - shift)
        for span in find_spans(context + text, layers, language=language, policy=policy)
        if span.end > shift
    ]
    return [
        *told,
        *(span for span in spans if not any(one.start <= span.start and span.end <= one.end for one in told)),
    ]


def _entry(entries: Entries, value: str) -> Entry:
    entry = entries.of_value(value)
    assert entry is not None, "every value of a span was given an entry"  # noqa: S101 - says what holds here
    return entry


def _repeated(text: str, types: dict[str, str]) -> Iterator[Span]:
    """Other places where a known value stands as a word of its own."""
    for value, name in types.items():
        if len(value) < _REPEATED_LENGTH_MIN:
            continue
        start = text.find(value)
        while start >= 0:
            end = start + len(value)
            if not (_goes_on(text, start) or _goes_on(text, end)):
                yield Span(start=start, end=end, type=name, layer="known")
            start = text.find(value, end)


def _goes_on(text: str, place: int) -> bool:
    """Whether a word goes on across a place."""
    return 0 < place < len(text) and text[place - 1].isalnum() and text[place].isalnum()


def _tags(text: str, entries: Entries) -> Iterable[Span]:
    """Where the input has the vault's tag itself: nothing but placeholders may have it in the redacted text."""
    return (
        Span(start=match.start(), end=match.end(), type="LITERAL", layer="literal")
        for match in entries.forms.tag.finditer(text)
    )
