"""What recorded calls cost: as recorded, at a price that was given, or at the public list price of the model."""

from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Struct

from flotilla.cli.replay.recording import Recorded, Recording, Row
from flotilla.inference.adapters.pricing import list_price_usd

BYTES_PER_TOKEN: Final = 4
TOKENS_PER_PRICE: Final = 1_000_000


class Price(Struct, frozen=True, kw_only=True):
    """US dollars for a million tokens."""

    input_usd: float
    output_usd: float

    def cost_usd(self, input_tokens: int, output_tokens: int) -> float:
        """What a call of so many tokens costs."""
        return (input_tokens * self.input_usd + output_tokens * self.output_usd) / TOKENS_PER_PRICE


def priced(recording: Recording, prices: Mapping[str, Price]) -> Recording:
    """
    The recording with a cost on each call, as far as one is known.

    A cost that was recorded stays. Where no tokens were recorded they are estimated, a token for `BYTES_PER_TOKEN` bytes of
    input and answer: what a model thought is not in them, nor is the prompt around the input.
    """
    counted = {model for row in recording.rows for model, each in row.by_model.items() if each.input_tokens}
    rows = [
        msgspec.structs.replace(
            row,
            by_model={
                model: _with_cost(row, model, each, prices.get(model), is_counted=model in counted)
                for model, each in row.by_model.items()
            },
        )
        for row in recording.rows
    ]
    given = [each for row in recording.rows for each in row.by_model.values() if each.answer is not None]
    if all(each.cost_usd is not None for each in given):
        costs = "recorded"
    elif any(each.cost_usd is None for row in rows for each in row.by_model.values() if each.answer is not None):
        costs = "unknown"
    else:
        costs = "priced" if counted >= set(recording.models) else "estimated"
    return Recording(models=recording.models, rows=rows, costs=costs)


def _with_cost(row: Row, model: str, each: Recorded, price: Price | None, *, is_counted: bool) -> Recorded:
    if each.cost_usd is not None or each.answer is None:
        return each
    input_tokens, output_tokens = each.input_tokens, each.output_tokens
    if not is_counted:
        input_tokens = -(-row.input_bytes // BYTES_PER_TOKEN)
        output_tokens = -(-each.answer_bytes // BYTES_PER_TOKEN)
    if price is not None:
        cost_usd = price.cost_usd(input_tokens, output_tokens)
    else:
        # Recorded names may carry the pool: `openai/gpt-4o`.
        cost_usd = list_price_usd(model, input_tokens=input_tokens, output_tokens=output_tokens)
        if cost_usd is None and "/" in model:
            name = model.rpartition("/")[2]
            cost_usd = list_price_usd(name, input_tokens=input_tokens, output_tokens=output_tokens)
    return msgspec.structs.replace(each, input_tokens=input_tokens, output_tokens=output_tokens, cost_usd=cost_usd)
