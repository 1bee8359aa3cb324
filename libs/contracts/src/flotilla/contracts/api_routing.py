"""Questions about routing: the bodies of `api.explain`, `api.stats` and `api.policy`, and of their answers."""

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from flotilla.contracts.fields import SEQUENCE_MAX, Labels, ModelName, Name, Sequence, Size, Word
from flotilla.contracts.headers import STICKY_LENGTH_MAX, DataClass
from flotilla.contracts.subjects import Zone

POLICY_BYTES_MAX = 256 * 1024


class ExplainQuery(Struct, frozen=True, kw_only=True):
    """`api.explain`: where a task like this would go now; answered with Explanation."""

    capability: Name
    data_class: DataClass | None = None
    pool: Name | None = None
    model: ModelName | None = None
    sticky: Annotated[str, Meta(max_length=STICKY_LENGTH_MAX)] | None = None
    labels: Labels = {}
    input_bytes: Size = 0


class ExplainedRoute(Struct, frozen=True, kw_only=True):
    """
    A route, and why it stands where it stands or is out.

    Attributes:
        in_order: 1 for the first to be tried; 0 for a route that is out.
        figures: What routing knows of it: p50_ms, p95_ms, error_rate, samples, in_flight, cost_usd, standing, breaker.
    """

    pool: str
    model: str
    reason: str
    in_order: int = 0
    zone: Zone | None = None
    free_slots: int = 0
    probe: bool = False
    figures: dict[str, Any] = {}


class ExplainedGate(Struct, frozen=True, kw_only=True):
    """
    A gate before which a person approves the input; an ask that meets one is refused.

    Attributes:
        by: `policy`, or the `pipeline` whose step it is of; what both want holds.
        group: Of the approvers who may grant; empty for all of the scope.
        expires_s: How long a request waits.
        conditional: Whether the step's condition decides in a run if it stands there.
        zones: Before which it stands, where these are not all.
    """

    by: Literal["policy", "pipeline"]
    group: str = ""
    expires_s: int
    four_eyes: bool = True
    conditional: bool = False
    zones: list[Zone] | UnsetType = UNSET


class Explanation(Struct, frozen=True, kw_only=True):
    """
    The routes in order, then those that are out.

    Attributes:
        reason: Why there is none, when there is none.
        policy_revision: Of the policy in force; 0 without one.
        approval: The gates before its input leaves; UNSET where there is none.
        steps: Of a pipeline, which has no routes of its own, in the order of its definition.
    """

    capability: str
    data_class: DataClass
    strategy: str
    policy_revision: int
    routes: list[ExplainedRoute]
    excluded: list[ExplainedRoute]
    reason: str = ""
    approval: list[ExplainedGate] | UnsetType = UNSET
    steps: list["ExplainedStep"] | UnsetType = UNSET


class ExplainedStep(Struct, frozen=True, kw_only=True):
    """A step of a pipeline, and where its task would go: under the data class that it has when all goes well."""

    step: str
    explanation: Explanation


class RouteReport(Struct, frozen=True, kw_only=True):
    """
    What the whole fleet has seen of one route and capability in the last minute.

    Attributes:
        outcomes: Attempts by failure kind; `ok` among them.
        cost_usd: Of the attempts whose cost is known.
        unpriced: How many attempts' cost is not known.
        standing: `settled`, `left` or `returning`.
        breaker: `closed`, `open` or `half_open`.
    """

    pool: str
    model: str
    capability: str
    attempts: int
    outcomes: dict[str, int]
    in_flight: int
    p50_ms: float | None
    p95_ms: float | None
    error_rate: float | None
    input_tokens: int
    output_tokens: int
    cost_usd: float
    unpriced: int = 0
    standing: str = "settled"
    breaker: str = "closed"
    why: str = ""


class StatsReply(Struct, frozen=True, kw_only=True):
    """`api.stats`: every route that was used lately."""

    orchestrator: str
    routes: list[RouteReport]


class PolicyQuery(Struct, frozen=True, kw_only=True):
    """
    `api.policy`: `get` the one in force (PolicyReply), `check` or `set` a document, list the `history`, `rollback`,
    or `unset`: have none in force.

    Attributes:
        toml: The document, for `check` and `set`.
        revision: For `rollback`: which one to put in force again, in place of the last good one; for `get` an older one.
        expected_revision: For `set`, `rollback` and `unset`: only if this is the one in force.
        author: For `set`, `rollback` and `unset`: who does it, for the history.
        force: For `set` and `rollback`: also where it leaves a capability that is served now without a live route.
    """

    verb: Literal["get", "check", "set", "history", "rollback", "unset"] = "get"
    toml: Annotated[str, Meta(max_length=POLICY_BYTES_MAX)] | None = None
    revision: Annotated[int, Meta(ge=1, le=SEQUENCE_MAX)] | None = None
    expected_revision: Sequence | None = None
    author: Word = ""
    force: bool = False


class PolicyReply(Struct, frozen=True, kw_only=True):
    """
    A policy, in force or only checked.

    Attributes:
        revision: 0 when there is none in force, or when it was only checked.
        toml: As it was written, comments included.
        warnings: What is allowed but may be a mistake, such as a pool that nobody has seen.
    """

    revision: int
    toml: str = ""
    author: str = ""
    at_unix_ms: int = 0
    warnings: list[str] = []


class PolicyVersion(Struct, frozen=True, kw_only=True):
    """
    One line of the history, newest first.

    Attributes:
        at_unix_ms: When it was set, by the orchestrator's clock; of an `unset` by the server's.
        unset: From then on no policy was in force. It is nothing to go back to.
    """

    revision: int
    author: str
    at_unix_ms: int
    in_force: bool = False
    unset: bool = False


class PolicyHistory(Struct, frozen=True, kw_only=True):
    """The versions that the bucket still has, and when there was none in force."""

    versions: list[PolicyVersion]
