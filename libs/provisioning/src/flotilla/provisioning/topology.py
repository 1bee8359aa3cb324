"""
The streams and buckets of a fleet, as data; `streams.ensure` makes a server hold them.

Every one is bounded in bytes. What is full says so: a task stream refuses new tasks, the histories forget their oldest.
"""

from collections.abc import Sequence
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from flotilla.contracts import subjects
from flotilla.contracts.names import DEFAULT_SCOPE
from flotilla.contracts.policy import CACHE_TTL_S_MAX
from flotilla.contracts.presence import EXPIRY_S
from flotilla.contracts.redaction import VAULT_LIFETIME_S_MAX
from flotilla.provisioning import crossings
from flotilla.provisioning.stream_config import NS_PER_S, StreamConfig, SubjectMapping, bucket_config

MIB: Final = 1024 * 1024
GIB: Final = 1024 * MIB
DAY_S: Final = 86_400

TASKS_MAX: Final = 200_000
TASKS_BYTES_MAX: Final = 2 * GIB
BACKLOG_MAX: Final = 100_000
DUPLICATE_WINDOW_S: Final = 600
RESULTS_MAX: Final = 200_000
RESULTS_BYTES_MAX: Final = 1 * GIB
RESULTS_AGE_S: Final = 7 * DAY_S
STEPS_MAX: Final = 100_000
STEPS_BYTES_MAX: Final = 256 * MIB
SUSPENDED_MAX: Final = 50_000
SUSPENDED_BYTES_MAX: Final = 128 * MIB
"""
Orchestrators suspend no further task once half of this is taken: a stream that holds schedules cannot refuse what is too
much (error 10052), it would drop the oldest.
"""
APPROVALS_MAX: Final = 50_000
APPROVALS_BYTES_MAX: Final = 32 * MIB
APPROVALS_AGE_S: Final = 37 * DAY_S
"""Longer than a request may wait."""
AUDIT_BYTES_MAX: Final = 32 * MIB
AUDIT_AGE_S: Final = 90 * DAY_S
SCORES_MAX: Final = 20_000
SCORES_BYTES_MAX: Final = 32 * MIB
SCORES_AGE_S: Final = 30 * DAY_S
EVENTS_BYTES_MAX: Final = 256 * MIB
EVENTS_AGE_S: Final = 1 * DAY_S
DEAD_MAX: Final = 10_000
DEAD_BYTES_MAX: Final = 256 * MIB
DEAD_AGE_S: Final = 30 * DAY_S
BLACKBOARD_VALUES_MAX: Final = 50_000
BLACKBOARD_BYTES_MAX: Final = 256 * MIB
CACHE_ENTRIES_MAX: Final = 20_000
CACHE_BYTES_MAX: Final = 64 * MIB
COUNTERS_BYTES_MAX: Final = 256 * MIB
COUNTERS_AGE_S: Final = 40 * DAY_S
"""Longer than a month, which a budget may be for."""
COUNTS_PER_SUBJECT_MAX: Final = 20_000
"""Of one counter: reservations that are older than so many messages are not seen by an orchestrator that starts."""
LEDGER_BYTES_MAX: Final = 256 * MIB
LEDGER_AGE_S: Final = 400 * DAY_S
PRESENCE_BYTES_MAX: Final = 64 * MIB
STATS_BYTES_MAX: Final = 256 * MIB
STATS_TTL_S: Final = 60
POLICY_BYTES_MAX: Final = 64 * MIB
EXPERIMENTS_BYTES_MAX: Final = 64 * MIB
EXPERIMENTS_TTL_S: Final = 30 * DAY_S
VAULT_BYTES_MAX: Final = 1 * GIB
VAULTS_MAX: Final = 200_000
"""Of all scopes; one of them may have half as many (`inference/redaction/vault_room.py`)."""
HISTORY: Final = 10
BLACKBOARD_MARKER_TTL_S: Final = 2
"""
The same where keys have lifetimes of their own. Short: in a bucket with a history the server keeps every value at least
as long as it would keep its marker (nats-server#6741), so ten seconds here would turn a lifetime of one into ten.
"""

