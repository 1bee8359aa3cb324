"""The fleet that a policy is replayed on: its pools, each with the recorded models that its routes stand for."""

from typing import Final

from flotilla.cli.replay.errors import ReplayError
from flotilla.cli.replay.recording import Row
from flotilla.contracts.headers import DataClass
from flotilla.contracts.policy import Policy, RouteEntry
from flotilla.contracts.policy_rules import rules_for
from flotilla.contracts.subjects import Zone
from flotilla.routing.types import FleetView, PoolView, Route, TaskView

SLOTS: Final = 1_000_000
"""No attempt waits for a slot."""
OWN_POOL: Final = "recorded"
"""Of routes that no policy file names."""


class RecordedFleet:
    """
    One live pool for each that the policy lists for a capability.

    A route stands for the recorded model that is called `<pool>/<model>`, else `<model>`; without a model, for the one
    that is called like its pool.

    Raises:
        ReplayError: The policy lists no routes for the capability, or one that was not recorded.
    """

    def __init__(self, policy: Policy, capability: str, models: tuple[str, ...]) -> None:
        rules = rules_for(policy, capability)
        if rules is None or rules.routes is None:
            raise ReplayError(f"no routes for {capability}: name pool and model of each, or give --capability")
        self.capability: Final = capability
        self._model_of: dict[tuple[str, str], str] = {}
        by_pool: dict[str, dict[str, frozenset[str]]] = {}
        for entry in rules.routes:
            model = entry.model or entry.pool
            self._model_of[entry.pool, model] = _recorded_name(entry, models)
            by_pool.setdefault(entry.pool, {})[model] = frozenset({capability})
        self._data_class: Final[DataClass] = (
            "internal"
            if "internal" in rules.data_classes
            else "public"
            if "public" in rules.data_classes
            else "restricted"
        )
        zone: Zone = "local" if self._data_class == "restricted" else "cloud"
        self._labels: Final = dict.fromkeys(rules.task_labels, "replay")
        self.view: Final = FleetView(
            pools={
                pool: PoolView(zone=zone, pool=pool, models=serves, replicas=1, slots=SLOTS, labels=rules.pool_labels)
                for pool, serves in by_pool.items()
            }
        )

    def model_of(self, route: Route) -> str:
        """The recorded model that a route stands for."""
        return self._model_of[route.pool, route.model]

    def name_of(self, entry: RouteEntry) -> str:
        """The recorded model that a route of the policy stands for."""
        return self._model_of[entry.pool, entry.model or entry.pool]

    def task(self, row: Row) -> TaskView:
        """A task as routing sees it, with what the policy asks of tasks."""
        return TaskView(
            capability=self.capability,
            scope="default",
            data_class=self._data_class,
            labels=self._labels,
            input_bytes=row.input_bytes,
        )


def _recorded_name(entry: RouteEntry, models: tuple[str, ...]) -> str:
    model = entry.model or entry.pool
    for name in (f"{entry.pool}/{model}", model):
        if name in models:
            return name
    raise ReplayError(f"the route {entry.pool}/{model} was not recorded; recorded are {', '.join(models)}")
