"""What is known of a text before patterns are tried: it may never say that a pattern cannot match where it can."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flotilla.privacy.values.context import announcing, kind_before, kind_near, words_before
from flotilla.privacy.values.outline import lower_of, outline_of, shape_of
from flotilla.privacy.values.regions import begins
from flotilla.testkit.examples import examples

SIGNS = "019aZÄß İ.,-+(/@\n€"


@given(st.text(SIGNS, max_size=60))
@settings(max_examples=examples(200))
def test_small_letters_and_shapes_have_the_length_of_the_text(text: str):
    assert len(text) == len(lower_of(text)) == len(shape_of(text))


@given(st.text(SIGNS, max_size=60))
@settings(max_examples=examples(200))
def test_a_class_before_the_look_behind_matches_where_it_does_after_it(text: str):
    ahead = [match.span() for match in re.finditer(r"(?<![\w.])[0-9][0-9/]{0,3}", text)]

    assert ahead == [match.span() for match in re.finditer(begins("0-9", r"\w.") + r"[0-9/]{0,3}", text)]


@given(st.text(SIGNS, max_size=60))
@settings(max_examples=examples(200))
def test_numbers_are_tried_wherever_a_pattern_of_numbers_matches(text: str):
    pattern = re.compile(begins("+(0-9", r"\w") + r"[0-9(]{0,3}")

    assert [match.span() for match in pattern.finditer(text)] == [
        match.span() for match in outline_of(text).at_numbers(pattern)
    ]


@pytest.mark.parametrize(
    ("text", "shape"), [("AB12 3CD", "AA99 9AA"), ("Änne, 3 €", "Aaaa, 9 ?"), ("M\u00fcnchen-4a", "Aaaaaaa-9a")]
)
def test_a_shape_tells_capitals_small_letters_and_digits(text: str, shape: str):
    assert shape == shape_of(text)


@given(
    st.lists(
        st.sampled_from(
            ["Konto-Nr.", "a/c", "kundennr", "ust-id", "driver's license", "Tel", "n°", "is", "\n", "x", "A", "4711"]
        ),
        max_size=4,
    ),
    st.sampled_from([" ", "", ": ", ". "]),
)
@settings(max_examples=examples(200))
def test_words_that_say_what_a_number_is_are_looked_at_wherever_there_are_some(parts: list[str], between: str):
    text = between.join(parts) + " 12345"
    at = len(text) - len("12345")
    looked_at = words_before(text, at, announcing(outline_of(text)))
    every = words_before(text, at, range(len(text)))

    assert (kind_before(every), kind_near(every)) == (kind_before(looked_at), kind_near(looked_at))
