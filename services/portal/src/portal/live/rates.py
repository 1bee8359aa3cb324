"""How often something happened: counted by second for rates, by ten seconds for the last hour."""

from collections import deque
from typing import Final

RATE_WINDOW_S: Final = 10
HOUR_STEP_S: Final = 10
HOUR_STEPS_MAX: Final = 360


class Rate:
    """How often per second, over the last RATE_WINDOW_S whole seconds."""

    def __init__(self) -> None:
        self._seconds: Final[deque[tuple[int, int]]] = deque(maxlen=RATE_WINDOW_S + 1)

    def add(self, now_unix_s: float, count: int = 1) -> None:
        """Something happened at this time."""
        second = int(now_unix_s)
        if self._seconds and self._seconds[-1][0] == second:
            count += self._seconds.pop()[1]
        self._seconds.append((second, count))

    def per_s(self, now_unix_s: float) -> float:
        """The rate; the second that has only begun is not counted."""
        now = int(now_unix_s)
        return sum(count for second, count in self._seconds if now - RATE_WINDOW_S <= second < now) / RATE_WINDOW_S


class HourSum:
    """The sum of the last hour's values, by steps of HOUR_STEP_S."""

    def __init__(self) -> None:
        self._steps: Final[deque[tuple[int, float]]] = deque(maxlen=HOUR_STEPS_MAX)

    def __len__(self) -> int:
        return len(self._steps)

    def add(self, now_unix_s: float, value: float = 1.0) -> None:
        """A value that belongs to this time."""
        step = int(now_unix_s) // HOUR_STEP_S
        if self._steps and self._steps[-1][0] == step:
            value += self._steps.pop()[1]
        self._steps.append((step, value))

    def total(self, now_unix_s: float) -> float:
        """The sum over the last hour."""
        oldest = int(now_unix_s) // HOUR_STEP_S - HOUR_STEPS_MAX
        return sum(value for step, value in self._steps if step > oldest)
