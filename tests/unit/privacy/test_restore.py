"""Restore: exact, tolerant of what models do, bound to its vault, and the same however a stream is cut."""

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from chunk_invariance import assert_chunk_invariant
from hypothesis import given, settings
from hypothesis import strategies as st

from flotilla.privacy import Account, Entries, StreamRestorer, Structured, redact, restore_json, restore_text
from flotilla.privacy.errors import EntriesError, UnsupportedTextError
from flotilla.privacy.placeholders import PLACEHOLDER_LENGTH_MAX, is_tag, tag_of
from flotilla.testkit.examples import examples

VALUES = {f"value {number}": "PERSON" for number in range(1, 12)} | {"jane@example.com": "EMAIL", "[odd] \\1 {x}": "ID"}
ENTRIES = Entries.empty("case-1").with_values(VALUES)
TAG = ENTRIES.tag
ONE = f"[PERSON_1_{TAG}]"


def test_a_placeholder_is_no_beginning_of_another():
    forms = [ENTRIES.placeholder_of(entry) for entry in ENTRIES]

    assert not any(one != two and two.startswith(one.rstrip("]")) for one in forms for two in forms)


# What a model makes of [PERSON_1_TAG], and what is left around the value.
CHANGES = [
    ("[PERSON_1_{tag}]", "{}"),
    ("[person_1_{low}]", "{}"),
    ("[Person_1_{tag}]", "{}"),
    ("PERSON_1_{tag}", "{}"),
    ("PERSON1{tag}", "{}"),
    ("[PERSON 1 {tag}]", "{}"),
    ("[PERSON-1-{tag}]", "{}"),
    ("[PERSON\\_1\\_{tag}]", "{}"),
    ("[PERSON_\n1_\n{tag}]", "{}"),
    ("[PERSON\u00a01\u00a0{tag}]", "{}"),
    ("[PERSON\u20111\u2011{tag}]", "{}"),
    ("[ PERSON_1_{tag} ]", "{}"),
    ("**[PERSON_1_{tag}]**", "**{}**"),
    ("`PERSON_1_{tag}`", "`{}`"),
    ('"[PERSON_1_{tag}]"', '"{}"'),
    ("<PERSON_1_{tag}>", "<{}>"),
    ("(PERSON_1_{tag})", "({})"),
    ("{{PERSON_1_{tag}}}", "{{{}}}"),
    ("[PERSON_1_{tag}]'s", "{}'s"),
    ("[PERSON_1_{tag}", "[{}"),
    ("PERSON_1_{tag}]", "{}]"),
    ("[[PERSON_1_{tag}]](x)", "[{}](x)"),
    # Translated, in the plural, in bold, escaped, in brackets of another width, with what nobody sees.
    ("[PERSONNE_1_{tag}]", "{}"),
    ("[Persönlichkeit 1 {tag}]", "{}"),
    ("[persons_1_{low}]", "{}"),
    ("[PERSON_**1**_{tag}]", "{}"),
    ("&#91;PERSON_1_{tag}&#93;", "{}"),
    ("&lbrack;PERSON_1_{tag}&rbrack;", "{}"),
    ("\\u005bPERSON_1_{tag}\\u005D", "{}"),
    ("\\[PERSON\\_1\\_{tag}\\]", "{}"),
    ("%5BPERSON_1_{tag}%5D", "{}"),
    ("\uff3bPERSON\uff3f1\uff3f{tag}\uff3d", "{}"),
    ("\u3010PERSON_1_{tag}\u3011", "{}"),
    ("[PERSON\u200b_1_\u2060{tag}]", "{}"),
    # Typeset, put into a text of another script or direction, of full width, with escaped underscores.
    ("[PERSON\u20131\u2013{tag}]", "{}"),
    ("[PERSON\u20141\u2212{tag}]", "{}"),
    ("[PERSON\u20091\u2003{tag}]", "{}"),
    ("\u3010\u3000PERSON_1_{tag}\u3000\u3011", "{}"),
    ("[\u200ePERSON_1_{tag}\u200f]", "[\u200e{}\u200f]"),
    ("[PERSON\u200f_\u200e1_{tag}]", "{}"),
    ("[\u041f\u0435\u0440\u0441\u043e\u043d\u0430_1_{tag}]", "{}"),
    ("[\u4eba\u7269_1_{tag}]", "{}"),
    ("[\u0634\u062e\u0635_\u0661_{tag}]", "{}"),
    ("[\u0935\u094d\u092f\u0915\u094d\u0924\u093f_\u0967_{tag}]", "{}"),
    ("[PERSON_\uff11_{tag}]", "{}"),
    ("\uff3b\uff30\uff25\uff32\uff33\uff2f\uff2e\uff3f\uff11\uff3f{wide}\uff3d", "{}"),
    ("[PERSON&#95;1&#95;{tag}]", "{}"),
    ("[PERSON&lowbar;1&#x5F;{tag}]", "{}"),
    ("[PERSON&nbsp;1&nbsp;{tag}]", "{}"),
    ("%5BPERSON%5F1%5F{tag}%5D", "{}"),
    ("%5BPERSON%201%20{tag}%5D", "{}"),
    ("\\u005bPERSON\\u005f1\\u005f{tag}\\u005d", "{}"),
    # Other separators, lines that were wrapped and quoted, letters that nobody sees, more scripts, more escapes.
    ("[PERSON.1.{tag}]", "{}"),
    ("[PERSON:1:{tag}]", "{}"),
    ("[PERSON: 1, {tag}]", "{}"),
    ("[PERSON/1/{tag}]", "{}"),
    ("[PERSON #1 {tag}]", "{}"),
    ("PERSON+1+{tag}", "{}"),
    ("[PERSON_\r\n      1_{tag}]", "{}"),
    ("[PERSON_1_\n>> > {tag}]", "{}"),
    ("[PERSON_<wbr>1_<wbr>{tag}]", "{}"),
    ("[PERSON<br/>1<br>{tag}]", "{}"),
    ("[PERSON&UnderBar;1&#095;{tag}]", "{}"),
    ("&#091;PERSON_1_{tag}&#093;", "{}"),
    ("[PER\u00adSON_1_{broken}]", "{}"),
    ("PERSON_1_{broken}", "{}"),
    ("[PERSON_\u0e51_{tag}]", "{}"),
    ("[PERSON_\u09e7_{tag}]", "{}"),
    ("\uff30\uff25\uff32\uff33\uff2f\uff2e\uff3f\uff11\uff3f{wide}", "{}"),
    ("\u300cPERSON_1_{tag}\u300d", "\u300c{}\u300d"),
    ("«\u00a0PERSON_1_{tag}\u00a0»", "«\u00a0{}\u00a0»"),
    ("~~[PERSON_1_{tag}]~~[1]", "~~{}~~[1]"),
    ("<td>[PERSON_1_{tag}]</td>", "<td>{}</td>"),
    # Endings of four languages, outside and inside.
    ("[PERSON_1_{tag}s]", "[{}s]"),
    ("[PERSON_1_{tag}]es", "{}es"),
    ("[PERSON_1_{tag}]\u2019", "{}\u2019"),
    ("PERSON_1_{tag}-Akte", "{}-Akte"),
    ("d\u2019[PERSON_1_{tag}]", "d\u2019{}"),
    ("l'PERSON_1_{tag}", "l'{}"),
    ("[PERSONEN_1_{tag}]", "{}"),
    ("[PERSONAS_1_{tag}]", "{}"),
    ("[la PERSON_1_{tag}]", "[la {}]"),
]
BROKEN_TAG = "\u00ad".join((TAG[:2], TAG[2:]))
WIDE_TAG = "".join(chr(ord(letter) - ord("A") + ord("\uff21")) for letter in TAG)


