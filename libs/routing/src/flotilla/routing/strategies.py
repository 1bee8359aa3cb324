"""
The strategies by name. A new one is a module beside this file with a `STRATEGY`, and its line here: the check of a policy,
the documentation's test and the benchmark read this table.
"""

from typing import Any, Final

from flotilla.contracts.policy_rules import STRATEGY_DEFAULT
from flotilla.routing import cascade, cheapest, consensus, failover, fastest, split
from flotilla.routing.strategy import Strategy

STRATEGIES: Final[dict[str, Strategy[Any]]] = {
    each.STRATEGY.name: each.STRATEGY for each in (failover, fastest, cheapest, split, cascade, consensus)
}


def strategy_named(name: str) -> Strategy[Any]:
    """
    The strategy of a name.

    One that a newer policy names and this version does not know is replaced by `failover`, which keeps to the routes
    that the policy lists, in its order.
    """
    return STRATEGIES.get(name, STRATEGIES[STRATEGY_DEFAULT])
