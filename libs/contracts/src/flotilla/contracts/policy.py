"""
The routing policy: which routes serve a capability, in what order, and when to move away.

Users write it as TOML; the bucket `policy` holds the same document as JSON. Every key is optional: `policy_rules.py` fills
in what a capability leaves out. `policy_check.py` refuses
keys that it does not know; `decode_policy` passes over them, so that an orchestrator of the last version can read a
policy of the next one. A key that an older reader must not miss (one that forbids something) raises `FORMAT`.
"""

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct

from flotilla.contracts.approval_requests import EXPIRES_S_MAX
from flotilla.contracts.approvals import PublicKey
from flotilla.contracts.decoding import UNDECODABLE, checked, safe_text
from flotilla.contracts.errors import NewerPolicyError, NoPolicyError, PolicyError
from flotilla.contracts.fields import MODEL_LENGTH_MAX, PRINTABLE, Instance, is_bounded
from flotilla.contracts.fields import Name as PoolName
from flotilla.contracts.headers import LABEL_LENGTH_MAX, LABELS_MAX, DataClass
from flotilla.contracts.limits import Budgets, Limits
from flotilla.contracts.redaction import EVERY_TYPE, RedactionPolicy
from flotilla.contracts.subjects import Zone

FORMAT: Final = 2
"""The newest that is understood here. 2 has gates (`approval`) and `approvers`."""
FORMAT_PLAIN: Final = 1
"""Of a policy without what an older reader must not miss."""
FORMAT_MAX: Final = 1_000_000

ROUTES_MAX: Final = 100
STRATEGY_OPTIONS_MAX: Final = 32
SECONDS_MAX: Final = 7 * 24 * 3600.0
ENTRIES_MAX: Final = 100_000
DECLASSIFIED_FIELDS_MAX: Final = 64
"""Of one capability."""
GROUP_LENGTH_MAX: Final = 63
GROUPS_MAX: Final = 1_000
GROUP_KEYS_MAX: Final = 64
CACHE_TTL_S_MAX: Final = 7 * 24 * 3600

Model = Annotated[str, Meta(min_length=1, max_length=MODEL_LENGTH_MAX, pattern=PRINTABLE)]
Seconds = Annotated[float, Meta(gt=0.0, le=SECONDS_MAX)]
Share = Annotated[float, Meta(gt=0.0, le=1.0)]
Usd = Annotated[float, Meta(ge=0.0, le=1e6)]
Weight = Annotated[float, Meta(gt=0.0, le=1e6)]
Count = Annotated[int, Meta(ge=1, le=10_000)]
GroupName = Annotated[str, Meta(min_length=1, max_length=GROUP_LENGTH_MAX, pattern=PRINTABLE)]
FieldName = Annotated[str, Meta(min_length=1, max_length=LABEL_LENGTH_MAX, pattern=PRINTABLE)]
LabelText = Annotated[str, Meta(min_length=1, max_length=LABEL_LENGTH_MAX)]

DATA_CLASSES_DEFAULT: Final[tuple[DataClass, ...]] = ("public", "internal", "restricted")

StrategyOptions = Annotated[dict[LabelText, Any], Meta(max_length=STRATEGY_OPTIONS_MAX)]
"""No integer of more than 64 bits; see `decode_policy`."""


