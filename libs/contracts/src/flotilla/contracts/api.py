"""
Questions to the fleet: the bodies of `api.<verb>` requests and of their answers. An empty body asks for the defaults.

An answer that could not be given is an `ErrorReply`, with the micro error headers.
"""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from flotilla.contracts.api_spend import BudgetStanding
from flotilla.contracts.failures import ErrorBody
from flotilla.contracts.fields import Sha256, TaskId
from flotilla.contracts.limits import BUDGETS_MAX
from flotilla.contracts.presence import ReplicaCard
from flotilla.contracts.subjects import Zone

DEAD_LIST_MAX = 1000
DEAD_LIST_DEFAULT = 50


class ResultQuery(Struct, frozen=True, kw_only=True):
    """`api.result`: the committed result of a durable task; `not_found` while there is none."""

    task: TaskId


class StatusQuery(Struct, frozen=True, kw_only=True):
    """
    `api.status`: of one task (TaskStatus), or of the fleet (FleetStatus) when none is named.

    Attributes:
        needs: Of the fleet: with what may need a person (`FleetStatus.needs`).
    """

    task: TaskId | None = None
    needs: bool | UnsetType = UNSET


class CancelQuery(Struct, frozen=True, kw_only=True):
    """`api.cancel`: stop a task, durable or interactive, waiting or running; answered with Cancelled."""

    task: TaskId


class Cancelled(Struct, frozen=True, kw_only=True):
    """
    What cancelling came to.

    Attributes:
        was: `running` (its provider call is being stopped), `waiting` (it had not begun).
    """

    task: str
    was: Literal["running", "waiting"]


class TaskStatus(Struct, frozen=True, kw_only=True):
    """
    Where one task stands.

    Attributes:
        state: `waiting` in the stream or in line for a slot, `running`, or the status of its committed result.
        error: The failed one's.
        input_sha256: See `Result`.
    """

    task: str
    state: Literal["waiting", "running", "ok", "failed"]
    capability: str = ""
    pool: str = ""
    model: str = ""
    replica: str = ""
    running_ms: float = 0.0
    error: ErrorBody | None = None
    input_sha256: Sha256 | UnsetType = UNSET


class PoolStatus(Struct, frozen=True, kw_only=True):
    """
    One live pool: its replicas put together.

    Attributes:
        slots: Of all replicas.
        draining: Of the replicas, those that take nothing: they are leaving, or have not joined yet.
        unheard: Of the others, those that are known from the bucket alone: they may have ended with the last fleet.
        stand_in: It stands in for models, and gets nothing that a live model serves.
    """

    zone: Zone
    pool: str
    provider: str
    replicas: int
    slots: int
    busy: int
    models: list[str]
    capabilities: list[str]
    stand_in: bool = False
    draining: int = 0
    unheard: int = 0


class Backlog(Struct, frozen=True, kw_only=True):
    """Tasks of one capability that are in the stream, those being worked on included."""

    capability: str
    high: int = 0
    normal: int = 0
    low: int = 0


class FleetNeeds(Struct, frozen=True, kw_only=True):
    """
    What may need a person, as far as whoever asks may know it.

    Attributes:
        approvals_waiting: Requests of the scope that nobody has decided; a few seconds old.
        approvals_oldest_s: How long the oldest of them has waited.
        budgets: See `Spend.budgets`.
    """

    approvals_waiting: int = 0
    approvals_oldest_s: float = 0.0
    budgets: Annotated[list[BudgetStanding], Meta(max_length=BUDGETS_MAX)] = []


class FleetStatus(Struct, frozen=True, kw_only=True):
    """
    The fleet, as one orchestrator sees it.

    Attributes:
        dead: Records in the dead-letter stream for this scope.
        now_unix_ms: By the orchestrator's clock; deadlines are told by it. 0 from one of an older version.
        lane: `sealed` from one that serves the sealed lane; unset from any other.
        needs: Unset where it was not asked for, and from an orchestrator of an older version.
        stores_nothing: Set when JetStream does not acknowledge what the orchestrator writes: its disk is full, or was.
    """

    scope: str
    orchestrator: str
    pools: list[PoolStatus]
    backlog: list[Backlog]
    dead: int = 0
    now_unix_ms: int = 0
    lane: Literal["sealed"] | UnsetType = UNSET
    needs: FleetNeeds | UnsetType = UNSET
    stores_nothing: Literal[True] | UnsetType = UNSET


class ReplicasReply(Struct, frozen=True, kw_only=True):
    """`api.replicas`: the card of every live replica."""

    replicas: list[ReplicaCard]


class DeadQuery(Struct, frozen=True, kw_only=True):
    """
    `api.dead`: `list` the newest records (DeadList), `show` one (DeadRecord), `retry` one (Retried), or `discard` one
    (Discarded).

    Attributes:
        task: For all but `list`.
        limit: For `list`.
    """

    verb: Literal["list", "show", "retry", "discard"] = "list"
    task: TaskId | None = None
    limit: Annotated[int, Meta(ge=1, le=DEAD_LIST_MAX)] = DEAD_LIST_DEFAULT


class DeadEntry(Struct, frozen=True, kw_only=True):
    """One line of the list of dead tasks; the record has the original message too."""

    task: str
    capability: str
    error: ErrorBody
    at_unix_ms: int
    size_bytes: int


class DeadList(Struct, frozen=True, kw_only=True):
    """
    The newest dead tasks, newest first.

    Fewer than asked for where there are no more, where the older ones lie very far back in the stream, which the scopes
    share, and where they would not fit into one message.
    """

    dead: list[DeadEntry]


class Retried(Struct, frozen=True, kw_only=True):
    """A dead task was submitted again: a result is committed once per id, so it has a new one."""

    task: str
    retried_as: str


class Discarded(Struct, frozen=True, kw_only=True):
    """The record of a dead task was deleted, its input with it; its result stays."""

    task: str
    discarded: bool = True
