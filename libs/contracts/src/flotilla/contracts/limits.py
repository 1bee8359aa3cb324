"""
Limits and budgets of a policy: how much may be asked of a provider, and how much may be spent, by the whole fleet.

A limit bounds attempts, so that a provider's own limits are kept whichever orchestrator sends them. A budget bounds
money. Both hold over all orchestrators of a lane; money is counted in whole micro-dollars (`_usd_micros`).
"""

from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from flotilla.contracts.fields import Instance, Name
from flotilla.contracts.headers import LABEL_LENGTH_MAX, LABELS_MAX

LIMITS_MAX: Final = 64
BUDGETS_MAX: Final = 64
FILTER_MAX: Final = 100
"""Names that one filter may list."""
PER_MINUTE_MAX: Final = 1_000_000_000
CONCURRENT_MAX: Final = 100_000
USD_MICROS: Final = 1_000_000
"""In a dollar."""
RESERVE_USD_MAX: Final = 10_000.0

Mode = Literal["enforce", "report"]
Period = Literal["day", "month"]

_Text = Annotated[str, Meta(min_length=1, max_length=LABEL_LENGTH_MAX)]
_Pools = Annotated[list[Name], Meta(min_length=1, max_length=FILTER_MAX)]
_Scopes = Annotated[list[Instance], Meta(min_length=1, max_length=FILTER_MAX)]
_PerMinute = Annotated[int, Meta(ge=1, le=PER_MINUTE_MAX)]


class LimitEntry(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """
    `[limits.NAME]`: how much may be asked, of all that the filters leave in.

    Attributes:
        pools: Those that share it, such as all that use one provider key; None for any pool.
        scopes: Whose tasks count; None for everybody's.
        capabilities: Which tasks count; None for all.
        requests_per_minute: Attempts that begin within any 60 s.
        tokens_per_minute: Tokens of attempts, in and out; estimated when one begins, corrected when it has ended.
        concurrent_requests: Attempts at a time.
        mode: `report` counts and refuses nothing.
        without_counters: What an attempt does that cannot be counted, since the stream of the counters is away.
    """

    pools: _Pools | None = None
    scopes: _Scopes | None = None
    capabilities: _Pools | None = None
    requests_per_minute: _PerMinute | None = None
    tokens_per_minute: _PerMinute | None = None
    concurrent_requests: Annotated[int, Meta(ge=1, le=CONCURRENT_MAX)] | None = None
    mode: Mode = "enforce"
    without_counters: Literal["refuse", "allow"] = "refuse"


class BudgetEntry(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """
    `[budgets.NAME]`: how much may be spent in a day or a month (UTC), on all that the filters leave in.

    Attributes:
        usd: So many dollars.
        pools: On which pools; None for any.
        scopes: For whose tasks; None for everybody's.
        labels: Of tasks that carry all of these (`Flotilla-Label-*`).
        reserve_usd: Reserved for an attempt until its cost is known: what one costs at most; more where one has cost more
            on the route. None for what is known of it: the dearest attempt seen, or the policy's `cost_usd_hint`.
        mode: `report` counts and refuses nothing.
    """

    usd: Annotated[float, Meta(gt=0.0, le=1e6)]
    per: Period
    pools: _Pools | None = None
    scopes: _Scopes | None = None
    labels: Annotated[dict[_Text, _Text], Meta(min_length=1, max_length=LABELS_MAX)] | None = None
    reserve_usd: Annotated[float, Meta(gt=0.0, le=RESERVE_USD_MAX)] | None = None
    mode: Mode = "enforce"

    @property
    def usd_micros(self) -> int:
        """The budget in micro-dollars."""
        return round(self.usd * USD_MICROS)


Limits = Annotated[dict[Name, LimitEntry], Meta(max_length=LIMITS_MAX)]
Budgets = Annotated[dict[Name, BudgetEntry], Meta(max_length=BUDGETS_MAX)]
