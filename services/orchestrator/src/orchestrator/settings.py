"""What an orchestrator can be told."""

import re
from pathlib import Path
from typing import Annotated, Final, Literal

from msgspec import Meta

from flotilla.chassis.settings import ServiceSettings
from flotilla.contracts.errors import SettingsError
from flotilla.contracts.headers import DataClass
from flotilla.contracts.names import is_scope
from flotilla.provisioning import topology
from flotilla.provisioning.topology import TopologyLimits

Count = Annotated[int, Meta(ge=1)]
Size = Annotated[int, Meta(ge=topology.MIB)]
Fraction = Annotated[float, Meta(gt=0.0, le=1.0)]
ASKS_MAX: Final = 1_000
ASKS_BYTES_MAX: Final = 16 * topology.MIB
PULLED_BYTES_MAX: Final = 12 * topology.MIB
SCOPE_SHARE_MAX: Final = 0.5
"""With these an orchestrator stays within 128 MiB, also when messages of 8 MiB fill its room."""

WEIGHT_MAX: Final = 999


class OrchestratorSettings(ServiceSettings, frozen=True, kw_only=True):
    """
    Settings of an orchestrator.

    Attributes:
        lane: `FLOTILLA_LANE`: `sealed` for one that serves the sealed lane, with the credentials of the lane's account; every
            task is restricted there.
        scopes: `FLOTILLA_SCOPES`: the tenants it serves, with commas between.
        policy_scopes: `FLOTILLA_POLICY_SCOPES`: the tenants that may change the fleet's policy; empty for none.
        capability_files: `FLOTILLA_CAPABILITY_FILES`: a folder of TOML files that define users' own capabilities.
        policy_file: `FLOTILLA_POLICY_FILE`: a routing policy (TOML), put in force at the start when the file is new.
        asks_max: Asks that this orchestrator has in flight, of all scopes; more are refused with `no_capacity`.
        asks_bytes_max: The same of their bytes, headers included.
        pulled_bytes_max: Bytes of durable tasks that this orchestrator holds, of all scopes; the others wait in their stream.
        scope_share_max: The largest share of these that one scope may have. The rest is reserved for the others.
        scope_weights: `FLOTILLA_SCOPE_WEIGHTS`: turns at a free slot, as `acme=3,default=1`; 1 where nothing is said.
        stream_replicas: Of every stream and bucket; 1, or 3 on a cluster.
        backlog_max: Waiting tasks of one capability and priority, over which new ones are refused.
        tasks_max: Per scope, like all that follow (docs/deploy.md, Sizing): tasks that may wait in all.
        tasks_bytes_max: Of tasks that wait.
        results_max: Results that are kept.
        results_bytes_max: Of the results.
        events_bytes_max: Of the events.
        dead_max: Records of tasks that could not be processed.
        dead_bytes_max: Of these records.
        blackboard_values_max: Values on the blackboard, those of histories included.
        blackboard_bytes_max: Of these values.
    """

    lane: Literal["ordinary", "sealed"] = "ordinary"
    scopes: str = "default"
    policy_scopes: str = "default"
    capability_files: Path | None = None
    policy_file: Path | None = None
    asks_max: Count = ASKS_MAX
    asks_bytes_max: Size = ASKS_BYTES_MAX
    pulled_bytes_max: Size = PULLED_BYTES_MAX
    scope_share_max: Fraction = SCOPE_SHARE_MAX
    scope_weights: str = ""
    stream_replicas: Annotated[int, Meta(ge=1, le=5)] = 1
    backlog_max: Count = topology.BACKLOG_MAX
    tasks_max: Count = topology.TASKS_MAX
    tasks_bytes_max: Size = topology.TASKS_BYTES_MAX
    results_max: Count = topology.RESULTS_MAX
    results_bytes_max: Size = topology.RESULTS_BYTES_MAX
    events_bytes_max: Size = topology.EVENTS_BYTES_MAX
    dead_max: Count = topology.DEAD_MAX
    dead_bytes_max: Size = topology.DEAD_BYTES_MAX
    blackboard_values_max: Count = topology.BLACKBOARD_VALUES_MAX
    blackboard_bytes_max: Size = topology.BLACKBOARD_BYTES_MAX

    @property
    def sealed(self) -> bool:
        """Whether it serves the sealed lane."""
        return self.lane == "sealed"

    @property
    def data_class_floor(self) -> DataClass:
        """The class that a task's data has at least."""
        return "restricted" if self.sealed else "public"

    def scope_names(self) -> tuple[str, ...]:
        """
        The scopes, checked; at least one.

        Raises:
            SettingsError: A name that cannot be one.
        """
        names = _scopes("FLOTILLA_SCOPES", self.scopes)
        if not names:
            raise SettingsError("setting FLOTILLA_SCOPES: expected at least one scope")
        return names

    def scope_weights_by_name(self) -> dict[str, int]:
        """
        The weights, checked.

        Raises:
            SettingsError: A scope that is not served, one twice, or a weight that is none.
        """
        weights: dict[str, int] = {}
        for pair in (part.strip() for part in self.scope_weights.split(",") if part.strip()):
            name, _, weight = pair.partition("=")
            is_weight = re.fullmatch("[1-9][0-9]{0,2}", weight) is not None
            if name not in self.scope_names() or name in weights or not is_weight:
                expected = (
                    f"scopes of FLOTILLA_SCOPES, each with a whole number from 1 to {WEIGHT_MAX}, as acme=3,default=1"
                )
                raise SettingsError(f"setting FLOTILLA_SCOPE_WEIGHTS: expected {expected}")
            weights[name] = int(weight)
        return weights

    def topology_limits(self) -> TopologyLimits:
        """What the streams and buckets of each scope may hold."""
        return TopologyLimits(
            replicas=self.stream_replicas,
            backlog_max=self.backlog_max,
            tasks_max=self.tasks_max,
            tasks_bytes_max=self.tasks_bytes_max,
            results_max=self.results_max,
            results_bytes_max=self.results_bytes_max,
            events_bytes_max=self.events_bytes_max,
            dead_max=self.dead_max,
            dead_bytes_max=self.dead_bytes_max,
            blackboard_values_max=self.blackboard_values_max,
            blackboard_bytes_max=self.blackboard_bytes_max,
        )

    def policy_scope_names(self) -> tuple[str, ...]:
        """
        The scopes that may change the policy, checked.

        Raises:
            SettingsError: A name that cannot be one.
        """
        return _scopes("FLOTILLA_POLICY_SCOPES", self.policy_scopes)


def _scopes(setting: str, text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not all(is_scope(name) for name in names):
        raise SettingsError(f"setting {setting}: expected names of A-Za-z0-9_- with commas between")
    return names
