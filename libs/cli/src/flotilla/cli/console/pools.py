"""The live fleet as rows of tables: columns, and a row each."""

from collections.abc import Sequence

from flotilla.contracts.api import Backlog, PoolStatus
from flotilla.contracts.presence import ReplicaCard

Rows = tuple[tuple[str, ...], list[tuple[str, ...]]]


def pool_rows(pools: Sequence[PoolStatus]) -> Rows:
    """A row per pool."""
    columns = ("zone", "pool", "provider", "replicas", "slots", "busy", "models", "capabilities")
    rows = [
        (
            pool.zone,
            pool.pool,
            f"{pool.provider} (stands in)" if pool.stand_in else pool.provider,
            str(pool.replicas),
            str(pool.slots),
            str(pool.busy),
            ", ".join(pool.models),
            ", ".join(pool.capabilities),
        )
        for pool in pools
    ]
    return columns, rows


def backlog_rows(backlog: Sequence[Backlog]) -> Rows:
    """A row per capability that has tasks in the stream."""
    columns = ("tasks in the stream", "high", "normal", "low")
    return columns, [(each.capability, str(each.high), str(each.normal), str(each.low)) for each in backlog]


def replica_rows(cards: Sequence[ReplicaCard]) -> Rows:
    """A row per replica."""
    columns = ("zone", "pool", "replica", "provider", "slots", "busy", "models", "draining")
    rows = [
        (
            card.zone,
            card.pool,
            card.replica,
            card.provider,
            str(card.slots),
            str(card.busy),
            ", ".join(model.name for model in card.models),
            ("joining" if card.joining is True else "draining") if card.draining else "",
        )
        for card in cards
    ]
    return columns, rows
