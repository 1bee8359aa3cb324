"""
How often somebody may try to sign in: by address, and in all, so that many addresses are no way around. Pure.

Whoever tries many tokens is not to keep others out: when there were too many wrong ones in all, an address from which none
came may still try.
"""

from typing import Final

TRIES_PER_ADDRESS_MAX: Final = 10
TRIES_MAX: Final = 100
"""In all, in a window; then those who have tried wrongly try no more."""
WINDOW_S: Final = 60.0
ADDRESSES_MAX: Final = 10_000
"""From which wrong ones came; then nobody tries any more."""


class SignInLimit:
    """Counts tries that failed, in windows of WINDOW_S."""

    def __init__(self) -> None:
        self._window = 0
        self._failed = 0
        self._by_address: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._by_address)

    def allows(self, address: str, *, now_s: float) -> bool:
        """Whether this address may try."""
        window = int(now_s // WINDOW_S)
        if window != self._window:
            self._window, self._failed = window, 0
            self._by_address.clear()
        failed = self._by_address.get(address, 0)
        if not failed:
            return len(self._by_address) < ADDRESSES_MAX
        return failed < TRIES_PER_ADDRESS_MAX and self._failed < TRIES_MAX

    def failed(self, address: str) -> None:
        """A try with a token that nobody has."""
        self._failed += 1
        if address in self._by_address or len(self._by_address) < ADDRESSES_MAX:
            self._by_address[address] = self._by_address.get(address, 0) + 1

    @staticmethod
    def retry_after_s(now_s: float) -> int:
        """When the next window begins."""
        return int(WINDOW_S - now_s % WINDOW_S) + 1
