"""
What an answer cost, by the public price list that ships inside `genai-prices`. Nothing is ever fetched.

The list is half a second of import, so it is loaded only for those who pay: in the constructor of a cloud adapter.
"""

import functools
from collections.abc import Callable
from typing import Final

FREE: Final = frozenset(
    {"ollama", "vllm", "llamacpp", "llama.cpp", "lmstudio", "openai-compatible", "embedded", "noop", "local"}
)
"""Providers on one's own hardware."""

_PriceOf = Callable[..., float | None]


def load(provider: str) -> None:
    """Load the price list now, so that the first answer does not wait for it; nothing for a provider that is free."""
    if provider not in FREE:
        _price_list()("openai", "gpt-4o", input_tokens=1)


def cost_usd(
    provider: str,
    model: str,
    *,
    input_tokens: int,
    output_tokens: int,
    cache_read_tokens: int = 0,
    cache_write_tokens: int = 0,
    asked: str = "",
) -> float | None:
    """
    The price of one call in US dollars; 0.0 for one's own hardware, None where no price is known.

    Args:
        provider: As in results: `openai`, `anthropic`, `gemini`, ...
        model: As the provider names it in its answer, dated or not.
        asked: The model that was asked for; its price counts when the list has none for `model`, as with gateways that
            answer under names of their own.
        input_tokens: All of them, those read from and written to a cache included.
        output_tokens: All of them, thinking included.
        cache_read_tokens: How many of the input were cached and cost less.
        cache_write_tokens: How many of the input were put into a cache and cost more.
    """
    if provider in FREE:
        return 0.0
    # Some servers count the cached ones beside the others; the list refuses more cached tokens than there are.
    read = min(cache_read_tokens, input_tokens)
    tokens = {
        "input_tokens": input_tokens,
        "output_tokens": output_tokens,
        "cache_read_tokens": read,
        "cache_write_tokens": min(cache_write_tokens, input_tokens - read),
    }
    for name in dict.fromkeys((model, asked)):
        if name and (price := _price_list()(provider, name.removeprefix("models/"), **tokens)) is not None:
            return price
    return None


@functools.cache
def _price_list() -> _PriceOf:
    from genai_prices import Usage, calc_price  # noqa: PLC0415 - see the module's docstring

    def price(provider: str, model: str, **tokens: int) -> float | None:
        try:
            usage = Usage(**{name: count for name, count in tokens.items() if count})
            return float(calc_price(usage, model, provider_id=provider).total_price)
        except (LookupError, ValueError):
            return None

    return price