@pytest.mark.parametrize(("change", "left"), CHANGES)
def test_what_models_do_to_placeholders_is_undone(change: str, left: str):
    """Case, brackets, separators, Markdown, quotes, possessive."""
    changed = change.format(tag=TAG, low=TAG.lower(), wide=WIDE_TAG, broken=BROKEN_TAG)

    assert f"So {left.format('value 1')} came." == restore_text(f"So {changed} came.", ENTRIES)


@pytest.mark.parametrize(
    "form",
    [
        "[PERSON_99_{tag}]",
        "[EMAIL_1_{tag}]",
        "[PERSON_1_BCDFG]",
        "[PERSON_1_]",
        "[PERSON_1]",
        "PERSON 1",
        "[PERSON_1_{cut}]",
        "[DATE_1_{tag}]",
        "PERSONNE_1_{tag}",
        "[_1_{tag}]",
        "&#91;EMAIL_1_{tag}&#93;",
        "\uff3b\uff25\uff2d\uff21\uff29\uff2c_1_{tag}\uff3d",
        "[EM\u00adAIL_1_{tag}]",
        "[PERSON_1.1_{tag}]",
        "[PERSON_1,2_{tag}]",
        "[PERSON_1\n1_{tag}]",
        "[PERSON_1 \u2013 3_{tag}]",
        "[PERSON_1_ORG_2_{tag}]",
        "[1_PERSON_{tag}]",
    ],
)
def test_nothing_is_guessed(form: str):
    """No such number, another type, another vault's tag, no tag, half a tag: stays as it is."""
    text = f"So {form.format(tag=TAG, cut=TAG[:-1])} came."

    assert text == restore_text(text, ENTRIES)


