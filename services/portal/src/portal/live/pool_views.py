"""Pools as browsers see them, out of what is known of their replicas. Pure."""

from collections.abc import Iterable, Mapping
from typing import Final

from flotilla.contracts.names import POOLS_MAX
from portal.live.replicas import ReplicaStatus, SeenReplica
from portal.live.snapshot import PoolView, ReplicaView

REPLICAS_SHOWN_MAX: Final = 100
MODELS_SHOWN_MAX: Final = 64
CAPABILITIES_SHOWN_MAX: Final = 128
_WORST_FIRST: Final[tuple[ReplicaStatus, ...]] = ("silent", "lost", "gone", "draining", "joining", "busy", "ready")
_LEFT: Final = ("lost", "gone")
_BEST_FIRST: Final[tuple[ReplicaStatus, ...]] = ("ready", "busy", "joining", "draining", "silent", "lost", "gone")


def pool_views(seen: Iterable[SeenReplica], rates_per_s: Mapping[str, float], *, now_s: float) -> list[PoolView]:
    """The pools, local ones first, by name; `rates_per_s` are dispatched attempts by pool."""
    by_pool: dict[tuple[str, str], list[SeenReplica]] = {}
    for one in seen:
        by_pool.setdefault((one.card.zone, one.card.pool), []).append(one)
    ordered = sorted(by_pool, key=lambda key: (key[0] != "local", key[1]))[:POOLS_MAX]
    return [_pool(by_pool[key], rates_per_s.get(key[1], 0.0), now_s) for key in ordered]


def _pool(seen: list[SeenReplica], per_s: float, now_s: float) -> PoolView:
    views = sorted(
        (_replica(one, now_s) for one in seen), key=lambda view: (_WORST_FIRST.index(view.status), view.instance)
    )
    there = [one.card for one in seen if one.gone_s is None] or [seen[0].card]
    status: ReplicaStatus = next(each for each in _BEST_FIRST if any(view.status == each for view in views))
    models = list(dict.fromkeys(model.name for card in there for model in card.models))
    capabilities = sorted({name for card in there for name in card.capabilities})
    return PoolView(
        name=there[0].pool,
        zone=there[0].zone,
        provider=there[0].provider,
        models=models[:MODELS_SHOWN_MAX],
        capabilities=capabilities[:CAPABILITIES_SHOWN_MAX],
        slots=sum(view.slots for view in views if view.status not in _LEFT),
        slots_free=sum(view.slots_free for view in views),
        tasks_per_s=round(per_s, 2),
        status=status,
        words=_pool_words(status, views),
        stand_in=all(card.stand_in for card in there),
        replicas=views[:REPLICAS_SHOWN_MAX],
        replicas_total=len(views),
    )


def _replica(seen: SeenReplica, now_s: float) -> ReplicaView:
    status, card = seen.status(now_s), seen.card
    free = max(0, card.slots - card.busy) if status in ("ready", "busy") else 0
    age_s = int(now_s - (seen.gone_s if seen.gone_s is not None and status == "gone" else seen.heard_s))
    words = {
        "ready": f"{free} of {card.slots} slots free",
        "busy": f"all {card.slots} slots taken",
        "joining": "starts, and takes nothing yet",
        "draining": "finishes what it holds and takes nothing new",
        "silent": f"no heartbeat for {age_s} s",
        "lost": f"no heartbeat for {age_s} s, and no goodbye: it has ended, is frozen, or is cut off from NATS",
        "gone": f"has left {age_s} s ago",
    }[status]
    return ReplicaView(
        instance=card.replica,
        slots=card.slots,
        slots_free=free,
        status=status,
        words=words,
        age_s=age_s if status in ("silent", *_LEFT) else 0,
        version=card.version,
    )


def _pool_words(status: ReplicaStatus, views: list[ReplicaView]) -> str:
    there = [view for view in views if view.status not in _LEFT]
    if status == "gone":
        return "every replica has left"
    if status in ("silent", "lost"):
        return "no replica is heard any more" if status == "lost" else "no replica has been heard lately"
    if status == "joining":
        return "no replica takes tasks yet"
    if status == "draining":
        return "every replica is leaving"
    silent = sum(view.status == "silent" for view in there)
    lost = sum(view.status == "lost" for view in views)
    gone = len(views) - len(there) - lost
    parts = [f"{len(there)} {'replica' if len(there) == 1 else 'replicas'}"]
    if status == "busy":
        parts.append("no slot is free")
    if silent:
        parts.append(f"{silent} silent")
    if lost:
        parts.append(f"{lost} lost in the last minute")
    if gone:
        parts.append(f"{gone} left in the last minute")
    return ", ".join(parts)
