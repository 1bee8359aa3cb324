"""What is said of a pool, out of the cards of its replicas."""

from typing import Any

import pytest

from flotilla.contracts.presence import ReplicaCard, decode_card, encode_card
from portal.live.pool_views import pool_views
from portal.live.replicas import SeenReplica


def seen(name: str, **more: Any) -> SeenReplica:
    card = ReplicaCard(zone="local", pool="spare", replica=name, provider="noop", models=[], slots=2, **more)
    # As it arrives: what is not set must be so after a journey too.
    return SeenReplica(card=decode_card(encode_card(card)), heard_s=10.0)


@pytest.mark.parametrize(
    ("replicas", "status", "words", "free"),
    [
        ([seen("a", draining=True, joining=True)], "joining", "no replica takes tasks yet", 0),
        ([seen("a", draining=True)], "draining", "every replica is leaving", 0),
        (
            [seen("a", draining=True), seen("b", draining=True, joining=True)],
            "joining",
            "no replica takes tasks yet",
            0,
        ),
        ([seen("a"), seen("b", draining=True, joining=True)], "ready", "2 replicas", 2),
    ],
)
def test_a_replica_that_starts_is_not_said_to_leave(replicas: list[SeenReplica], status: str, words: str, free: int):
    """
    Both take nothing; who looks must know whether to wait for one, or to ask why one leaves.
    """
    [pool] = pool_views(replicas, {}, now_s=10.0)

    assert (status, words, free) == (pool.status, pool.words, pool.slots_free)
