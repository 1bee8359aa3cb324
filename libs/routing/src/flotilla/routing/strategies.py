"""
The strategies by name. A new one is a module beside this file, with a function `order`, and its name in
`flotilla.contracts.policy.STRATEGIES`, which the check of a policy reads too.

A strategy puts healthy candidates in order. Which ones those are, and where the others go, is not its business.
"""

import random
from collections.abc import Callable
from importlib import import_module
from typing import Final, cast

from flotilla.contracts.policy import STRATEGIES, STRATEGY_DEFAULT
from flotilla.routing.candidates import Candidate, Ordered
from flotilla.routing.types import TaskView

Strategy = Callable[[list[Candidate], TaskView, random.Random], Ordered]

_TABLE: Final[dict[str, Strategy]] = {
    name: cast("Strategy", import_module(f"flotilla.routing.{name}").order) for name in STRATEGIES
}


def strategy_named(name: str) -> Strategy:
    """
    The strategy of a name.

    One that a newer policy names and this version does not know is replaced by `failover`, which keeps to the routes
    that the policy lists, in its order.
    """
    return _TABLE.get(name, _TABLE[STRATEGY_DEFAULT])
