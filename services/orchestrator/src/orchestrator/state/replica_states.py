"""
Which replicas are in trouble: asked something and silent, out of reach, or gone. Pure: told what was heard, and when.

All times are seconds of one clock that stands still while this process or its connection does, so that a pause here is
taken for nobody's trouble.
"""

from collections.abc import Iterable
from typing import Final, Literal, NamedTuple

SILENT_AFTER_S: Final = 0.5
GONE_AFTER_S: Final = 3.0
"""Out of reach for so long: a connection that broke would be there again."""
REMEMBERED_S: Final = 600.0
"""A task may be in its next attempt for a while before it is weighed again."""
REPLICAS_MAX: Final = 10_000


class Replica(NamedTuple):
    """One life of a replica: started again, it is another one, under the same name perhaps. The name is of the pool."""

    pool: str
    name: str
    started_unix_ms: int = 0


Standing = Literal["well", "silent", "gone"]


class _Trouble:
    __slots__ = ("away_since_s", "blamed", "gone", "since_s")

    def __init__(self, since_s: float) -> None:
        self.since_s: Final = since_s
        self.away_since_s: float | None = None
        self.gone = False
        self.blamed = False


class ReplicaStates:
    """
    The replicas that do not answer, each from the first question that it left unanswered.

    A replica that is not listed is well, as far as anybody knows.
    """

    def __init__(self) -> None:
        self._troubles: dict[Replica, _Trouble] = {}

    def asked(self, replica: Replica, now_s: float) -> None:
        """It was asked something that every replica answers at once."""
        if replica not in self._troubles:
            if len(self._troubles) >= REPLICAS_MAX:
                del self._troubles[next(iter(self._troubles))]
            self._troubles[replica] = _Trouble(now_s)

    def answered(self, replica: Replica) -> None:
        """The replica said something: it is in no trouble."""
        self._troubles.pop(replica, None)

    def away(self, replica: Replica, now_s: float) -> None:
        """The server says that it is not there."""
        trouble = self._troubles.get(replica)
        if trouble is not None and trouble.away_since_s is None:
            trouble.away_since_s = now_s

    def absent(self, replica: Replica) -> None:
        """It has taken its card away, or let it expire; one that was not in trouble has left as it should."""
        trouble = self._troubles.get(replica)
        if trouble is not None:
            trouble.gone = True

    def standing(self, replica: Replica, now_s: float) -> Standing:
        """How it stands now."""
        trouble = self._troubles.get(replica)
        if trouble is None:
            return "well"
        if trouble.gone or (trouble.away_since_s is not None and now_s - trouble.away_since_s >= GONE_AFTER_S):
            return "gone"
        return "silent" if trouble.away_since_s is not None or now_s - trouble.since_s >= SILENT_AFTER_S else "well"

    def was_in_trouble(self, replica: Replica, at_s: float, now_s: float) -> bool:
        """Whether it is in trouble since before a moment."""
        trouble = self._troubles.get(replica)
        return trouble is not None and trouble.since_s < at_s and self.standing(replica, now_s) != "well"

    def is_reachable(self, replica: Replica) -> bool:
        """Whether the server may still send it something, answer or not."""
        trouble = self._troubles.get(replica)
        return trouble is None or not (trouble.gone or trouble.away_since_s is not None)

    def suspects(self, replicas: Iterable[Replica], *, sent_s: float, now_s: float) -> frozenset[Replica]:
        """Those that a request may have brought into trouble: they are, and were not when it was sent."""
        return frozenset(
            replica
            for replica in replicas
            if self.standing(replica, now_s) != "well" and not self.was_in_trouble(replica, sent_s, now_s)
        )

    def swallows_beside(self, pool: str, live: Iterable[Replica], *, sent_s: float, now_s: float) -> bool:
        """
        Whether a replica of the pool was in trouble already when a request was sent, and another that lives was not.

        The first one may have swallowed it: that says nothing of the others, nor of the route.
        """
        troubled = {replica for replica in self.in_trouble(pool) if self.was_in_trouble(replica, sent_s, now_s)}
        return bool(troubled) and not troubled.issuperset(live)

    def in_trouble(self, pool: str) -> list[Replica]:
        """Those of a pool that left something unanswered."""
        return [replica for replica in self._troubles if replica.pool == pool]

    def blame(self, replicas: Iterable[Replica]) -> bool:
        """Whether some of them were not blamed yet for what was lost with them; from now on they are."""
        troubles = [trouble for replica in replicas if (trouble := self._troubles.get(replica)) is not None]
        news = any(not trouble.blamed for trouble in troubles)
        for trouble in troubles:
            trouble.blamed = True
        return news

    def troubled(self) -> list[Replica]:
        """Those that are not gone for good: worth asking again."""
        return [replica for replica, trouble in self._troubles.items() if not trouble.gone]

    def forget_undecided(self) -> None:
        """Take all that are not gone for well, as after a break of one's own: they may have answered meanwhile."""
        self._troubles = {replica: trouble for replica, trouble in self._troubles.items() if trouble.gone}

    def forget(self, now_s: float) -> None:
        """Drop what is too old to matter."""
        for replica in [each for each, trouble in self._troubles.items() if now_s - trouble.since_s > REMEMBERED_S]:
            del self._troubles[replica]