class RouteEntry(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """
    A route that the policy lists.

    Attributes:
        model: None stands for the pool's first model that has the capability.
        weight: Its part under `split`, relative to the others'; 1 where none is given.
        cost_usd_hint: Expected cost of a task, for `cheapest` and `cost_usd_max` until real costs are known.
    """

    pool: PoolName
    model: Model | None = None
    weight: Weight | None = None
    cost_usd_hint: Usd | None = None


class GuardsEntry(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """
    When to leave a route.

    Attributes:
        p95_ms: Leave when the p95 lies above it; attempts in flight count once they are older than that.
        error_rate: Leave when penalised failures are a greater share of the attempts than this.
        min_samples: Judge no route by fewer attempts.
    """

    p95_ms: Annotated[float, Meta(gt=0.0, le=SECONDS_MAX * 1000)] | None = None
    error_rate: Share | None = None
    min_samples: Count | None = None


class ProbeEntry(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """
    The trickle that is kept on a route that was left.

    Attributes:
        interval_s: One task of the whole fleet per interval, at most.
        share_max: Of the tasks, where fewer than one per interval comes in.
        in_flight_max: No further probe while so many have not ended.
        successes_min: How many must have gone well before the route is taken up again.
    """

    interval_s: Seconds | None = None
    share_max: Share | None = None
    in_flight_max: Count | None = None
    successes_min: Count | None = None


class GateEntry(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """
    A gate before the input of a durable task leaves; one that is asked is refused.

    It stands before the tasks that it is for by their class, whichever route each would take.

    Attributes:
        zones: Only before tasks whose class may enter one of them; all unless given.
        data_classes: Only before tasks of these; all unless given.
        group: Of the approvers who may grant, as `approvers` names them; anybody who may approve in the scope unless given.
        expires_s: How long a request waits, within its task's deadline: a day unless given.
        four_eyes: Whether nobody may decide on what they submitted themselves, which is so unless given.
    """

    zones: Annotated[list[Zone], Meta(min_length=1, max_length=2)] | None = None
    data_classes: Annotated[list[DataClass], Meta(min_length=1, max_length=3)] | None = None
    group: GroupName | None = None
    expires_s: Annotated[int, Meta(ge=1, le=EXPIRES_S_MAX)] | None = None
    four_eyes: bool | None = None


CachedTasks = Literal["all", "asked", "none"]


class CacheEntry(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """
    Whether answers are kept, and given to later tasks of the same input.

    Attributes:
        tasks: `all` but those that say `Flotilla-Cache: off`, only those that have `asked` for it, or `none`.
        ttl_s: How long an answer is kept; whole seconds, as NATS has them.
        restricted: Keep answers of restricted tasks too, for restricted tasks.
    """

    tasks: CachedTasks | None = None
    ttl_s: Annotated[int, Meta(ge=1, le=CACHE_TTL_S_MAX)] | None = None
    restricted: bool | None = None


class HedgeEntry(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """
    A second attempt beside one that takes long.

    Attributes:
        after: `p95`: after the p95 of the route's newest attempts, which is what holds where neither is given.
        after_ms: After so long, whatever the route's attempts take.
        share_max: Of a capability's attempts, by each orchestrator; no more are hedged.
    """

    after: Literal["p95"] | None = None
    after_ms: Annotated[float, Meta(ge=1.0, le=SECONDS_MAX * 1000)] | None = None
    share_max: Share | None = None


class ShadowEntry(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """
    A route that gets a share of the tasks besides, and whose answers are compared and never returned.

    Attributes:
        model: None stands for the pool's first model that has the capability.
        share: Of the tasks that went well.
    """

    pool: PoolName
    model: Model | None = None
    share: Share | None = None


class CapabilityPolicy(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """
    What the policy says of one capability, or by default.

    Attributes:
        routes: In order of preference, each once; None stands for every live pool that serves it, local first.
        strategy: A name in `flotilla.routing.strategies`, which checks its `strategy_options` too.
        return_after_s: How long a route that was left must be healthy before it is taken up again.
        ramp_s: Over which its share then grows from a tenth to all.
        attempt_timeout_s: Of one attempt.
        total_timeout_s: Of a task from acceptance, below its own deadline.
        queue_timeout_s: How long a task may wait for a slot.
        data_classes: Those that may be served at all; `restricted` never leaves the local zone, whatever stands here.
        pool_labels: A route's pool must carry all of them on its card (`region = "eu"`).
        task_labels: Labels that a caller must have given (`Flotilla-Label-*`), whatever their value.
        cost_usd_max: Leaves out routes on which a task is expected to cost more.
        cache: Without it answers are kept for an hour, of tasks that ask for it and are not restricted.
        hedge: None for no second attempts.
        shadow: None for no shadow.
        approval: None for no gate.
    """

    routes: Annotated[list[RouteEntry], Meta(min_length=1, max_length=ROUTES_MAX)] | None = None
    strategy: Annotated[str, Meta(max_length=64, pattern=PRINTABLE)] | None = None
    strategy_options: StrategyOptions | None = None
    guards: GuardsEntry | None = None
    return_after_s: Seconds | None = None
    ramp_s: Seconds | None = None
    attempt_timeout_s: Seconds | None = None
    total_timeout_s: Seconds | None = None
    queue_timeout_s: Seconds | None = None
    data_classes: Annotated[list[DataClass], Meta(min_length=1, max_length=len(DATA_CLASSES_DEFAULT) * 2)] | None = None
    pool_labels: Annotated[dict[LabelText, LabelText], Meta(max_length=LABELS_MAX)] | None = None
    task_labels: Annotated[list[LabelText], Meta(max_length=LABELS_MAX)] | None = None
    cost_usd_max: Usd | None = None
    probe: ProbeEntry | None = None
    cache: CacheEntry | None = None
    hedge: HedgeEntry | None = None
    shadow: ShadowEntry | None = None
    approval: GateEntry | None = None


class BreakerPolicy(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """
    When a route is closed for everything: per pool and model, over all capabilities.

    Attributes:
        failures_in_a_row: So many penalised failures without one success open it.
        open_s: For so long; twice as long after each trial that fails, up to `open_max_s`.
    """

    failures_in_a_row: Count = 5
    open_s: Seconds = 2.0
    open_max_s: Seconds = 60.0


class ScopePolicy(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What holds for one tenant: the data class of tasks that name none."""

    data_class: DataClass | None = None


class Policy(Struct, frozen=True, kw_only=True):
    """
    The whole document.

    Attributes:
        format: Readers refuse a greater number than they know.
        default: For capabilities that have no entry, and for the keys that an entry leaves out. Without it, a
            capability without an entry is routed as in a fleet without a policy.
        declassify: By capability and field of its output, the class of what stands there, whatever the task's class was.
        redaction: Which types of personal data `redact` replaces.
        limits: How much the whole fleet may ask, by name.
        budgets: How much it may spend, by name.
        approvers: By group the public keys of those who may grant what asks for the group; each grant is signed.
    """

    format: Annotated[int, Meta(ge=1, le=FORMAT_MAX)] = FORMAT_PLAIN
    default: CapabilityPolicy | None = None
    capabilities: Annotated[dict[PoolName, CapabilityPolicy], Meta(max_length=ENTRIES_MAX)] = {}
    scopes: Annotated[dict[Instance, ScopePolicy], Meta(max_length=ENTRIES_MAX)] = {}
    breaker: BreakerPolicy = BreakerPolicy()
    declassify: Annotated[
        dict[PoolName, Annotated[dict[FieldName, DataClass], Meta(max_length=DECLASSIFIED_FIELDS_MAX)]],
        Meta(max_length=ENTRIES_MAX),
    ] = {}
    redaction: RedactionPolicy = EVERY_TYPE
    limits: Limits = {}
    budgets: Budgets = {}
    approvers: Annotated[
        dict[GroupName, Annotated[list[PublicKey], Meta(min_length=1, max_length=GROUP_KEYS_MAX)]],
        Meta(max_length=GROUPS_MAX),
    ] = {}

    @property
    def format_needed(self) -> int:
        """The format that it is to be stored with: of the oldest reader that misses nothing of it."""
        entries = (self.default, *self.capabilities.values())
        gated = any(each is not None and each.approval is not None for each in entries)
        return max(self.format, FORMAT if gated or self.approvers else FORMAT_PLAIN)

    def data_class_of(self, scope: str) -> DataClass:
        """The data class of a scope's tasks that name none: `internal` unless the policy says otherwise."""
        entry = self.scopes.get(scope)
        return "internal" if entry is None or entry.data_class is None else entry.data_class


class _Format(Struct, frozen=True, kw_only=True):
    format: Annotated[int, Meta(ge=1)] | None = None


_decode_format: Final = msgspec.json.Decoder(_Format).decode
_decode_policy: Final = msgspec.json.Decoder(Policy).decode


def decode_policy(body: bytes) -> Policy:
    """
    Decode the policy of the bucket; keys of a newer version are passed over.

    Every version writes its `format`. Without it, JSON that was meant as something else (the server's acknowledgement
    of a write, say) would be a policy that says nothing, and nothing forbids.

    Raises:
        NewerPolicyError: Its format is newer than this reader.
        NoPolicyError: It has no format.
        PolicyError: It is not a policy. Keep the one that was in force, in each of the three cases.
    """
    try:
        given = _decode_format(checked(body)).format
    except UNDECODABLE as error:
        raise NoPolicyError([safe_text(error)]) from error
    if given is None:
        raise NoPolicyError(["format: expected a number, which every stored policy has"])
    if given > FORMAT:
        raise NewerPolicyError([f"format: {given} is newer than {FORMAT}, the newest that is understood here"])
    try:
        policy = _decode_policy(body)
    except UNDECODABLE as error:
        raise PolicyError([safe_text(error)]) from error
    entries = (policy.default, *policy.capabilities.values())
    if not all(is_bounded(entry.strategy_options) for entry in entries if entry is not None):
        raise PolicyError(["strategy_options: expected integers of 64 bits"])
    return policy
