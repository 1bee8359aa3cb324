"""A replica's card: what it is and what it can do, sent as its heartbeat while it lives."""

from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from flotilla.contracts.decoding import UNDECODABLE, checked, safe_text
from flotilla.contracts.errors import DecodeFailedError
from flotilla.contracts.fields import Instance, ModelName, Name, Slots, UnixMs, Word
from flotilla.contracts.headers import LABELS_MAX
from flotilla.contracts.subjects import Zone

REFRESH_S: Final = 2.0
EXPIRY_S: Final = 6.0
MODELS_MAX: Final = 64
CAPABILITIES_MAX: Final = 128


class ModelCard(Struct, frozen=True, kw_only=True):
    """A model that a replica serves, and for which capabilities."""

    name: ModelName
    capabilities: Annotated[list[Name], Meta(max_length=CAPABILITIES_MAX)]


class ReplicaCard(Struct, frozen=True, kw_only=True):
    """
    One replica of a pool.

    Attributes:
        models: In the order of preference; the first that has a capability serves it by default.
        slots: How many attempts it takes at a time.
        busy: How many it holds now (as of the last refresh).
        draining: It finishes what it holds and takes nothing new.
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
