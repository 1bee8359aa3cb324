"""What an attempt gives back of what was reserved for it, by how it ended."""

import asyncio
from typing import cast

import msgspec
import pytest

from flotilla.contracts.attempts import Failed, Finished, Usage
from flotilla.contracts.failures import FailureKind
from flotilla.contracts.presence import ModelPrice
from orchestrator.economy.allowances import Allowance, Held
from orchestrator.economy.estimates import USD_MICROS_FIRST, Estimates
from orchestrator.economy.permits import Permit
from orchestrator.state.outcomes import Ended, Outcome

ROUTE = ("pool", "model", "classify")
RESERVED = 50_000
PRICE = ModelPrice(input_mtok_usd=2.5, output_mtok_usd=10.0)


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
        (Failed(kind=FailureKind.TIMEOUT, message="slow"), RESERVED),
        (Failed(kind=FailureKind.LOST, message="gone"), RESERVED),
        (Failed(kind=FailureKind.INTERRUPTED, message="stopped"), RESERVED),
        (Failed(kind=FailureKind.CRASHED, message="crashed"), RESERVED),
        (Failed(kind=FailureKind.UNAVAILABLE, message="503"), 0),
        (Failed(kind=FailureKind.REFUSED, message="no", usage=Usage(cost_usd=None)), RESERVED),
        (Ended.NO_SLOT, 0),
        (Ended.BUSY, 0),
        (Ended.DEADLINE, RESERVED),
        (Ended.CANCELLED, RESERVED),
        (None, RESERVED),
    ],
)
async def test_a_reservation_ends_with_what_was_used(outcome: Outcome | None, used_usd_micros: int) -> None:
    """
    An attempt of unknown cost may have cost all of it, however it ended; a place among those under way is always free again.
    """
    assert [used_usd_micros, 0] == closed(outcome)


@pytest.mark.parametrize(
    ("own_hardware", "seen_usd", "used"),
    [(True, 0.0, 0), (True, 0.01, RESERVED), (True, None, RESERVED), (False, 0.0, RESERVED)],
)
async def test_ones_own_hardware_that_costs_nothing_charges_for_nothing(
    *, own_hardware: bool, seen_usd: float | None, used: int
) -> None:
    """
    A cancelled attempt there has no unknown cost. Of a route of which nothing is known, it has.
    """
    estimates = Estimates()
    estimates.seen(ROUTE, Usage(cost_usd=seen_usd))

    assert [used, 0] == closed(Ended.CANCELLED, estimates, own_hardware=own_hardware)


def closed(outcome: Outcome | None, estimates: Estimates | None = None, *, own_hardware: bool = True) -> list[int]:
    """What a reservation of money and one of a place end with; None is the outcome of one that nobody waits for."""
    ends = Ends()
    permit = Permit(estimates or Estimates(), ROUTE, own_hardware=own_hardware)
    permit.holds(Held(cast("Allowance", ends), "o1.1", RESERVED), "usd_micros")
    permit.holds(Held(cast("Allowance", ends), "o1.2", 1), "attempts")
    future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    if outcome is None:
        future.cancel()
    else:
        future.set_result(outcome)
    permit.close(future)
    return ends.used


def test_what_is_reserved_is_the_dearest_seen() -> None:
    """
    Else what the policy says, else a first guess.
    """
    estimates = Estimates()
    first, hinted = (estimates.usd_micros(ROUTE, hint, None, 4_000) for hint in (None, 0.02))
    assert (USD_MICROS_FIRST, 20_000) == (first, hinted)
    for cost_usd in (0.01, 0.03, 0.02):
        estimates.seen(ROUTE, Usage(input_tokens=100, output_tokens=20, cost_usd=cost_usd))

    assert (30_000, 120) == (estimates.usd_micros(ROUTE, 0.02, None, 4_000), estimates.tokens(ROUTE, 4_000))
    assert 1_256 == estimates.tokens(("pool", "other", "classify"), 4_000)


@pytest.mark.parametrize(
    ("price", "input_bytes", "seen", "usd_micros"),
    [
        # 1,000 tokens in at 2.50, 1,024 out at 10 dollars a million.
        (PRICE, 4_000, None, 2_500 + 10_240),
        (PRICE, 4_005, None, 2_505 + 10_240),
        (msgspec.structs.replace(PRICE, output_tokens_max=100), 4_000, None, 2_500 + 1_000),
        (msgspec.structs.replace(PRICE, call_usd=0.5), 4_000, None, 502_500 + 10_240),
        # Once answers are known, as many tokens out as the longest had; a long input costs more than any that was seen.
        (PRICE, 4_000, Usage(input_tokens=10, output_tokens=200, cost_usd=0.001), 2_500 + 2_000),
        (PRICE, 4_000_000, Usage(input_tokens=10, output_tokens=200, cost_usd=0.001), 2_500_000 + 2_000),
        (PRICE, 4_000, Usage(input_tokens=10, output_tokens=200, cost_usd=0.03), 30_000),
        (ModelPrice(), 4_000, None, 1),
    ],
)
def test_where_the_price_is_known_an_attempt_reserves_what_its_tokens_are_expected_to_cost(
    price: ModelPrice, input_bytes: int, seen: Usage | None, usd_micros: int
):
    """
    Whatever the policy's hint says, and no less than the dearest that was seen.
    """
    estimates = Estimates()
    if seen is not None:
        estimates.seen(ROUTE, seen)
    assert usd_micros == estimates.usd_micros(ROUTE, 0.02, price, input_bytes)
