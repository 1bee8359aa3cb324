"""
How many tokens, in whatever form a provider says it.

Compatible servers send counts as fractions, as text, as null, negative, or beyond any number; an answer is not lost for
that. What is no count is not known, and then neither is the cost.
"""

import math
from typing import Final

import msgspec

from flotilla.contracts.attempts import Usage
from flotilla.inference.adapters import pricing

TOKENS_MAX: Final = 1_000_000_000
"""Of one answer; what is said beyond it counts as this."""

_DIGITS_MAX: Final = 32


def token_count(value: object) -> int | None:
    """A count as a whole number from 0 to `TOKENS_MAX`, fractions rounded up; None for what is no count."""
    if isinstance(value, str) and len(value) <= _DIGITS_MAX:
        try:
            value = float(value)
        except ValueError:
            return None
    # Compared, and not converted: an integer may be beyond any float. A comparison with NaN is false.
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
        return None
    return TOKENS_MAX if value >= TOKENS_MAX else math.ceil(value)


def usage_of(
    provider: str,
    model: str,
    asked: str,
    *,
    input_tokens: int | None,
    output_tokens: int | None,
    cache_read_tokens: int | None = None,
    cache_write_tokens: int | None = None,
    embedding: bool = False,
) -> Usage:
    """
    What an answer consumed, and what that cost.

    Args:
        provider: As in the price list.
        model: As the provider names it in its answer, or "".
        asked: The model that was asked for.
        input_tokens: All of them, those of a cache included; None when the provider did not say.
        output_tokens: Likewise.
        cache_read_tokens: How many of the input were cached.
        cache_write_tokens: How many of the input were put into a cache.
        embedding: Whether there is no output to be counted. Otherwise half a count has no known cost where one pays:
            the half that was said would look like the whole price.
    """
    if input_tokens is None and output_tokens is None:
        return unknown_usage(provider)
    if input_tokens is None or (output_tokens is None and not embedding):
        spent = Usage(input_tokens=input_tokens or 0, output_tokens=output_tokens or 0)
        return spent + unknown_usage(provider)
    cost_usd = pricing.cost_usd(
        provider,
        model,
        input_tokens=input_tokens,
        output_tokens=output_tokens or 0,
        cache_read_tokens=cache_read_tokens or 0,
        cache_write_tokens=cache_write_tokens or 0,
        asked=asked,
    )
    return Usage(input_tokens=input_tokens, output_tokens=output_tokens or 0, cost_usd=cost_usd)


def broken_off(provider: str, usage: Usage) -> Usage:
    """Of a call that was broken off after it had been sent: what was counted until then, and an unknown cost."""
    return usage if provider in pricing.FREE else msgspec.structs.replace(usage, cost_usd=None)


def unknown_usage(provider: str) -> Usage:
    """Of an answer that did not say what it consumed: nothing on one's own hardware, else an unknown cost."""
    return Usage() if provider in pricing.FREE else Usage(cost_usd=None)
