"""
Reading a policy as its author wrote it: every fault at once, each with the key where it stands.

Which zone a pool belongs to only a live fleet knows, so nothing here can say whether a route is local; `route` decides
that for each task, and fails closed.
"""

import difflib
from collections.abc import Collection, Iterator, Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Union, cast, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Struct

from flotilla.contracts.capabilities import BUILT_IN
from flotilla.contracts.errors import PolicyError
from flotilla.contracts.patterns import in_words
from flotilla.contracts.policy import FORMAT, CapabilityPolicy, GateEntry, Policy, RouteEntry
from flotilla.contracts.policy_rules import STRATEGY_DEFAULT, rules_for
from flotilla.contracts.redaction import LOCAL_CAPABILITIES
from flotilla.contracts.toml_text import read_toml
from flotilla.routing.limit_checks import limit_faults, limit_warnings
from flotilla.routing.strategies import STRATEGIES

FAULTS_MAX: Final = 100
_TEXT_MAX: Final = 64

Table = dict[str, Any]

_OUTPUTS: Final = {name: output.__struct_fields__ for name, (_, output) in (BUILT_IN | LOCAL_CAPABILITIES).items()}
_PERSONAL: Final = frozenset({("redact", "vault"), ("restore", "document")})


def parse_policy(text: str) -> Policy:
    """
    Read a policy document in TOML.

    Raises:
        PolicyError: With everything that is wrong with it, up to `FAULTS_MAX` faults: not TOML, unknown keys, values
            out of bounds, unknown strategies, a route listed twice.
    """
    try:
        document = read_toml(text)
    except ValueError as error:
        raise PolicyError([f"not TOML: {error}"]) from error
    faults = [*_faults(Policy, document, ""), *_meaning(document)]
    if faults:
        raise PolicyError(list(dict.fromkeys(faults))[:FAULTS_MAX])
    try:
        return msgspec.convert(document, Policy)
    except msgspec.ValidationError as error:
        # Too many entries of a table, each of which is well.
        says, _, path = in_words(str(error)).partition(" - at `$.")
        raise PolicyError([f"{path.rstrip('`')}: {says}"]) from error


def warnings(policy: Policy, known_pools: Collection[str], known_capabilities: Collection[str]) -> list[str]:
    """What is allowed but may be a mistake, each beginning with its key: `known_*` is what the fleet announces."""
    found: list[str] = []
    for path, entry in _entries(policy):
        for index, route in enumerate(entry.routes or ()):
            if route.pool not in known_pools:
                found.append(
                    f"{path}.routes[{index}].pool: no live pool is called {route.pool}{_near(route.pool, known_pools)}"
                )
            if route.weight is not None and _strategy(policy, path) != "split":
                found.append(f"{path}.routes[{index}].weight: only the strategy split looks at it")
        if entry.shadow is not None and entry.shadow.pool not in known_pools:
            near = _near(entry.shadow.pool, known_pools)
            found.append(f"{path}.shadow.pool: no live pool is called {entry.shadow.pool}{near}")
        if entry.approval is not None and _stands_before_nothing(entry.approval):
            found.append(f"{path}.approval: stands before nothing: restricted data does not enter the cloud zone")
        if entry.total_timeout_s is not None and (entry.attempt_timeout_s or 0.0) > entry.total_timeout_s:
            found.append(f"{path}.attempt_timeout_s: longer than total_timeout_s, which ends the task first")
    for capability in policy.capabilities:
        if capability not in known_capabilities:
            near = "" if capability in _OUTPUTS else _near(capability, known_capabilities)
            found.append(f"capabilities.{capability}: no live pool serves a capability of that name{near}")
    found += limit_warnings(policy, known_pools)
    return [*found, *_declassify_warnings(policy, known_capabilities)]


def _stands_before_nothing(gate: GateEntry) -> bool:
    return gate.zones == ["cloud"] and set(gate.data_classes or ()) == {"restricted"}


