"""What work on one's own hardware costs."""

import msgspec
import pytest

from flotilla.contracts.attempts import Failed, Finished, Usage
from flotilla.contracts.failures import FailureKind
from flotilla.contracts.presence import PriceCard
from flotilla.inference.worker import priced


@pytest.mark.parametrize(
    ("price", "usd"),
    [
        (PriceCard(call_usd=0.01), 0.01),
        (PriceCard(second_usd=0.0005), 0.001),
        (PriceCard(mtok_usd=2.0), 0.0006),
        (PriceCard(call_usd=0.01, second_usd=0.0005, mtok_usd=2.0), 0.0116),
        (PriceCard(second_usd=0.00000001), 0.0),
    ],
)
def test_its_parts_add_up_to_whole_micro_dollars(price: PriceCard, usd: float) -> None:
    """
    Of a call that took two seconds and 300 tokens.
    """
    assert price.of(seconds=2.0, tokens=300) == usd


def test_what_a_price_list_says_wins() -> None:
    """
    And what nobody knows the cost of costs what this hardware does, failures too.
    """
    price = PriceCard(call_usd=0.5)
    listed = Finished(output=msgspec.Raw(b"{}"), provider="p", model="m", usage=Usage(cost_usd=0.25))
    unknown = Finished(output=msgspec.Raw(b"{}"), provider="p", model="m", usage=Usage(cost_usd=None))
    failed = Failed(kind=FailureKind.TIMEOUT, message="slow")

    costs = [priced(answer, price, 1.0).usage.cost_usd for answer in (listed, unknown, failed)]
    assert costs == [0.25, 0.5, 0.5]
