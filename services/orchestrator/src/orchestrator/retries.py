"""What follows a failed attempt. Pure: the dispatcher sleeps and sends, this only says."""

import random
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from flotilla.contracts.failures import RULES, ErrorKind, FailureKind

ATTEMPTS_MAX: Final = 10
BACKOFF_S_MAX: Final = 5.0
_FAILURES: Final = frozenset(kind.value for kind in FailureKind)


class RetryHere(Struct, frozen=True):
    """Try the same route again, after a pause."""

    after_s: float


class NextRoute(Struct, frozen=True):
    """Try the next route; this one is done with for this task."""


class GiveUp(Struct, frozen=True):
    """The task fails with this kind."""

    kind: ErrorKind


Step = RetryHere | NextRoute | GiveUp


def next_step(
    failure: FailureKind, *, tries_here: int, attempts: int, retry_after_s: float | None, left_s: float
) -> Step:
    """
    Decide what follows a failed attempt.

    Args:
        failure: Why it failed.
        tries_here: How often this route has been tried for the task, this time included.
        attempts: How many attempts the task has had in all.
        retry_after_s: As the provider asked; a pause longer than the backoff sends the task to the next route.
        left_s: Until the task's deadline.
    """
    rule = RULES[failure]
    if not rule.next_route:
        return GiveUp(rule.fails_as)
    if attempts >= ATTEMPTS_MAX:
        return GiveUp(ErrorKind.PROVIDER_FAILED)
    if tries_here <= rule.same_route_max:
        backoff_s = min(rule.backoff_s * 2 ** (tries_here - 1), BACKOFF_S_MAX) * (0.75 + random.random() / 2)
        after_s = backoff_s if retry_after_s is None else retry_after_s
        if after_s <= BACKOFF_S_MAX and after_s < left_s:
            return RetryHere(after_s)
    return NextRoute()


def fails_as(outcomes: Sequence[str]) -> ErrorKind:
    """What a task has failed as that no route is left for, by the outcomes of its attempts."""
    kinds = {RULES[FailureKind(each)].fails_as if each in _FAILURES else ErrorKind.PROVIDER_FAILED for each in outcomes}
    return kinds.pop() if len(kinds) == 1 else ErrorKind.PROVIDER_FAILED
