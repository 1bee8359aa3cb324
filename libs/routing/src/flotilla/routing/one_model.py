"""
Capabilities whose answers are only of use beside answers of the same model: vectors of two models cannot be compared.

Such a capability is held to one model of the fleet: the one that served it first, kept in the policy bucket, until the
policy's own entry for the capability names models. Then it is these, however many; whoever lists two wants both. What
an engine answers that stands in for models is held to nothing, and never given beside a real model's.
"""

from collections.abc import Mapping
from typing import Final

from flotilla.contracts.policy import Policy
from flotilla.routing.types import Exclusion, PoolView

ONE_MODEL: Final = frozenset({"embed"})
SETTLES_WITHIN_MS: Final = 100
"""A task that finds its capability held to no model yet looks again after so long."""

NOBODY: Final[frozenset[str]] = frozenset()


def base_name(model: str) -> str:
    """A model's name without what Ollama adds to it: `nomic-embed-text:latest` is `nomic-embed-text`."""
    return model.removesuffix(":latest")


def models_of(policy: Policy, held: Mapping[str, str], capability: str) -> frozenset[str] | None:
    """
    The models that a capability may be served with, by `base_name`: those that its own entry in the policy names, else
    the one that it is held to, else none yet. None for a capability that any model may serve.
    """
    if capability not in ONE_MODEL:
        return None
    named = named_models(policy, capability)
    if named:
        return named
    return frozenset({base_name(held[capability])}) if capability in held else NOBODY


def named_models(policy: Policy, capability: str) -> frozenset[str]:
    """The models that the capability's own entry in the policy names; what the default lists was not meant for it."""
    entry = policy.capabilities.get(capability)
    return frozenset(base_name(route.model) for route in (entry and entry.routes) or () if route.model is not None)


def model_within(pool: PoolView, capability: str, model: str, models: frozenset[str], *, fixed: bool) -> str | None:
    """
    The model of a pool that may serve the capability: `model` when it is one of `models`, else its first that is.

    `fixed` is for a model that somebody named.
    """
    if base_name(model) in models:
        return model
    if fixed:
        return None
    serving = (name for name, capabilities in pool.models.items() if capability in capabilities)
    return next((name for name in serving if base_name(name) in models), None)


def other_model(pool: PoolView, capability: str, model: str, models: frozenset[str]) -> Exclusion:
    """A pool that serves the capability with another model."""
    reason = f"{capability} is held to {_listed(models)}: {_WHY}"
    return Exclusion(pool=pool.pool, model=model, reason=reason)


def absent(capability: str, models: frozenset[str]) -> Exclusion:
    """No live pool has the model that the capability is held to; it may come back."""
    reason = f"{capability} is held to {_listed(models)}, which no live pool serves: {_WHY}"
    return Exclusion(pool="", model=min(models), reason=reason, waits=True)


def unsettled(pool: PoolView, capability: str, model: str, now_unix_ms: int) -> Exclusion:
    """Which model the capability is held to is being written down."""
    reason = f"{capability} is about to be held to one model"
    until_unix_ms = now_unix_ms + SETTLES_WITHIN_MS
    return Exclusion(pool=pool.pool, model=model, reason=reason, waits=True, until_unix_ms=until_unix_ms)


_WHY: Final = (
    "vectors of two models cannot be compared; to change it, name models in the policy's routes for the capability"
)


def _listed(models: frozenset[str]) -> str:
    return ", ".join(sorted(models)[:3]) + (", ..." if len(models) > 3 else "")  # noqa: PLR2004
