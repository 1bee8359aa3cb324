"""
What an answer cost, by the public price list that ships inside `genai-prices`. Nothing is ever fetched.

The list is half a second of import, so it is loaded only for those who pay: in the constructor of a cloud adapter. It
takes a tenth of a millisecond for a call; the prices of a model are asked for once in a while, and multiplied here.
"""

import functools
import math
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Final, NamedTuple

from flotilla.contracts.presence import TOKENS_PER_PRICE, ModelPrice
from flotilla.contracts.providers import providers_of

FREE: Final = frozenset(provider.name for provider in providers_of("local")) | {
    *("llama.cpp", "lmstudio", "embedded", "noop", "local")
}
"""Providers on one's own hardware."""

PERIOD_S: Final = 600
"""Prices that depend on the time of the day change at such moments only."""
PRICES_REMEMBERED_MAX: Final = 256
NAMES_MAX: Final = 1_000
TIER_TOKENS: Final = 10_000
"""Where the price of a token depends on how many there are, it is that of so many."""

_CACHE_PRICES: Final = ("cache_read_mtok", "cache_write_mtok")
_PriceOf = Callable[..., float | None]
names_looked_up: Final[set[tuple[str, str]]] = set()


class _Rates(NamedTuple):
    """In US dollars: of a call, and of a token of each kind."""

    call: float
    plain: float
    read: float
    write: float
    output: float


def load(provider: str) -> None:
    """Load the price list now, so that the first answer does not wait for it; nothing for a provider that is free."""
    if provider not in FREE:
        _price_list()("openai", "gpt-4o", plain=1, read=0, write=0, output=0)


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
    if input_tokens < 0 or output_tokens < 0:
        return None
    # Some servers count the cached ones beside the others; the list refuses more cached tokens than there are.
    read = min(cache_read_tokens, input_tokens)
    write = min(cache_write_tokens, input_tokens - read)
    plain = input_tokens - read - write
    for name in dict.fromkeys((model, asked)):
        if not name or (name != asked and not _may_be_looked_up(provider, name)):
            continue
        price = _price_list()(
            provider, name.removeprefix("models/"), plain=plain, read=read, write=write, output=output_tokens
        )
        if price is not None:
            return price
    return None


def list_price_usd(model: str, *, input_tokens: int, output_tokens: int) -> float | None:
    """
    The list price of a call in US dollars by the name of the model alone, at the provider that it is best known of.

    None where the list has no such model, or is not installed.
    """
    if find_spec("genai_prices") is None or not _may_be_looked_up("", model):
        return None
    return _price_list()("", model, plain=input_tokens, read=0, write=0, output=output_tokens)


def known_price(provider: str, model: str, *, output_tokens_max: int = 0) -> ModelPrice | None:
    """
    What a call of a model costs by the list, for whoever reserves before it is made; None for one's own hardware, and where
    no price is known. Where the list has tiers, those of a call of TIER_TOKENS.
    """
    if provider in FREE or not _may_be_looked_up(provider, model):
        return None
    price = partial(_price_list(), provider, model.removeprefix("models/"), read=0, write=0)
    call, plain, output = (
        price(plain=plain, output=out) for plain, out in ((0, 0), (TIER_TOKENS, 0), (0, TIER_TOKENS))
    )
    if call is None or plain is None or output is None:
        return None
    return ModelPrice(
        call_usd=call,
        input_mtok_usd=(plain - call) * TOKENS_PER_PRICE / TIER_TOKENS,
        output_mtok_usd=(output - call) * TOKENS_PER_PRICE / TIER_TOKENS,
        output_tokens_max=output_tokens_max,
    )


def _may_be_looked_up(provider: str, name: str) -> bool:
    """A server may answer under ever new names, and the list remembers every one that it was asked for."""
    if (provider, name) not in names_looked_up and len(names_looked_up) >= NAMES_MAX:
        return False
    names_looked_up.add((provider, name))
    return True


UNLISTED: Final = _Rates(math.nan, math.nan, math.nan, math.nan, math.nan)


@functools.cache
def _price_list() -> _PriceOf:
    from genai_prices import Usage, calc_price  # noqa: PLC0415 - see the module's docstring
    from genai_prices.types import TieredPrices  # noqa: PLC0415

    @functools.lru_cache(maxsize=PRICES_REMEMBERED_MAX)
    def rates(provider: str, model: str, period: int) -> _Rates | None:
        """`UNLISTED` where there is no price; None where that of a token depends on how many there are."""
        del period
        try:
            prices = vars(calc_price(Usage(input_tokens=1), model, provider_id=provider or None).model_price)
        except (LookupError, ValueError):
            return UNLISTED
        if any(isinstance(price, TieredPrices) for price in prices.values()):
            return None
        # Those that stand apart from the others cost what the others cost, where the list says nothing of them.
        plain = prices.get("input_mtok") or 0
        read, write = (plain if prices.get(name) is None else prices[name] for name in _CACHE_PRICES)
        return _Rates(
            call=float(prices.get("requests_kcount") or 0) / 1e3,
            plain=float(plain) / 1e6,
            read=float(read) / 1e6,
            write=float(write) / 1e6,
            output=float(prices.get("output_mtok") or 0) / 1e6,
        )

    def price(provider: str, model: str, *, plain: int, read: int, write: int, output: int) -> float | None:
        try:
            found = rates(provider, model, int(time.time()) // PERIOD_S)
            if found is UNLISTED:
                return None
            if found is None:
                counts = {"input_tokens": plain + read + write, "cache_read_tokens": read}
                counts |= {"cache_write_tokens": write, "output_tokens": output}
                usage = Usage(**{name: count for name, count in counts.items() if count})
                return float(calc_price(usage, model, provider_id=provider or None).total_price)
        except (LookupError, ValueError):
            return None
        return found.call + plain * found.plain + read * found.read + write * found.write + output * found.output

    return price
