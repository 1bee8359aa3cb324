"""Room that scopes share, memory for what is in flight: a part is reserved for each, the rest is for whoever comes."""

from collections.abc import Mapping, Sequence
from typing import Final


class Room:
    """
    Counts what each scope holds of something that there is only so much of.

    One scope may hold at most `share_max` of it. What is then left is reserved for the other scopes in equal parts: each
    finds its part free whatever the others hold, and all together never hold more than `total_max`. A scope that is
    alone may hold everything.
    """

    __slots__ = ("_claimed", "_held", "_total_max", "largest", "reserve")

    def __init__(self, scopes: Sequence[str], *, total_max: int, share_max: float) -> None:
        others = len(scopes) - 1
        reserved = int(total_max * (1 - share_max)) // others if others else 0
        self._total_max: Final = total_max
        self._held: Final = dict.fromkeys(scopes, 0)
        self.reserve: Final = min(reserved, total_max // len(scopes)) if others else total_max
        """What each scope finds free whatever the others hold."""
        self._claimed = self.reserve * len(scopes)
        self.largest: Final = total_max - self.reserve * others
        """The most that one scope can ever hold."""

    def held(self) -> Mapping[str, int]:
        """What each scope holds."""
        return self._held

    def of(self, scope: str) -> int:
        """What a scope holds."""
        return self._held[scope]

    def free(self, scope: str) -> int:
        """How much more a scope may take now."""
        return self._total_max - self._claimed + max(0, self.reserve - self._held[scope])

    def take(self, scope: str, amount: int = 1) -> bool:
        """Take an amount, to be given back; False when there is no room for it."""
        before = self._held[scope]
        claimed = self._claimed + max(before + amount, self.reserve) - max(before, self.reserve)
        if claimed > self._total_max:
            return False
        self._claimed = claimed
        self._held[scope] = before + amount
        return True

    def give_back(self, scope: str, amount: int = 1) -> None:
        """Give back what was taken."""
        before = self._held[scope]
        self._held[scope] = before - amount
        self._claimed -= max(before, self.reserve) - max(before - amount, self.reserve)
