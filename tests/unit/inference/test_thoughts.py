"""What a model thinks aloud is no part of its answer, however its pieces are cut."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flotilla.inference.thoughts import HELD_CHARS_MAX, Thoughts, without_thoughts
from flotilla.testkit.examples import examples

HARMONY = "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>"


def read(text: str, size: int, *, begins_inside: bool = False) -> tuple[str, bool]:
    filtered = Thoughts(begins_inside=begins_inside)
    shown = [filtered.feed(text[start : start + size]) for start in range(0, len(text), size)]
    return "".join([*shown, filtered.end()]), filtered.leaked


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("plain", "plain"),
        ("  plain\n", "  plain\n"),
        ("<think>x</think>\n\nyes", "yes"),
        (" \n<think>\n\n</think>\n\nyes", "yes"),
        ("<think>a</think>\n<think>b</think>yes", "yes"),
        ("<think>never ends", ""),
        ("</think>\n\nyes", "yes"),
        ("[THINK]x[/THINK]yes", "yes"),
        ("<thinking>x</thinking>yes", "yes"),
        ("◁think▷x◁/think▷yes", "yes"),
        ("<|begin_of_thought|>x<|end_of_thought|>yes", "yes"),
        (f"{HARMONY}yes<|return|>", "yes"),
        (f"{HARMONY}yes", "yes"),
        ("<|channel|>final <|constrain|>json<|message|>{}", "{}"),
        ("<|start|>assistant<|message|>yes<|end|>", "yes"),
        ("<|channel|>analysis<|message|>only thoughts", ""),
        ("<|channel|>commentary to=functions.x<|message|>{}<|call|>", ""),
        ("<|channel|>analysis", ""),
        ("analysis<|message|>hm<|end|>final<|message|>yes", "yes"),
        ("analysisWe need it.assistantfinalyes", "yes"),
        ("analysisWe never say", "analysisWe never say"),
        ("analysis of a contract", "analysis of a contract"),
        ("first\n<think>x</think>\nthen", "first\nthen"),
        ("first\n<think>x", "first\n<think>x"),
        ("a <think> and a </think> here", "a <think> and a </think> here"),
        ("the tag `</think>` ends it", "the tag `</think>` ends it"),
        ("'<think>'", "'<think>'"),
        ("a < b and [1] <thi", "a < b and [1] <thi"),
        ("", ""),
        (" ", " "),
    ],
)
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_an_answer_without_its_thoughts(text: str, answer: str, size: int):
    """
    The same in pieces as whole.
    """
    assert (answer, False) == read(text, size)
    assert answer == without_thoughts(text)


@pytest.mark.parametrize("text", ["Is it? It is.\n</think>\n\nyes", "It is.</think>yes", f"hm{HARMONY[33:]}yes"])
def test_thoughts_without_a_beginning(text: str):
    """
    Taken off a whole text; in pieces they are known too late the first time, and withheld afterwards.
    """
    assert "yes" == without_thoughts(text)
    assert read(text, 3)[1]
    assert ("yes", False) == read(text, 3, begins_inside=True)
    assert ("no thoughts", False) == read("no thoughts", 3, begins_inside=True)


@pytest.mark.parametrize("mark", ["<think>", "</think>"])
def test_marks_of_the_prompt_are_the_matter(mark: str):
    """
    A question about them is answered with them; a block at the very beginning is a thought all the same.
    """
    prompt = ("Be brief.", f"What does {mark} mean?")
    text = "It begins with\n<think>\nand ends with\n</think>\nas you see"

    assert text == without_thoughts(text, prompt)
    assert "yes" == without_thoughts("<think>x</think>yes", prompt)


def test_what_may_be_thoughts_is_not_held_for_ever():
    """
    A longer one is shown, and nothing is lost.
    """
    text = "analysisWe " + "x" * HELD_CHARS_MAX
    assert (text, False) == read(text, 10_000)


PARTS = st.lists(
    st.sampled_from(
        [
            *("<think>", "</think>", "[THINK]", "[/THINK]", "<|channel|>", "<|message|>", "<|end|>", "<|start|>"),
            *("<|return|>", "analysis", "final", "assistant", "assistantfinal", "We", " ", "\n", "`", "<", "|>", "a"),
        ]
    ),
    max_size=12,
).map("".join)


@settings(deadline=None, max_examples=examples(500))
@given(text=PARTS, cuts=st.lists(st.integers(0, 100)), begins_inside=st.booleans())
def test_pieces_and_the_whole_read_the_same(text: str, cuts: list[int], *, begins_inside: bool):
    """
    Unless thoughts were passed on before their end told that they were.
    """
    whole = Thoughts(begins_inside=begins_inside)
    expected = whole.whole(text)
    places = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    filtered = Thoughts(begins_inside=begins_inside)
    shown = "".join([filtered.feed(text[start:stop]) for start, stop in pairwise(places)]) + filtered.end()

    assert filtered.leaked or expected == shown
    assert not whole.leaked
