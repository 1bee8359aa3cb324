"""What a policy says of one capability, what it leaves out filled in: from `[default]`, and from the constants here."""

from typing import Any, Final

import msgspec
from msgspec import Struct

from flotilla.contracts.headers import DataClass
from flotilla.contracts.policy import DATA_CLASSES_DEFAULT, CachedTasks, Policy, RouteEntry
from flotilla.contracts.subjects import ZONES, Zone

STRATEGY_DEFAULT: Final = "failover"
ERROR_RATE_DEFAULT: Final = 0.5
MIN_SAMPLES_DEFAULT: Final = 20
RETURN_AFTER_S_DEFAULT: Final = 4.0
RAMP_S_DEFAULT: Final = 2.0
HEDGE_SHARE_DEFAULT: Final = 0.05
SHADOW_SHARE_DEFAULT: Final = 0.05
ATTEMPT_TIMEOUT_S_DEFAULT: Final = 600.0
CACHE_TTL_S_DEFAULT: Final = 3600
GATE_EXPIRES_S_DEFAULT: Final = 86_400


class Guards(Struct, frozen=True, kw_only=True):
    """`GuardsEntry` with everything filled in; `p95_ms` None means that latency is not judged."""

    p95_ms: float | None = None
    error_rate: float = ERROR_RATE_DEFAULT
    min_samples: int = MIN_SAMPLES_DEFAULT


class Probe(Struct, frozen=True, kw_only=True):
    """`ProbeEntry` with everything filled in."""

    interval_s: float = 1.0
    share_max: float = 0.25
    in_flight_max: int = 2
    successes_min: int = 2


class CacheRules(Struct, frozen=True, kw_only=True):
    """`CacheEntry` with everything filled in."""

    tasks: CachedTasks = "asked"
    ttl_s: int = CACHE_TTL_S_DEFAULT
    restricted: bool = False


class Hedge(Struct, frozen=True, kw_only=True):
    """`HedgeEntry` with everything filled in; `after_ms` None stands for the route's p95."""

    after_ms: float | None = None
    share_max: float = HEDGE_SHARE_DEFAULT


class Shadow(Struct, frozen=True, kw_only=True):
    """`ShadowEntry` with everything filled in."""

    pool: str
    model: str | None = None
    share: float = SHADOW_SHARE_DEFAULT


class PolicyGate(Struct, frozen=True, kw_only=True):
    """`GateEntry` with everything filled in."""

    zones: frozenset[Zone] = frozenset(ZONES)
    data_classes: frozenset[DataClass] = frozenset(DATA_CLASSES_DEFAULT)
    group: str = ""
    expires_s: int = GATE_EXPIRES_S_DEFAULT
    four_eyes: bool = True


class Rules(Struct, frozen=True, kw_only=True):
    """`CapabilityPolicy` with everything filled in. A timeout of None leaves the bound to the task's deadline."""

    routes: tuple[RouteEntry, ...] | None = None
    strategy: str = STRATEGY_DEFAULT
    strategy_options: dict[str, Any] = {}
    guards: Guards = Guards()
    return_after_s: float = RETURN_AFTER_S_DEFAULT
    ramp_s: float = RAMP_S_DEFAULT
    attempt_timeout_s: float = ATTEMPT_TIMEOUT_S_DEFAULT
    total_timeout_s: float | None = None
    queue_timeout_s: float | None = None
    data_classes: frozenset[DataClass] = frozenset(DATA_CLASSES_DEFAULT)
    pool_labels: dict[str, str] = {}
    task_labels: tuple[str, ...] = ()
    cost_usd_max: float | None = None
    probe: Probe = Probe()
    cache: CacheRules = CacheRules()
    hedge: Hedge | None = None
    shadow: Shadow | None = None
    approval: PolicyGate | None = None


def rules_for(policy: Policy, capability: str) -> Rules | None:
    """What the policy says of a capability, defaults filled in; None when it has no entry and there is no default."""
    entry = policy.capabilities.get(capability)
    if entry is None and policy.default is None:
        return None
    given = _given(policy.default) | _given(entry)
    if entry is not None and entry.strategy is not None and entry.strategy_options is None:
        given.pop("strategy_options", None)  # those of the default were meant for the default's strategy
    guards = _given(policy.default and policy.default.guards) | _given(entry and entry.guards)
    probe = _given(policy.default and policy.default.probe) | _given(entry and entry.probe)
    caches = [each.cache for each in (policy.default, entry) if each is not None and each.cache is not None]
    if guards:
        given["guards"] = guards
    if probe:
        given["probe"] = probe
    if caches:
        # Who writes the table wants answers kept.
        given["cache"] = {"tasks": "all", **_given(caches[0]), **_given(caches[-1])}
    return msgspec.convert(given, Rules)


def _given(entry: Struct | None) -> dict[str, object]:
    """The keys that an entry really gives."""
    if entry is None:
        return {}
    return {
        name: msgspec.to_builtins(value) for name, value in msgspec.structs.asdict(entry).items() if value is not None
    }
