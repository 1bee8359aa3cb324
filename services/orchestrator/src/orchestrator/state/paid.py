"""What one attempt cost, for the ledger."""

from msgspec import Struct


class Paid(Struct, frozen=True, gc=False):
    """
    What an attempt cost.

    Attributes:
        usd: None where it is not known.
    """

    pool: str
    model: str
    usd: float | None
