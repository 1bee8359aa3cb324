"""What an attempt is expected to use, from what those before it on its route have used. Pure."""

from typing import Final

from msgspec import Struct

from flotilla.contracts.attempts import Usage
from flotilla.contracts.limits import USD_MICROS
from flotilla.contracts.presence import ModelPrice

ROUTES_MAX: Final = 4_096
BYTES_PER_TOKEN: Final = 4
OUTPUT_TOKENS_FIRST: Final = 256
"""Of an attempt on a route of which nothing is known."""
PRICED_OUTPUT_TOKENS_FIRST: Final = 1_024
"""Where its price is known, and nobody bounds its answers."""
USD_MICROS_FIRST: Final = 50_000
NEWEST_SHARE: Final = 0.1
"""Of the newest attempt in the mean of tokens."""

RouteOf = tuple[str, str, str]
"""Pool, model and capability."""


class _Seen(Struct):
    tokens: float = 0.0
    output_tokens_max: int = 0
    usd_micros: int = 0
    is_free: bool = True


class Estimates:
    """Means of tokens, and the dearest attempt, by route and capability."""

    def __init__(self) -> None:
        self._seen: dict[RouteOf, _Seen] = {}

    def tokens(self, route: RouteOf, input_bytes: int) -> int:
        """Tokens that an attempt is expected to use, in and out."""
        seen = self._seen.get(route)
        if seen is None or not seen.tokens:
            return input_bytes // BYTES_PER_TOKEN + OUTPUT_TOKENS_FIRST
        return max(1, round(seen.tokens))

    def usd_micros(self, route: RouteOf, hint_usd: float | None, price: ModelPrice | None, input_bytes: int) -> int:
        """
        Micro-dollars that an attempt may cost.

        Where the model's price is known, what its tokens are expected to cost, and no less than the dearest seen: the input
        as long as it is, and as many tokens out as any answer had, at first the most that the model may give. Else the
        dearest seen, else the policy's hint, else USD_MICROS_FIRST.
        """
        dearest = self.dearest_usd_micros(route)
        if price is None:
            return dearest or (USD_MICROS_FIRST if hint_usd is None else round(hint_usd * USD_MICROS))
        seen = self._seen.get(route)
        output_tokens = (seen.output_tokens_max if seen else 0) or price.output_tokens_max or PRICED_OUTPUT_TOKENS_FIRST
        usd = price.usd(input_tokens=-(-input_bytes // BYTES_PER_TOKEN), output_tokens=output_tokens)
        return max(1, dearest, micros_of(usd))

    def dearest_usd_micros(self, route: RouteOf) -> int:
        """Of the attempts that went well; 0 where none is known, or none has cost anything."""
        seen = self._seen.get(route)
        return 0 if seen is None else seen.usd_micros

    def is_free(self, route: RouteOf) -> bool:
        """Whether attempts on it went well, and each of them is known to have cost nothing."""
        seen = self._seen.get(route)
        return seen is not None and seen.is_free

    def seen(self, route: RouteOf, usage: Usage) -> None:
        """An attempt went well."""
        seen = self._seen.get(route)
        if seen is None:
            if len(self._seen) >= ROUTES_MAX:
                self._seen.clear()
            seen = self._seen[route] = _Seen()
        tokens = usage.input_tokens + usage.output_tokens
        seen.tokens = tokens if not seen.tokens else seen.tokens + (tokens - seen.tokens) * NEWEST_SHARE
        seen.output_tokens_max = max(seen.output_tokens_max, usage.output_tokens)
        seen.is_free = seen.is_free and usage.cost_usd == 0.0
        seen.usd_micros = max(seen.usd_micros, micros_of(usage.cost_usd or 0.0))


def micros_of(usd: float) -> int:
    """Dollars in whole micro-dollars, to the nearest."""
    return round(usd * USD_MICROS)
