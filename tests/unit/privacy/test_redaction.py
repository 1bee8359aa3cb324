"""Redact: a round trip that is exact for any text, one placeholder per value, nothing told of the values."""

import re
from collections.abc import Iterator
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from flotilla.privacy import Account, Entries, Function, Policy, Span, Structured, redact, restore_text
from flotilla.privacy.errors import LanguageError, UnsupportedTextError
from flotilla.privacy.layers import Layer
from flotilla.testkit.examples import examples
from flotilla.testkit.redaction_layers import structured_and_listed

EMPTY = Entries.empty("case-1")
TAG = EMPTY.tag
LAYERS = [Structured()]


def words(text: str) -> Iterator[tuple[int, int, str]]:
    """Every second word is a person: many and adjacent spans, of whatever characters."""
    for place, match in enumerate(re.finditer(r"\S+", text)):
        if place % 2:
            yield *match.span(), "PERSON"


def odd() -> list[Layer]:
    """Those words beside what is found as ever."""
    return [Function("words", words), *structured_and_listed()]


# What a text may be made of: every kind of character, and what looks like placeholders.
PARTS = st.one_of(
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30),
    st.sampled_from(
        [
            "jane@example.com",
            "e\u0301\u0302",
            "\u202eabc\u202c",
            "שלום",
            "👩‍👩‍👧",
            "\r\n",
            "４１１１",
            "a\u00adb",
            "\ufb01x",
            "[",
            "]",
            *("\\", "\\[", "\\]", "&#91;", "&#93;", "%5B", "\\u005b", "**", "`", "\uff3f", "\u3010", "\u3011", "[NAME"),
        ]
    ),
    st.sampled_from(
        [TAG, TAG.lower(), f"[PERSON_1_{TAG}]", f"PERSON_2_{TAG}", f"[PERSON_1_{TAG}", "PERSON_1_", "[PERSON_1_BCDFG]"]
    ),
)


@example("\\Anna", "\\[Anna\\] &#91;Anna&#93; [Anna")
@settings(max_examples=examples(150), deadline=None)
@given(st.lists(PARTS, max_size=8).map("".join), st.lists(PARTS, max_size=8).map("".join))
def test_the_round_trip_is_exact_for_any_text(one: str, two: str):
    """Two documents of one case, each restored with the entries of both."""
    first = redact(one, EMPTY, odd(), language="any")
    second = redact(two, first.entries, odd(), language="any")

    assert one == restore_text(first.text, second.entries)
    assert two == restore_text(second.text, second.entries)


@settings(max_examples=examples(60), deadline=None)
@given(st.lists(PARTS, min_size=1, max_size=5).map("".join), st.randoms(use_true_random=False))
def test_a_model_that_rewrites_the_text_around_changes_no_value(text: str, random: Random):
    """Every placeholder, in another order and another form, becomes its own value."""
    redacted = redact(text, EMPTY, odd(), language="any")
    forms = [(entry, redacted.entries.placeholder_of(entry)) for entry in redacted.entries]
    random.shuffle(forms)
    rewritten = " then ".join(f"**{form.lower()}**" for _, form in forms)

    assert " then ".join(f"**{entry.value}**" for entry, _ in forms) == restore_text(rewritten, redacted.entries)


def test_one_value_has_one_placeholder_in_all_documents_of_a_case():
    first = redact("Mail jane@example.com, jane@example.com.", EMPTY, LAYERS)
    second = redact("From joe@example.com to jane@example.com", first.entries, LAYERS)

    assert f"Mail [EMAIL_1_{TAG}], [EMAIL_1_{TAG}]." == first.text
    assert f"From [EMAIL_2_{TAG}] to [EMAIL_1_{TAG}]" == second.text
    assert [(f"[EMAIL_1_{TAG}]", "EMAIL", 2)] == list(first.report())


def test_what_the_vault_knows_is_replaced_wherever_it_stands_as_a_word():
    known = EMPTY.with_values({"Quentin": "PERSON"})

    assert f"So [PERSON_1_{TAG}], not Quentinian." == redact("So Quentin, not Quentinian.", known, LAYERS).text


def test_another_vaults_placeholders_stay():
    other = redact("Mail jane@example.com", Entries.empty("case-2"), LAYERS)
    again = redact(other.text, EMPTY, LAYERS)

    assert other.text == again.text
    assert "Mail jane@example.com" == restore_text(restore_text(again.text, again.entries), other.entries)


def test_text_that_looks_like_a_placeholder_comes_back_as_it_was():
    text = f"Literally [PERSON_1_{TAG}] and person 1 {TAG.lower()}, and jane@example.com."
    redacted = redact(text, EMPTY, LAYERS)
    account = Account()

    assert text == restore_text(redacted.text, redacted.entries, account)
    assert not account.unknown


def test_types_that_are_off_stay_and_low_scores_do_not_count():
    def unsure(text: str) -> Iterator[Span]:
        yield Span(start=0, end=4, type="PERSON", layer="unsure", score=0.4)

    layers = [Function("unsure", unsure), Structured()]
    text = "Jane: jane@example.com, 2024-01-01"

    assert "[PERSON_1" in redact(text, EMPTY, layers).text
    assert redact(text, EMPTY, layers, policy=Policy(score_min={"PERSON": 0.5})).text.startswith("Jane: [EMAIL_1")
    assert redact(text, EMPTY, layers, policy=Policy(off=frozenset({"DATE"}))).text.endswith(", 2024-01-01")


@pytest.mark.parametrize("text", ["a\0b", "a\ud800b"])
def test_what_cannot_be_redacted_safely_is_refused(text: str):
    with pytest.raises(UnsupportedTextError) as refused:
        redact(text, EMPTY, LAYERS)

    assert refused.value.__context__ is None


def test_a_text_longer_than_the_bound_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("flotilla.privacy.redaction.TEXT_LENGTH_MAX", 10)
    with pytest.raises(UnsupportedTextError, match="longer than 10"):
        redact("a" * 11, EMPTY, LAYERS)


def test_nothing_of_the_text_is_in_a_repr():
    redacted = redact("Mail jane@example.com", EMPTY, LAYERS)

    assert "Mail" not in repr(redacted)
    assert "jane" not in repr(redacted)


def test_a_language_that_the_lists_do_not_serve_is_refused_unless_the_caller_accepts_it():
    """Told or detected; what is too short to tell is read as any."""
    italian = (
        "Gentile signora, la ringrazio della sua lettera del mese scorso, che è stata molto utile per il nostro lavoro."
    )
    russian = "Гражданин Иванов проживает в Москве."

    for text in (italian, russian):
        with pytest.raises(LanguageError, match="--language any"):
            redact(text, EMPTY, LAYERS)
        assert redact(text, EMPTY, LAYERS, language="any").text
    with pytest.raises(LanguageError, match="'pt'"):
        redact("Mail jane@example.com", EMPTY, LAYERS, language="pt-BR")
    assert redact("Mail jane@example.com", EMPTY, LAYERS).text.startswith("Mail [EMAIL_1")


def test_an_address_that_is_left_is_left_whole():
    """Also where the text names its owner elsewhere, in whatever case."""
    policy = Policy(off=frozenset({"EMAIL"}))
    text = "Fenella Quill asked; write to fenella.quill7@example.com, and FENELLA will answer."
    redacted = redact(text, Entries.empty("case"), structured_and_listed(), language="en", policy=policy).text

    assert "fenella.quill7@example.com" in redacted
    assert "FENELLA" not in redacted
