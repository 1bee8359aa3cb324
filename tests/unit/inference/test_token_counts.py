"""Counts in every form, and what is known of the cost then."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flotilla.contracts.attempts import Usage
from flotilla.inference.adapters.token_counts import TOKENS_MAX, token_count, unknown_usage, usage_of


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, 0),
        (7, 7),
        (7.0, 7),
        (7.2, 8),
        ("7", 7),
        (" 7.5 ", 8),
        (-1, None),
        (-0.5, None),
        ("-3", None),
        (None, None),
        (True, None),
        ("", None),
        ("many", None),
        ("nan", None),
        ("9" * 5000, None),
        (math.nan, None),
        (math.inf, TOKENS_MAX),
        ("1e400", TOKENS_MAX),
        (10**30, TOKENS_MAX),
        ([7], None),
        ({"count": 7}, None),
    ],
)
def test_a_count(value: Any, expected: int | None):
    """
    Whole and bounded, or not known.
    """
    assert expected == token_count(value)


@given(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=50) | st.binary() | st.lists(st.none())
)
def test_nothing_is_no_whole_number_within_bounds(value: Any):
    """
    Whatever JSON holds.
    """
    count = token_count(value)
    assert count is None or (type(count) is int and 0 <= count <= TOKENS_MAX)


def test_what_was_not_counted_has_no_known_cost_where_one_pays():
    """
    At home it is nothing all the same.
    """
    assert Usage(cost_usd=None) == usage_of("openai", "gpt-4o", "gpt-4o", input_tokens=None, output_tokens=None)
    assert Usage(cost_usd=None) == unknown_usage("openai")
    assert Usage() == usage_of("vllm", "m", "m", input_tokens=None, output_tokens=None)
    assert Usage() == unknown_usage("vllm")


@pytest.mark.parametrize(("input_tokens", "output_tokens"), [(7, None), (None, 7)])
def test_half_a_count_has_no_known_cost_where_one_pays(input_tokens: int | None, output_tokens: int | None):
    """
    What was said of it stays, and at home it is nothing all the same; an embedding has no other half.
    """
    paid = usage_of("openai", "gpt-4o", "", input_tokens=input_tokens, output_tokens=output_tokens)
    free = usage_of("vllm", "m", "", input_tokens=input_tokens, output_tokens=output_tokens)

    assert (7, None) == (paid.input_tokens + paid.output_tokens, paid.cost_usd)
    assert (7, 0.0) == (free.input_tokens + free.output_tokens, free.cost_usd)
    embedded = usage_of("openai", "text-embedding-3-small", "", input_tokens=7, output_tokens=None, embedding=True)
    assert (embedded.cost_usd or 0) > 0


def test_the_price_of_the_model_that_was_asked_for_stands_in():
    """
    Gateways answer under names of their own.
    """
    counts: dict[str, Any] = {"input_tokens": 1_000_000, "output_tokens": 0}

    assert pytest.approx(2.5) == usage_of("openai", "router/fast-1", "gpt-4o", **counts).cost_usd
    assert pytest.approx(2.5) == usage_of("openai", "", "gpt-4o", **counts).cost_usd
    assert usage_of("openai", "router/fast-1", "fast", **counts).cost_usd is None


def test_more_cached_tokens_than_there_are_count_as_all_of_them():
    """
    Some servers count them beside the others.
    """
    paid = usage_of("openai", "gpt-4o", "gpt-4o", input_tokens=1_000_000, output_tokens=0, cache_read_tokens=2_000_000)
    assert pytest.approx(1.25) == paid.cost_usd

    both: dict[str, Any] = {"cache_read_tokens": 5, "cache_write_tokens": 7}
    assert (usage_of("anthropic", "claude-haiku-4-5", "", input_tokens=6, output_tokens=1, **both).cost_usd or 0) > 0
