"""
The key of an answer: a digest of all that it depends on. Pure.

Two tasks have one key when a model would have been asked the same under the same rules: the scope, the capability and its
definition, the input with defaults filled in, the data class, the route that was asked for, the sticky key, the names of
the labels, and what the policy says of where such tasks go. The prompts of built-in capabilities are the workers' own and
not known here: what a new version of the workers would say otherwise is seen when the answer has expired.
"""

import hashlib
from typing import Final

import msgspec

from flotilla.capabilities.capability import Capability
from flotilla.capabilities.json_schema import decode_json
from flotilla.capabilities.user_defined import UserCapability
from flotilla.contracts.decoding import UNDECODABLE
from flotilla.contracts.policy_rules import Rules
from orchestrator.state.tasks import Task

VERSION: Final = 1
"""Of what is in the digest."""

_encode: Final = msgspec.json.Encoder(order="deterministic").encode


def key_of(task: Task, definition: Capability | None, rules: Rules, models: frozenset[str] | None) -> str:
    """
    The key of a task's answer: 64 hexadecimal digits.

    Args:
        task: With its input.
        definition: Of its capability, where it has one here.
        rules: Of its capability.
        models: Those that alone may serve it; None for any.
    """
    options = task.options
    parts = (
        VERSION,
        task.scope,
        task.capability,
        task.data_class,
        (options.route_pool, options.route_model, options.sticky, sorted(options.labels)),
        None if models is None else sorted(models),
        _rules(rules),
        None if definition is None else _definition(definition),
    )
    digest = hashlib.sha256(_encode(parts))
    digest.update(b"\0")
    digest.update(_input(task.body, definition))
    return digest.hexdigest()


def _input(body: bytes, definition: Capability | None) -> bytes:
    """As the worker will read it, so that neither spaces, nor the order of fields, nor defaults make it another."""
    try:
        return _encode(decode_json(body) if definition is None else definition.decode_input(body))
    except UNDECODABLE:
        # Intake took it: a number of it, say, has more digits than can be read here.
        return body


def _definition(definition: Capability) -> tuple[object, ...]:
    template = definition.template if isinstance(definition, UserCapability) else None
    return (definition.description, definition.input_schema, definition.output_schema, template)


def _rules(rules: Rules) -> tuple[object, ...]:
    """Where such tasks may go; not when a route is left, nor how long anything may take."""
    return (
        rules.routes,
        rules.strategy,
        rules.strategy_options,
        sorted(rules.data_classes),
        rules.pool_labels,
        rules.task_labels,
        rules.cost_usd_max,
    )
