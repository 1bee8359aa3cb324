"""What scopes may take of something that there is only so much of: each up to a bound of its own, all within another."""

from typing import Final


class Shares:
    """
    Counts what each scope has taken.

    When all together have `total_max`, a scope may still take up to an equal share of it, so that nobody is shut out by
    what others hold. So n scopes together may come to `total_max` times 1 + 1/2 + ... + 1/n, and to no more: to twice as much
    when there are four.
    """

    __slots__ = ("_by_scope", "_per_scope_max", "_total", "_total_max")

    def __init__(self, *, total_max: int, per_scope_max: int) -> None:
        self._total_max: Final = total_max
        self._per_scope_max: Final = per_scope_max
        self._by_scope: dict[str, int] = {}
        self._total = 0

    def of(self, scope: str) -> int:
        """What a scope has taken."""
        return self._by_scope.get(scope, 0)

    def take(self, scope: str, amount: int = 1) -> bool:
        """Take an amount, if the bounds allow it; False when not. To be given back."""
        own = self.of(scope) + amount
        if own > self._per_scope_max:
            return False
        if self._total + amount > self._total_max:
            scopes = len(self._by_scope) + (scope not in self._by_scope)
            if own > self._total_max // scopes:
                return False
        self._by_scope[scope] = own
        self._total += amount
        return True

    def give_back(self, scope: str, amount: int = 1) -> None:
        """Give back what was taken."""
        self._total -= amount
        left = self._by_scope[scope] - amount
        if left:
            self._by_scope[scope] = left
        else:
            del self._by_scope[scope]