REPLICAS_MAX: Final = 5


class TopologyLimits(Struct, frozen=True, kw_only=True):
    """
    What an operator may set.

    All but `replicas` and `backlog_max` are per scope. Counts bound the memory of nats-server, which keeps some 400 bytes
    for each subject that a stream holds (docs/deploy.md, Sizing); bytes bound its disk.

    Attributes:
        replicas: Copies of everything: 1, or 3 on a cluster of three nodes.
        backlog_max: Tasks that may wait per scope, capability and priority; the next is refused.
        tasks_max: Tasks that may wait in all; the next is refused.
        results_max: When there are more the oldest goes, as with records of the dead.
        blackboard_values_max: Keys times the values that each has in its history; the next is refused.
    """

    replicas: Annotated[int, Meta(ge=1, le=REPLICAS_MAX)] = 1
    backlog_max: Annotated[int, Meta(ge=1)] = BACKLOG_MAX
    tasks_max: Annotated[int, Meta(ge=1)] = TASKS_MAX
    tasks_bytes_max: Annotated[int, Meta(ge=1)] = TASKS_BYTES_MAX
    results_max: Annotated[int, Meta(ge=1)] = RESULTS_MAX
    results_bytes_max: Annotated[int, Meta(ge=1)] = RESULTS_BYTES_MAX
    events_bytes_max: Annotated[int, Meta(ge=1)] = EVENTS_BYTES_MAX
    dead_max: Annotated[int, Meta(ge=1)] = DEAD_MAX
    dead_bytes_max: Annotated[int, Meta(ge=1)] = DEAD_BYTES_MAX
    blackboard_values_max: Annotated[int, Meta(ge=1)] = BLACKBOARD_VALUES_MAX
    blackboard_bytes_max: Annotated[int, Meta(ge=1)] = BLACKBOARD_BYTES_MAX


def topology(
    scopes: Sequence[str] = (DEFAULT_SCOPE,), limits: TopologyLimits | None = None
) -> tuple[StreamConfig, ...]:
    """Every stream and bucket of a fleet that serves these scopes."""
    limits = limits or TopologyLimits()
    return tuple(
        msgspec.structs.replace(config, num_replicas=limits.replicas, storage="file")
        for config in (
            *(tasks_stream(scope, limits) for scope in scopes),
            *(results_stream(scope, limits) for scope in scopes),
            *(steps_stream(scope) for scope in scopes),
            *(config for scope in scopes for config in of_approvals(scope)),
            *(scores_stream(scope) for scope in scopes),
            *(events_stream(scope, limits) for scope in scopes),
            *(dead_stream(scope, limits) for scope in scopes),
            *(ledger_stream(scope) for scope in scopes),
            *(blackboard(scope, limits) for scope in scopes),
            *(cache(scope) for scope in scopes),
            COUNTERS,
            *BUCKETS,
        )
    )


def tasks_stream(scope: str, limits: TopologyLimits) -> StreamConfig:
    """A scope's durable tasks: gone once acknowledged, refused when the backlog of their subject is full."""
    return StreamConfig(
        name=subjects.tasks_stream(scope),
        subjects=(subjects.tasks(scope, ">"),),
        retention="workqueue",
        discard="new",
        discard_new_per_subject=True,
        max_msgs_per_subject=limits.backlog_max,
        max_bytes=limits.tasks_bytes_max,
        max_msgs=limits.tasks_max,
        duplicate_window=DUPLICATE_WINDOW_S * NS_PER_S,
        # Status questions look at the head of a subject without a consumer.
        allow_direct=True,
    )


