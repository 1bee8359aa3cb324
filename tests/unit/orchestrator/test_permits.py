"""What an attempt gives back of what was reserved for it, by how it ended."""

import asyncio
from typing import cast

import msgspec
import pytest

from flotilla.contracts.attempts import Failed, Finished, Usage
from flotilla.contracts.failures import FailureKind
from orchestrator.economy.allowances import Allowance, Held
from orchestrator.economy.estimates import USD_MICROS_FIRST, Estimates
from orchestrator.economy.permits import Permit
from orchestrator.state.outcomes import Ended, Outcome

ROUTE = ("pool", "model", "classify")
RESERVED = 50_000


class Ends:
    """Remembers what reservations ended with."""

    def __init__(self) -> None:
        self.used: list[int] = []

    def end(self, _reservation: str, _reserved: int, used: int) -> None:
        self.used.append(used)


def finished(cost_usd: float | None) -> Finished:
    usage = Usage(input_tokens=90, output_tokens=10, cost_usd=cost_usd)
    return Finished(output=msgspec.Raw(b"{}"), provider="p", model="m", usage=usage)


@pytest.mark.parametrize(
    ("outcome", "used_usd_micros"),
    [
        (finished(0.0125), 12_500),
        (finished(0.0), 0),
        (finished(None), RESERVED),
        (Failed(kind=FailureKind.TIMEOUT, message="slow", usage=Usage(cost_usd=0.01)), 10_000),
        (Ended.NO_SLOT, 0),
        (Ended.CANCELLED, 0),
        (None, 0),
    ],
    ids=["cost", "free", "cost not known", "failed", "no slot", "cancelled", "given up"],
)
async def test_a_reservation_ends_with_what_was_used(outcome: Outcome | None, used_usd_micros: int) -> None:
    """
    An attempt of unknown cost may have cost all of it; a place among those under way is always free again.
    """
    ends = Ends()
    permit = Permit(Estimates(), ROUTE)
    permit.holds(Held(cast("Allowance", ends), "o1.1", RESERVED), "usd_micros")
    permit.holds(Held(cast("Allowance", ends), "o1.2", 1), "attempts")
    future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    if outcome is None:
        future.cancel()
    else:
        future.set_result(outcome)
    permit.close(future)

    assert ends.used == [used_usd_micros, 0]


def test_what_is_reserved_is_the_dearest_seen() -> None:
    """
    Else what the policy says, else a first guess.
    """
    estimates = Estimates()
    assert (USD_MICROS_FIRST, 20_000) == (estimates.usd_micros(ROUTE, None), estimates.usd_micros(ROUTE, 0.02))
    for cost_usd in (0.01, 0.03, 0.02):
        estimates.seen(ROUTE, Usage(input_tokens=100, output_tokens=20, cost_usd=cost_usd))

    assert (30_000, 120) == (estimates.usd_micros(ROUTE, 0.02), estimates.tokens(ROUTE, 4_000))
    assert 1_256 == estimates.tokens(("pool", "other", "classify"), 4_000)