def test_the_word_for_an_address_of_mail_has_a_hyphen_in_other_languages():
    assert "jane@example.com" == restore_text(f"[E-Mail_12_{TAG}]", ENTRIES)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 60), st.sampled_from(["", " ", "_", "\n", "[", "]", "PERSON", "EMAIL", "s", "&#95;", TAG])
        ),
        max_size=5,
    )
)
def test_whatever_is_done_to_a_placeholder_no_other_value_takes_its_place(changes: list[tuple[int, str]]):
    """
    Letters are lost, replaced and put in anywhere but in its number: it is restored, or left as it is.
    """
    left, right = list("[PERSON_"), list(f"_{TAG}]")
    for place, piece in changes:
        side = left if place % 2 else right
        side[place % len(side)] = piece
    restored = restore_text("".join((*left, "11", *right)), ENTRIES)

    assert {"value 11"} >= {*re.findall(r"value \d+|jane@|\[odd\]", restored)}


def test_the_account_says_what_was_restored_unknown_and_missing():
    account = Account()
    restore_text(f"{ONE} {ONE} [PERSON_99_{TAG}]", ENTRIES, account)

    assert account.restored == 2
    assert account.unknown == {f"[PERSON_99_{TAG}]": 1}
    assert len(account.missing(ENTRIES)) == len(ENTRIES) - 1


def test_values_are_not_read_again():
    nested = Entries.empty("case-1").with_values({f"[PERSON_2_{TAG}]": "PERSON", "other": "PERSON"})

    assert f"[PERSON_2_{TAG}]" == restore_text(ONE, nested)


def test_json_keeps_its_shape():
    value: Any = {"name": ONE, "list": [1, None, True, f"to {ONE}"], ONE: {"deep": [[ONE]]}}

    assert {
        "name": "value 1",
        "list": [1, None, True, "to value 1"],
        "value 1": {"deep": [["value 1"]]},
    } == restore_json(value, ENTRIES)
    with pytest.raises(UnsupportedTextError, match="nested deeper"):
        restore_json(json.loads("[" * 200 + "]" * 200), ENTRIES)


def streamed(pieces: Iterable[str]) -> Iterator[str]:
    restorer = StreamRestorer(ENTRIES)
    for piece in pieces:
        yield restorer.feed(piece)
    yield restorer.close()