def results_stream(scope: str, limits: TopologyLimits) -> StreamConfig:
    """
    A scope's committed results, one per task.

    Exactly one can be committed because the publish expects its subject to be empty. When the stream is full the oldest
    result goes: were the new one refused, its task could never end.

    It is published on a subject of its own and republished on `results` once it is stored: subscribers to a stream's own
    subjects also hear the messages that the stream refuses.
    """
    results = crossings.all_results(scope)
    return StreamConfig(
        name=subjects.results_stream(scope),
        subjects=(f"commit.{scope}.>",),
        subject_transform=SubjectMapping(src=f"commit.{scope}.>", dest=results),
        republish=SubjectMapping(src=results, dest=results),
        retention="limits",
        discard="old",
        max_msgs_per_subject=1,
        max_age=RESULTS_AGE_S * NS_PER_S,
        max_bytes=limits.results_bytes_max,
        max_msgs=limits.results_max,
        duplicate_window=DUPLICATE_WINDOW_S * NS_PER_S,
        allow_direct=True,
    )


def steps_stream(scope: str) -> StreamConfig:
    """
    The results of the steps of a scope's pipelines, one per task of a run, so that none is worked on twice.

    Kept as long as results. When it is full the oldest goes: a run that is not over then works on that step again.
    """
    return StreamConfig(
        name=subjects.steps_stream(scope),
        subjects=(f"step.{scope}.>",),
        retention="limits",
        discard="old",
        max_msgs_per_subject=1,
        max_age=RESULTS_AGE_S * NS_PER_S,
        max_bytes=STEPS_BYTES_MAX,
        max_msgs=STEPS_MAX,
        duplicate_window=DUPLICATE_WINDOW_S * NS_PER_S,
        allow_direct=True,
    )


def of_approvals(scope: str) -> tuple[StreamConfig, StreamConfig, StreamConfig]:
    """A scope's requests for approval, the tasks that wait for them, and the audit, from which nothing can be removed."""
    requests = bucket_config(subjects.approvals_bucket(scope), bytes_max=APPROVALS_BYTES_MAX, ttl_s=APPROVALS_AGE_S)
    suspended = StreamConfig(
        name=subjects.suspended_stream(scope),
        subjects=(subjects.suspended(scope, "*"), subjects.resumed(scope, "*")),
        retention="workqueue",
        discard="old",
        max_bytes=SUSPENDED_BYTES_MAX,
        max_msgs=2 * SUSPENDED_MAX,
        duplicate_window=DUPLICATE_WINDOW_S * NS_PER_S,
        allow_direct=True,
        allow_msg_ttl=True,
        allow_msg_schedules=True,
        # The server says so itself where there are schedules.
        allow_rollup_hdrs=True,
    )
    audit = StreamConfig(
        name=subjects.audit_stream(scope),
        subjects=(subjects.audit(scope, "*", "*"),),
        retention="limits",
        discard="old",
        max_age=AUDIT_AGE_S * NS_PER_S,
        max_bytes=AUDIT_BYTES_MAX,
        duplicate_window=DUPLICATE_WINDOW_S * NS_PER_S,
        allow_direct=True,
        deny_delete=True,
        deny_purge=True,
    )
    return msgspec.structs.replace(requests, max_msgs=APPROVALS_MAX), suspended, audit


def scores_stream(scope: str) -> StreamConfig:
    """What a scope's callers said of answers, one per task and scorer; when it is full the oldest goes."""
    return StreamConfig(
        name=subjects.scores_stream(scope),
        subjects=(f"score.{scope}.>",),
        retention="limits",
        discard="old",
        max_msgs_per_subject=1,
        max_age=SCORES_AGE_S * NS_PER_S,
        max_bytes=SCORES_BYTES_MAX,
        max_msgs=SCORES_MAX,
        duplicate_window=DUPLICATE_WINDOW_S * NS_PER_S,
        allow_direct=True,
    )


def events_stream(scope: str, limits: TopologyLimits) -> StreamConfig:
    """A scope's events of the last day, or as many as fit."""
    return StreamConfig(
        name=subjects.events_stream(scope),
        subjects=(crossings.all_events(scope),),
        retention="limits",
        discard="old",
        max_age=EVENTS_AGE_S * NS_PER_S,
        max_bytes=limits.events_bytes_max,
        allow_direct=True,
    )


