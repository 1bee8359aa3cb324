"""What a fleet is tried with: what it serves, where its clouds are, and what its policy lowers. Pure."""

from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from flotilla.cli.prove.documents import TEXT_CAPABILITIES
from flotilla.contracts.api import PoolStatus
from flotilla.contracts.headers import DataClass
from flotilla.contracts.policy import Policy
from flotilla.contracts.redaction import DECLASSIFIED, LOCAL_CAPABILITIES

ONWARD: Final = ("summarize", "classify", "extract-entities", "translate", "reason", "chat")
"""What a text of a lower class is sent on to: the first that a cloud pool serves, or else a local one."""
CACHED_MAX: Final = 3
"""One capability is kept like another."""


class Lowered(Struct, frozen=True, kw_only=True):
    """A field of an output that counts as less than its task, and what may then be done with it."""

    capability: str
    field: str
    data_class: DataClass


class Plan(Struct, frozen=True, kw_only=True):
    """
    What is tried.

    Attributes:
        capabilities: That take a text, and that the local zone serves, and those that were named.
        named: Those that were named.
        cached: Those of the local zone whose answers must not be kept: of restricted tasks, unless the policy says so.
        sealed: Of the local zone.
        cloud_pools: Pools that restricted tasks ask for in vain.
        onward: The capability that a lowered text is sent on to; None when nobody serves any.
        onward_pools: The cloud pools that serve it: what may leave is asked of these, lest it stays by chance.
        redacts: Whether `redact` and `restore` are served.
        lowered: What counts as less than its task: by nature, and by the policy.
    """

    capabilities: tuple[str, ...]
    named: tuple[str, ...]
    cached: tuple[str, ...]
    sealed: tuple[str, ...]
    cloud_pools: tuple[str, ...]
    onward: str | None
    onward_pools: tuple[str, ...]
    redacts: bool
    lowered: tuple[Lowered, ...]


def _keeps_restricted(policy: Policy) -> bool:
    """Whether answers of restricted tasks are kept: then the cache holds what the operator has it hold."""
    entries = (policy.default, *policy.capabilities.values())
    return any(entry.cache is not None and entry.cache.restricted for entry in entries if entry is not None)


def plan_for(pools: Iterable[PoolStatus], policy: Policy | None, named: Iterable[str] = ()) -> Plan:
    """Plan for live pools, a policy (None where there is none in force), and further capabilities such as pipelines."""
    pools, named = list(pools), tuple(named)
    local = {name for pool in pools if pool.zone == "local" for name in pool.capabilities}
    cloud = {name for pool in pools if pool.zone == "cloud" for name in pool.capabilities}
    redacts = {"redact", "restore", "vault"} <= local
    known = [name for name in TEXT_CAPABILITIES if name in local]
    own = sorted(local - set(TEXT_CAPABILITIES) - LOCAL_CAPABILITIES.keys())
    by_policy = {} if policy is None else policy.declassify
    fields: dict[tuple[str, str], DataClass] = dict(DECLASSIFIED)
    for name, classes in by_policy.items():
        fields |= {(name, field): data_class for field, data_class in classes.items()}
    onward = next((name for served in (cloud, local) for name in ONWARD if name in served), None)
    return Plan(
        capabilities=tuple(dict.fromkeys((*known, *own, *named))),
        named=tuple(dict.fromkeys(named)),
        cached=() if policy is not None and _keeps_restricted(policy) else (*known, *own)[:CACHED_MAX],
        sealed=(*known, *own),
        cloud_pools=tuple(pool.pool for pool in pools if pool.zone == "cloud"),
        onward=onward,
        onward_pools=tuple(pool.pool for pool in pools if pool.zone == "cloud" and onward in pool.capabilities),
        redacts=redacts,
        lowered=tuple(
            Lowered(capability=name, field=field, data_class=data_class)
            for (name, field), data_class in fields.items()
            if name != "vault" and (redacts or name not in LOCAL_CAPABILITIES)
        ),
    )
