"""
Experiments: the arms of a `split` compared, and the scores that callers send back (`api.feedback`, `api.experiment`).

What orchestrators keep merges by addition: each writes its own totals, whoever reports adds them up.
"""

import hashlib
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from flotilla.contracts.decoding import UNDECODABLE, checked, safe_text
from flotilla.contracts.errors import DecodeFailedError
from flotilla.contracts.fields import Instance, ModelName, Name, Sequence, TaskId, UnixMs, Word
from flotilla.contracts.patterns import pattern
from flotilla.contracts.policy import ROUTES_MAX
from flotilla.contracts.policy_rules import Rules

FORMAT: Final = 1
SUM_MAX: Final = 1e300
COUNT_MAX: Final = 2**53
SPLIT: Final = "split"
BY_WEIGHT: Final = "weights"
"""The allocation of a split whose shares stay."""
CALLER: Final = "caller"
"""Who scores, where nobody is named."""

Count = Annotated[int, Meta(ge=0, le=COUNT_MAX)]
Sum = Annotated[float, Meta(ge=0.0, le=SUM_MAX)]
ExperimentId = Annotated[str, Meta(pattern=pattern(r"^[0-9a-f]{12}\Z", "12 hexadecimal digits, in lower case"))]


class Moments(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """
    A quantity over an arm's tasks: how many, their sum, and the sum of their squares.

    Adding those of two orchestrators gives those of both.
    """

    count: Count = 0
    total: Sum = 0.0
    squares: Sum = 0.0

    def __add__(self, other: "Moments") -> "Moments":
        return Moments(
            count=self.count + other.count, total=self.total + other.total, squares=self.squares + other.squares
        )

    def with_value(self, value: float) -> "Moments":
        """With one more task."""
        return Moments(count=self.count + 1, total=self.total + value, squares=self.squares + value * value)

    @property
    def mean(self) -> float | None:
        """Of all tasks; None without any."""
        return self.total / self.count if self.count else None

    @property
    def variance(self) -> float:
        """Of the value of one task, unbiased; 0 for fewer than two tasks."""
        if self.count < 2:  # noqa: PLR2004  (one value does not vary)
            return 0.0
        return max(0.0, (self.squares - self.total * self.total / self.count) / (self.count - 1))


NO_TASKS: Final = Moments()


class ArmTotals(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """
    What the tasks came to that a split gave to one route first.

    Attributes:
        ok: How many of them that route answered; `failed` are the others.
        latency_ms: Of the attempts that it answered.
        cost_usd: Of the tasks whose cost is known, whoever answered them in the end.
        score: What callers said of them, 0 to 1.
    """

    pool: Name
    model: ModelName
    ok: Count = 0
    failed: Count = 0
    latency_ms: Moments = NO_TASKS
    cost_usd: Moments = NO_TASKS
    score: Moments = NO_TASKS

    def __add__(self, other: "ArmTotals") -> "ArmTotals":
        return ArmTotals(
            pool=self.pool,
            model=self.model,
            ok=self.ok + other.ok,
            failed=self.failed + other.failed,
            latency_ms=self.latency_ms + other.latency_ms,
            cost_usd=self.cost_usd + other.cost_usd,
            score=self.score + other.score,
        )


class ArmsRecord(Struct, frozen=True, kw_only=True):
    """One orchestrator's totals of one experiment: the value of a key in the bucket of experiments."""

    began_unix_ms: UnixMs
    arms: Annotated[list[ArmTotals], Meta(max_length=ROUTES_MAX)]
    format: Sequence = FORMAT


class ScoreRecord(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A score as it is kept, once per task and scorer."""

    experiment: ExperimentId
    pool: Name
    model: ModelName
    score: Annotated[float, Meta(ge=0.0, le=1.0)]
    label: Word = ""


class ArmOfTask(Struct, frozen=True, kw_only=True):
    """The arm that a task was given to: what orchestrators tell one another of tasks that they have answered."""

    capability: Name
    experiment: ExperimentId
    pool: Name
    model: ModelName


class FeedbackQuery(Struct, frozen=True, kw_only=True):
    """
    `api.feedback`: how good the answer to a task was; answered with Feedback. Once per task and scorer.

    Attributes:
        score: 0 (of no use) to 1.
        label: What was right, or why; never a document's text.
        scorer: Who says so: a person, a judge, a rule.
    """

    task: TaskId
    score: Annotated[float, Meta(ge=0.0, le=1.0)]
    label: Word = ""
    scorer: Instance = CALLER


class Feedback(Struct, frozen=True, kw_only=True):
    """A score that counts, and the arm that it counts for."""

    task: str
    capability: str
    pool: str
    model: str


class ExperimentQuery(Struct, frozen=True, kw_only=True):
    """`api.experiment`: the arms of a capability's split; answered with ExperimentReport."""

    capability: Name


class ExperimentReport(Struct, frozen=True, kw_only=True):
    """
    The arms of the split that is in force, in the policy's order.

    Attributes:
        experiment: Other routes or weights are another experiment.
        began_unix_ms: Of the first task; 0 when there was none yet.
        arms: Scores are those of the asking scope.
    """

    capability: str
    experiment: str
    began_unix_ms: int
    arms: list[ArmTotals]


def experiment_of(capability: str, rules: Rules) -> str:
    """
    The name of the experiment that the rules of a capability make; empty where they are no split over listed routes.

    Weights count: tasks of a time with other shares are not to be compared with those of this one. So a split whose shares
    move by themselves (`allocation`) is none.
    """
    moves = rules.strategy_options.get("allocation", BY_WEIGHT) != BY_WEIGHT
    if rules.strategy != SPLIT or rules.routes is None or moves:
        return ""
    arms = sorted(f"{entry.pool}\0{entry.model or ''}\0{entry.weight or 1.0!r}" for entry in rules.routes)
    return hashlib.sha256("\0\0".join((capability, *arms)).encode()).hexdigest()[:12]


encode_experiment: Final = msgspec.json.Encoder().encode
_decode_arms: Final = msgspec.json.Decoder(ArmsRecord).decode
_decode_score: Final = msgspec.json.Decoder(ScoreRecord).decode
_decode_arm: Final = msgspec.json.Decoder(ArmOfTask).decode


def decode_arms(body: bytes) -> ArmsRecord:
    """One orchestrator's totals. DecodeFailedError when they are none."""
    try:
        return _decode_arms(checked(body))
    except UNDECODABLE as error:
        raise DecodeFailedError(f"totals of arms: {safe_text(error)}") from error


def decode_score(body: bytes) -> ScoreRecord:
    """A kept score. DecodeFailedError when it is none."""
    try:
        return _decode_score(checked(body))
    except UNDECODABLE as error:
        raise DecodeFailedError(f"score: {safe_text(error)}") from error


def decode_arm(body: bytes) -> ArmOfTask:
    """A task's arm. DecodeFailedError when it is none."""
    try:
        return _decode_arm(checked(body))
    except UNDECODABLE as error:
        raise DecodeFailedError(f"arm of a task: {safe_text(error)}") from error