def dead_stream(scope: str, limits: TopologyLimits) -> StreamConfig:
    """A scope's dead-letter records, one per task; when it is full the oldest goes."""
    return StreamConfig(
        name=subjects.dead_stream(scope),
        subjects=(f"dead.{scope}.>",),
        retention="limits",
        discard="old",
        max_age=DEAD_AGE_S * NS_PER_S,
        max_bytes=limits.dead_bytes_max,
        max_msgs=limits.dead_max,
        allow_direct=True,
    )


def ledger_stream(scope: str) -> StreamConfig:
    """
    What a scope's tasks cost, a message for each task and route; when it is full the oldest goes.

    A day's total on a route is in its newest message, and so outlives the older ones.
    """
    return StreamConfig(
        name=subjects.ledger_stream(scope),
        subjects=(f"ledger.{scope}.>",),
        retention="limits",
        discard="old",
        max_age=LEDGER_AGE_S * NS_PER_S,
        max_bytes=LEDGER_BYTES_MAX,
        duplicate_window=DUPLICATE_WINDOW_S * NS_PER_S,
        allow_direct=True,
        allow_msg_counter=True,
    )


def blackboard(scope: str, limits: TopologyLimits) -> StreamConfig:
    """A scope's blackboard: what does not fit is refused."""
    bucket = bucket_config(
        subjects.blackboard_bucket(scope),
        bytes_max=limits.blackboard_bytes_max,
        history=HISTORY,
        marker_ttl_s=BLACKBOARD_MARKER_TTL_S,
    )
    return msgspec.structs.replace(bucket, max_msgs=limits.blackboard_values_max)


def cache(scope: str) -> StreamConfig:
    """
    A scope's kept answers, each with a lifetime of its own: when it is full the oldest goes.

    Expired keys leave no markers: whoever waits for a key knows its lifetime.
    """
    bucket = bucket_config(
        subjects.cache_bucket(scope), bytes_max=CACHE_BYTES_MAX, ttl_s=CACHE_TTL_S_MAX, marker_ttl_s=0
    )
    return msgspec.structs.replace(bucket, max_msgs=CACHE_ENTRIES_MAX, discard="old")


def vault_bucket(replicas: int) -> StreamConfig:
    """The vaults of all scopes, each under a key that lives as long as its caller said: what does not fit is refused."""
    bucket = bucket_config(subjects.VAULT_BUCKET, bytes_max=VAULT_BYTES_MAX, ttl_s=VAULT_LIFETIME_S_MAX)
    return msgspec.structs.replace(bucket, max_msgs=VAULTS_MAX, num_replicas=replicas, storage="file")


COUNTERS: Final = StreamConfig(
    name=subjects.COUNTERS_STREAM,
    subjects=("counter.>",),
    republish=SubjectMapping(src="counter.>", dest=subjects.counted("counter.>")),
    retention="limits",
    discard="old",
    max_msgs_per_subject=COUNTS_PER_SUBJECT_MAX,
    max_age=COUNTERS_AGE_S * NS_PER_S,
    max_bytes=COUNTERS_BYTES_MAX,
    duplicate_window=DUPLICATE_WINDOW_S * NS_PER_S,
    allow_direct=True,
    allow_msg_counter=True,
)
"""
What limits and budgets count. Each message is told once more with the total that it came to, so that orchestrators know
one another's without asking.
"""

BUCKETS: Final = (
    bucket_config(subjects.PRESENCE_BUCKET, bytes_max=PRESENCE_BYTES_MAX, ttl_s=int(EXPIRY_S)),
    bucket_config(subjects.STATS_BUCKET, bytes_max=STATS_BYTES_MAX, ttl_s=STATS_TTL_S),
    bucket_config(subjects.POLICY_BUCKET, bytes_max=POLICY_BYTES_MAX, history=HISTORY),
    bucket_config(subjects.EXPERIMENTS_BUCKET, bytes_max=EXPERIMENTS_BYTES_MAX, ttl_s=EXPERIMENTS_TTL_S),
)
