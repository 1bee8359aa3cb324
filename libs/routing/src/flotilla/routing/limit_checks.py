"""What a policy's types cannot say of its limits and budgets."""

from collections.abc import Collection, Iterator
from typing import Any, Final, cast

from flotilla.contracts.limits import USD_MICROS
from flotilla.contracts.policy import Policy

MEASURES: Final = ("requests_per_minute", "tokens_per_minute", "concurrent_requests")


def limit_faults(limits: object) -> Iterator[str]:
    """Limits that limit nothing; looks only at parts that have the right shape."""
    for name, entry in cast("dict[str, object]", limits).items() if isinstance(limits, dict) else ():
        if isinstance(entry, dict) and not any(measure in cast("dict[str, Any]", entry) for measure in MEASURES):
            yield f"limits.{name[:64]}: limits nothing; give one of {', '.join(MEASURES)}"


def limit_warnings(policy: Policy, known_pools: Collection[str]) -> Iterator[str]:
    """What is allowed but may be a mistake."""
    entries = [(f"limits.{name}", entry) for name, entry in policy.limits.items()]
    for path, entry in [*entries, *((f"budgets.{name}", entry) for name, entry in policy.budgets.items())]:
        for index, pool in enumerate(entry.pools or ()):
            if pool not in known_pools:
                yield f"{path}.pools[{index}]: no live pool is called {pool}"
    for name, budget in policy.budgets.items():
        if budget.reserve_usd is not None and round(budget.reserve_usd * USD_MICROS) > budget.usd_micros:
            yield f"budgets.{name}.reserve_usd: more than the whole budget, so that no task fits into it"