def _declassify_warnings(policy: Policy, known_capabilities: Collection[str]) -> Iterator[str]:
    for capability, fields in policy.declassify.items():
        if capability not in known_capabilities and capability not in _OUTPUTS:
            near = _near(capability, known_capabilities)
            yield f"declassify.{capability}: no live pool serves a capability of that name{near}"
        for field in fields:
            if (capability, field) in _PERSONAL:
                yield f"declassify.{capability}.{field}: gives away the personal data that redact took out"


def _entries(policy: Policy) -> Iterator[tuple[str, CapabilityPolicy]]:
    if policy.default is not None:
        yield "default", policy.default
    for capability, entry in policy.capabilities.items():
        yield f"capabilities.{capability}", entry


def _strategy(policy: Policy, path: str) -> str:
    rules = rules_for(policy, path.removeprefix("capabilities."))
    return rules.strategy if rules is not None else ""


def _near(name: str, known: Collection[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def _faults(wanted: Any, value: object, path: str) -> Iterator[str]:
    """Walk a document beside its type, so that one fault does not hide the next."""
    wanted = _bare(wanted)
    shape = _plain(wanted)
    if isinstance(shape, type) and issubclass(shape, Struct) and isinstance(value, dict):
        yield from _struct_faults(shape, cast("Table", value), path)
    elif get_origin(shape) is dict and isinstance(value, dict):
        yield from _dict_faults(get_args(shape), cast("Table", value), path)
    elif get_origin(shape) is list and isinstance(value, list):
        items = cast("list[object]", value)
        for index, item in enumerate(items):
            yield from _faults(get_args(shape)[0], item, f"{path}[{index}]")
        if not items:
            yield from _leaf_faults(wanted, items, path)
    else:
        yield from _leaf_faults(wanted, value, path)


def _struct_faults(wanted: type[Struct], table: Table, path: str) -> Iterator[str]:
    hints = get_type_hints(wanted, include_extras=True)
    for key, value in table.items():
        if key in hints:
            yield from _faults(hints[key], value, _join(path, key))
        else:
            yield f"{_join(path, key)}: unknown key{_near(key, hints) or '; known are ' + ', '.join(hints)}"
    for field in msgspec.structs.fields(wanted):
        if field.required and field.name not in table:
            yield f"{_join(path, field.name)}: missing"


def _dict_faults(wanted: tuple[Any, ...], table: Table, path: str) -> Iterator[str]:
    key_type, value_type = wanted
    for key, value in table.items():
        yield from _leaf_faults(key_type, key, _join(path, key))
        yield from _faults(value_type, value, _join(path, key))


def _leaf_faults(wanted: Any, value: object, path: str) -> Iterator[str]:
    try:
        msgspec.convert(value, wanted)
    except msgspec.ValidationError as error:
        yield f"{path}: {in_words(str(error)).partition(' - at ')[0]}"


def _bare(wanted: Any) -> Any:
    """`X` of `X | None`: a document says nothing by leaving a key out, never by a null."""
    if get_origin(wanted) in (Union, UnionType):
        first, *rest = (part for part in get_args(wanted) if part is not NoneType)
        return wanted if rest else first
    return wanted


def _plain(wanted: Any) -> Any:
    return get_args(wanted)[0] if get_origin(wanted) is Annotated else wanted


def _join(path: str, key: str) -> str:
    shown = key if len(key) <= _TEXT_MAX else key[:_TEXT_MAX] + "..."
    return f"{path}.{shown}" if path else shown


def _meaning(document: Table) -> Iterator[str]:
    """What types cannot say. Looks only at parts that have the right shape; the others are faults already."""
    number = document.get("format", FORMAT)
    if isinstance(number, int) and number > FORMAT:
        yield f"format: {number} is newer than {FORMAT}, the newest that is understood here"
    default: object = document.get("default")
    for path, entry in _tables(document):
        strategy = entry.get("strategy")
        if isinstance(strategy, str) and strategy not in STRATEGIES:
            near = _near(strategy, STRATEGIES) or f"; known are {', '.join(STRATEGIES)}"
            yield f"{path}.strategy: unknown strategy {strategy[:_TEXT_MAX]}{near}"
        yield from _option_faults(entry, default, path)
        hedge: object = entry.get("hedge")
        if isinstance(hedge, dict) and {"after", "after_ms"} <= hedge.keys():
            yield f"{path}.hedge.after_ms: stands beside after; only one of them can say when"
        yield from _listed_twice(entry.get("routes"), path)
        yield from _no_such_group(entry.get("approval"), document.get("approvers"), path)
    yield from _no_such_fields(document.get("declassify"))
    yield from limit_faults(document.get("limits"))
    yield from _never_cached(document.get("capabilities"))


def _no_such_group(gate: object, approvers: object, path: str) -> Iterator[str]:
    """A gate that nobody could open."""
    group = cast("Table", gate).get("group") if isinstance(gate, dict) else None
    known = cast("Table", approvers) if isinstance(approvers, dict) else {}
    if isinstance(group, str) and group not in known:
        near = _near(group, known) or "; add it with the public keys of those who may grant"
        yield f"{path}.approval.group: approvers has no group {group[:_TEXT_MAX]}{near}"


def _never_cached(capabilities: object) -> Iterator[str]:
    """What changes vaults, or gives personal data back, is done anew for each task."""
    tables = cast("Table", capabilities) if isinstance(capabilities, dict) else {}
    for capability in tables.keys() & LOCAL_CAPABILITIES.keys():
        if isinstance(tables[capability], dict) and "cache" in tables[capability]:
            yield f"{_join('capabilities', capability)}.cache: answers of {capability} are never kept"


def _no_such_fields(declassify: object) -> Iterator[str]:
    """Fields that the output of a built-in capability has not; those of users' own are known to the fleet alone."""
    tables = cast("dict[str, object]", declassify) if isinstance(declassify, dict) else {}
    for capability in tables.keys() & _OUTPUTS.keys():
        fields, known = tables[capability], _OUTPUTS[capability]
        for field in cast("Table", fields) if isinstance(fields, dict) else ():
            if field not in known:
                says = _near(field, known) or f"; it has {', '.join(known)}"
                yield f"{_join(f'declassify.{capability}', field)}: the output of {capability} has no such field{says}"


def _option_faults(entry: Mapping[str, Any], default: object, path: str) -> Iterator[str]:
    """Options are judged by the strategy that they come with, or by the default's."""
    options = entry.get("strategy_options")
    if not isinstance(options, dict):
        return
    inherited = cast("Table", default).get("strategy") if isinstance(default, dict) else None
    strategy = STRATEGIES.get(str(entry.get("strategy") or inherited or STRATEGY_DEFAULT))
    if strategy is not None:
        faults = [*_faults(strategy.parameters, cast("Table", options), f"{path}.strategy_options")]
        flaw = "" if faults else strategy.flaw(msgspec.convert(options, strategy.parameters))
        yield from [*faults, *([f"{path}.strategy_options.{flaw}"] if flaw else [])]


def _tables(document: Table) -> Iterator[tuple[str, Mapping[str, Any]]]:
    default: object = document.get("default")
    if isinstance(default, dict):
        yield "default", cast("Table", default)
    capabilities: object = document.get("capabilities")
    if isinstance(capabilities, dict):
        for name, entry in cast("dict[str, object]", capabilities).items():
            if isinstance(entry, dict):
                yield _join("capabilities", name), cast("Table", entry)


def _listed_twice(routes: object, path: str) -> Iterator[str]:
    seen: dict[tuple[str, str | None], int] = {}
    for index, item in enumerate(cast("list[object]", routes) if isinstance(routes, list) else ()):
        try:
            entry = msgspec.convert(item, RouteEntry)
        except msgspec.ValidationError:
            continue
        first = seen.setdefault((entry.pool, entry.model), index)
        if first != index:
            yield f"{path}.routes[{index}]: the same route as routes[{first}]"
