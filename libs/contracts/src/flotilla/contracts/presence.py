"""A replica's card: what it is and what it can do, sent as its heartbeat while it lives."""

from typing import Annotated, Final

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from flotilla.contracts.decoding import UNDECODABLE, checked, safe_text
from flotilla.contracts.errors import DecodeFailedError
from flotilla.contracts.fields import COST_USD_MAX, TOKENS_MAX, Instance, ModelName, Name, Slots, UnixMs, Word
from flotilla.contracts.headers import LABELS_MAX
from flotilla.contracts.limits import USD_MICROS
from flotilla.contracts.subjects import Zone

REFRESH_S: Final = 2.0
EXPIRY_S: Final = 6.0
MODELS_MAX: Final = 64
CAPABILITIES_MAX: Final = 128
TOKENS_PER_PRICE: Final = 1_000_000
PriceUsd = Annotated[float, Meta(ge=0.0, le=COST_USD_MAX)]


class ModelPrice(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """
    What a call of a model costs, as far as it is known before: for reservations of budgets.

    Attributes:
        call_usd: Of a call, whatever is in it.
        input_mtok_usd: Of a million tokens in; none from a cache, which cost less.
        output_mtok_usd: Of a million tokens out.
        output_tokens_max: The most that a call may ask for; 0 where only the model bounds it.
    """

    call_usd: PriceUsd = 0.0
    input_mtok_usd: PriceUsd = 0.0
    output_mtok_usd: PriceUsd = 0.0
    output_tokens_max: Annotated[int, Meta(ge=0, le=TOKENS_MAX)] = 0

    def usd(self, *, input_tokens: int, output_tokens: int) -> float:
        """Dollars, of one call."""
        tokens_usd = input_tokens * self.input_mtok_usd + output_tokens * self.output_mtok_usd
        return min(COST_USD_MAX, self.call_usd + tokens_usd / TOKENS_PER_PRICE)


class ModelCard(Struct, frozen=True, kw_only=True):
    """
    A model that a replica serves, and for which capabilities.

    Attributes:
        price: Where one is known.
    """

    name: ModelName
    capabilities: Annotated[list[Name], Meta(max_length=CAPABILITIES_MAX)]
    price: ModelPrice | UnsetType = UNSET


class PriceCard(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """
    What work on one's own hardware costs; its parts add up.

    Attributes:
        call_usd: An attempt.
        second_usd: A second in which a slot is taken.
        mtok_usd: A million tokens, in and out.
    """

    call_usd: PriceUsd = 0.0
    second_usd: PriceUsd = 0.0
    mtok_usd: PriceUsd = 0.0

    def of(self, *, seconds: float, tokens: int) -> float:
        """Dollars, in whole micro-dollars."""
        usd = self.call_usd + seconds * self.second_usd + tokens * self.mtok_usd / TOKENS_PER_PRICE
        return min(COST_USD_MAX, round(usd * USD_MICROS) / USD_MICROS)


class ReplicaCard(Struct, frozen=True, kw_only=True):
    """
    One replica of a pool.

    Attributes:
        models: In the order of preference; the first that has a capability serves it by default.
        slots: How many attempts it takes at a time.
        busy: How many it holds now (as of the last refresh).
        draining: It finishes what it holds and takes nothing new.
        joining: It starts, and takes nothing yet; `draining` is set with it, for readers that do not know this field.
        stand_in: No model but an engine in the place of one: it gets a task only while no model that is live serves the
            capability.
    """

    zone: Zone
    pool: Name
    replica: Instance
    provider: Word
    models: Annotated[list[ModelCard], Meta(max_length=MODELS_MAX)]
    slots: Slots
    busy: Slots = 0
    draining: bool = False
    version: Word = ""
    started_unix_ms: UnixMs = 0
    labels: Annotated[dict[Word, Word], Meta(max_length=LABELS_MAX)] = {}
    stand_in: bool = False
    price: PriceCard | UnsetType = UNSET
    joining: bool | UnsetType = UNSET

    @property
    def capabilities(self) -> frozenset[str]:
        """Everything that some model of the replica serves."""
        return frozenset(name for model in self.models for name in model.capabilities)


encode_card: Final = msgspec.json.Encoder().encode
_decode_card: Final = msgspec.json.Decoder(ReplicaCard).decode


def decode_card(body: bytes) -> ReplicaCard:
    """
    Decode a replica's card.

    Raises:
        DecodeFailedError: It is not one.
    """
    try:
        return _decode_card(checked(body))
    except UNDECODABLE as error:
        raise DecodeFailedError(f"replica card: {safe_text(error)}") from error