PARTS = st.one_of(
    st.sampled_from([ENTRIES.placeholder_of(entry) for entry in ENTRIES]),
    st.sampled_from(
        [
            ONE.lower(),
            ONE.strip("[]"),
            ONE[:-1],
            ONE[1:],
            ONE.replace("_", " "),
            f"[ {ONE[1:-1]}\n]",
            f"&#91;{ONE[1:-1]}&#93;",
            f"\\u005b{ONE[1:-1]}\\u005d",
            f"[NOMBRE_1_{TAG}]",
            f"\u3010{ONE[1:-1]}\u3011",
            f"[PERSON_99_{TAG}]",
            f"[PERSON&#95;1&#95;{TAG}]",
            f"%5BPERSON%5F1%5F{WIDE_TAG}%5D",
            f"[\u0634\u062e\u0635_\u0661_{TAG}]",
        ]
    ),
    st.sampled_from([ONE[:length] for length in range(1, len(ONE))]),
    st.text(alphabet="ab [](){}_1P\\\n-'", max_size=6),
    st.text(max_size=4),
)


@settings(max_examples=examples(150), deadline=None)
@given(st.lists(PARTS, max_size=6).map("".join), st.data())
def test_however_a_stream_is_cut_it_says_the_same(text: str, data: st.DataObject):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    restorer = StreamRestorer(ENTRIES)
    told, heard = "", ""
    for piece in pieces:
        told += restorer.feed(piece)
        heard += piece
        # What is held back is the end of what came, and no longer than one placeholder.
        assert len(restore_text(heard, ENTRIES)) - len(told) <= PLACEHOLDER_LENGTH_MAX + 20
        assert len(restorer._held) <= PLACEHOLDER_LENGTH_MAX  # pyright: ignore[reportPrivateUsage]

    whole = Account()
    assert restore_text(text, ENTRIES, whole) == told + restorer.close()
    assert (whole.restored, whole.unknown) == (restorer.account.restored, restorer.account.unknown)


def test_every_cut_in_two_is_the_same_by_an_independent_judge():
    text = f"Dear {ONE}, (see [PERSON_10_{TAG}]) person_2_{TAG.lower()}'s [ EMAIL 12 {TAG} ] [PERSON_99_{TAG}] [x]"

    assert assert_chunk_invariant(streamed, lambda whole: restore_text(whole, ENTRIES), text) > 50


@pytest.mark.parametrize("change", [change for change, _ in CHANGES])
def test_what_models_do_is_undone_however_a_stream_is_cut(change: str):
    text = f"So {change.format(tag=TAG, low=TAG.lower(), wide=WIDE_TAG, broken=BROKEN_TAG)} came."
    whole = restore_text(text, ENTRIES)

    assert [] == [cut for cut in range(len(text)) if "".join(streamed([text[:cut], text[cut:]])) != whole]
    assert whole == "".join(streamed(text))


def test_a_tag_of_full_width_in_the_input_is_replaced_as_well():
    """Restore reads it, so nothing but placeholders may have it."""
    text = f"[PERSON_1_{WIDE_TAG}] came."
    redacted = redact(text, ENTRIES, [Structured()], language="en")

    assert WIDE_TAG not in redacted.text
    assert text == restore_text(redacted.text, redacted.entries)


def test_ordinary_words_are_not_held_back():
    restorer = StreamRestorer(ENTRIES)

    assert "It was so. " == restorer.feed("It was so. ")
    assert "" == restorer.close()


def test_entries_are_bound_and_checked():
    assert is_tag(tag_of("a"))
    assert tag_of("a") == tag_of("a") != tag_of("b")
    assert "value" not in repr(ENTRIES)
    assert not re.search("value|jane", " ".join(map(repr, ENTRIES)))
    with pytest.raises(EntriesError):
        Entries("abc")
    with pytest.raises(EntriesError):
        Entries(TAG, [*ENTRIES, next(iter(ENTRIES))])
    with pytest.raises(EntriesError, match="at most"):
        ENTRIES.with_values({str(number): "ID" for number in range(10_000)})
