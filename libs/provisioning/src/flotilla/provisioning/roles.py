"""
Who may publish and subscribe to what: one role per kind of member, deny by default.

Pure: a role is data, and `accounts.py` writes it into the server's configuration. Those who are not trusted with the
fleet's own account have accounts of their own, and what crosses between is listed here too. NATS wildcards stand for
whole tokens, so "every task stream" cannot be said as `TASKS_*`: an orchestrator's JetStream permissions are listed per
stream when its scopes are known, and per verb for any stream of the FLEET account when they are not.
"""

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Final, Literal, cast

from msgspec import Struct, structs

from flotilla.contracts import subjects
from flotilla.contracts.names import ADMIN, OBSERVER, ORCHESTRATOR, SEALED_ORCHESTRATOR, SEALED_PREFIX
from flotilla.contracts.subjects import ZONES, EventKind, Zone, inbox_prefix
from flotilla.fabric.jetstream_api import (
    ACCOUNT_INFO,
    ACKS,
    API,
    MAX_DELIVERIES_ADVISORIES,
    STREAM_LIST,
    STREAM_NAMES,
)

OBSERVER_VERBS: Final = ("status", "replicas", "stats", "explain")
OBSERVER_BUCKETS: Final = (subjects.PRESENCE_BUCKET, subjects.STATS_BUCKET, subjects.POLICY_BUCKET)
DISCOVERY: Final = "$SRV.>"
DISCOVERY_REPLY_EXPIRES: Final = "10s"

_ANY: Final = "*"
_ANY_ZONE: Final = cast("Zone", _ANY)  # a wildcard where a subject names its zone
_ANY_KIND: Final = cast("EventKind", _ANY)
_INBOX: Final = "_INBOX"
_SERVICE_REPLIES: Final = "_R_.>"
_DISCOVERY: Final = tuple(
    subject for verb in ("PING", "INFO", "STATS") for subject in (f"$SRV.{verb}", f"$SRV.{verb}.>")
)
_STREAM_VERBS: Final = (
    "STREAM.INFO.{0}",
    "STREAM.CREATE.{0}",
    "STREAM.UPDATE.{0}",
    "STREAM.MSG.GET.{0}",
    "STREAM.MSG.DELETE.{0}",
    "CONSUMER.CREATE.{0}",
    "CONSUMER.CREATE.{0}.>",
    "CONSUMER.DURABLE.CREATE.{0}.*",
    "CONSUMER.INFO.{0}.*",
    "CONSUMER.DELETE.{0}.*",
    "CONSUMER.NAMES.{0}",
    "CONSUMER.LIST.{0}",
    "CONSUMER.MSG.NEXT.{0}.*",
    "DIRECT.GET.{0}",
    "DIRECT.GET.{0}.>",
)
"""What an orchestrator may ask of a stream. Deleting and purging are left to the admin."""
_REMOVING_VERBS: Final = ("STREAM.PURGE.{0}", "STREAM.DELETE.{0}")
"""What else it may ask of those that the version before has left."""
_VAULT_VERBS: Final = ("STREAM.INFO.{0}", "STREAM.CREATE.{0}", "STREAM.UPDATE.{0}", "STREAM.MSG.GET.{0}")
_COUNTERS: Final = "counter.>"
_BLACKBOARD_BEFORE: Final = "$KV.blackboard.>"
"""Orchestrators of the version before may still serve while those of this one start."""


class ResponseLimit(Struct, frozen=True, kw_only=True):
    """
    Replies that a role may send to whatever reply subject a message brought.

    Attributes:
        max_messages: Per message received.
        expires: A Go duration; the server keeps every such reply subject until then.
    """

    max_messages: int
    expires: str


class Role(Struct, frozen=True, kw_only=True):
    """
    What one user may do.

    Attributes:
        user: The name of its credentials.
        inbox_prefix: What its connections must use as the prefix of their inboxes; no other role may subscribe there.
        publish: Subjects, wildcards allowed; None stands for everything in its account.
        subscribe: The same; queue groups included.
        responses: None allows no reply but to subjects in `publish`.
        publish_not: Subjects that it may not publish to although `publish` has them.
    """

    user: str
    inbox_prefix: str
    publish: tuple[str, ...] | None
    subscribe: tuple[str, ...] | None
    publish_not: tuple[str, ...] = ()
    responses: ResponseLimit | None = None


def worker_user(zone: Zone, pool: str) -> str:
    """The name of a pool's credentials."""
    return f"{zone}.{pool}"


def tenant_user(scope: str) -> str:
    """The name of a scope's credentials."""
    return f"tenant.{scope}"


def approver_user(scope: str) -> str:
    """The name of the credentials of those who decide what of a scope may leave."""
    return f"approver.{scope}"


def worker(zone: Zone, pool: str, *, vault: bool = False, sealed: bool = False) -> Role:
    """
    A worker of one pool, in the pool's own account: takes the tasks handed to its pool, answers, and says that it lives.

    Nothing that it may publish is answered by anybody, and it has no JetStream; but with `vault`, what `asked_of_vault`
    lists, which are services of another account: the server puts a reply subject of its own in the place of theirs. With
    `sealed` it also answers attempts of the sealed lane.

    Replies to attempts are a static permission (see `subjects.attempt_inbox`): the server only tracks reply subjects that
    are not allowed anyway, so `responses` costs nothing on the hot path and serves discovery alone.
    """
    return Role(
        user=worker_user(zone, pool),
        inbox_prefix=inbox_prefix(zone, pool),
        publish=(
            *told_by_pool(zone, pool),
            *((sealed_reply(zone, pool),) if sealed else ()),
            *(asked_of_vault() if vault else ()),
        ),
        subscribe=(*handed_to_pool(zone, pool), f"{inbox_prefix(zone, pool)}.>", *_DISCOVERY),
        responses=ResponseLimit(max_messages=1, expires=DISCOVERY_REPLY_EXPIRES),
    )


def asked_of_vault() -> tuple[str, ...]:
    """
    What a pool with the vault asks of the account that holds it: to write keys, to read the newest value of one, to list
    them, and to make the bucket or to set its bounds.

    A message get reads one message of this one stream; there is no consumer, no purge and no deletion of the stream.
    """
    stream = subjects.bucket_stream(subjects.VAULT_BUCKET)
    return (subjects.key(subjects.VAULT_BUCKET, ">"), *_api(_VAULT_VERBS, (stream,)))


def handed_to_pool(zone: Zone, pool: str) -> tuple[str, str]:
    """What the fleet hands to a pool's account: attempts, and control messages to one replica or all."""
    return (subjects.infer(zone, pool, _ANY), subjects.infer_control(zone, pool, _ANY))


def told_by_pool(zone: Zone, pool: str) -> tuple[str, str, str]:
    """What the fleet takes from a pool's account: heartbeats, free slots, and replies to the pool's own attempts."""
    return (
        subjects.heartbeat(zone, pool, _ANY),
        subjects.infer_free(zone, pool),
        f"{subjects.attempt_inbox(zone, pool, _ANY)}.{_ANY}",
    )


def sealed_reply(zone: Zone, pool: str) -> str:
    """What the sealed lane alone takes from a pool's account: replies to its own attempts."""
    return f"{subjects.attempt_inbox(zone, pool, _ANY, sealed=True)}.{_ANY}"


def told_to_sealed_lane(pool: str) -> tuple[str, str, str]:
    """What the sealed lane takes from the account of a pool of the local zone."""
    heartbeat, free, _ = told_by_pool("local", pool)
    return (heartbeat, free, sealed_reply("local", pool))


def sealed_orchestrator(*, blackboards: Sequence[str] = ()) -> Role:
    """
    An orchestrator of the sealed lane, in the lane's own account, which nobody else is in.

    The same role in another place, without the cloud zone: its account has streams of its own, and exports no lane to a
    cloud pool. So neither it nor an ordinary orchestrator can reach, read or mirror what is the other's.
    """
    return structs.replace(
        orchestrator(zones=("local",), blackboards=blackboards, sealed=True), user=SEALED_ORCHESTRATOR
    )


def orchestrator(
    *,
    zones: Sequence[Zone] = ZONES,
    scopes: Literal["*"] | Sequence[str] = "*",
    blackboards: Sequence[str] = (),
    sealed: bool = False,
) -> Role:
    """
    An orchestrator that serves `scopes` and may send attempts into `zones` only.

    With "*" the scopes whose blackboards, requests for approval and kept answers it has are named in `blackboards`: no
    wildcard stands for a part of a token.

    Its zones are what seals restricted tasks at the transport: one without the cloud zone cannot reach a cloud lane,
    whatever its routing says. Requests from inside the FLEET account bring the inboxes of the admin or another
    orchestrator, which are allowed statically, streams of replies included; those of tenants and the observer `_R_.>`.
    """
    names = (_ANY,) if scopes == "*" else tuple(scopes)
    kept = tuple(
        subjects.key(bucket(scope), ">")
        for scope in (blackboards if scopes == "*" else names)
        for bucket in (subjects.blackboard_bucket, subjects.approvals_bucket, subjects.cache_bucket)
    )
    return Role(
        user=ORCHESTRATOR,
        inbox_prefix=inbox_prefix(ORCHESTRATOR),
        publish=(
            *(subjects.infer(zone, _ANY, _ANY) for zone in zones),
            *(subjects.infer_control(zone, _ANY, _ANY) for zone in zones),
            *chain.from_iterable(_written_for_scope(name) for name in names),
            *(subjects.key(bucket, ">") for bucket in subjects.BUCKETS),
            _COUNTERS,
            subjects.reserving_owner(_ANY),
            *kept,
            _BLACKBOARD_BEFORE,
            *(f"{inbox_prefix(user)}.>" for user in (ORCHESTRATOR, ADMIN)),
            _SERVICE_REPLIES,
            ACKS,
            *_orchestrator_api(names),
        ),
        subscribe=(
            *chain.from_iterable(_served_for_scope(name) for name in names),
            f"{inbox_prefix(ORCHESTRATOR)}.>",
            *_attempt_inboxes(zones, sealed=sealed),
            _below_root(subjects.infer_free(_ANY_ZONE, _ANY)),
            _below_root(subjects.heartbeat(_ANY_ZONE, _ANY, _ANY)),
            *(subjects.key(bucket, ">") for bucket in subjects.BUCKETS),
            subjects.counted(_COUNTERS),
            *kept,
            _BLACKBOARD_BEFORE,
            MAX_DELIVERIES_ADVISORIES,
            *_DISCOVERY,
        ),
    )


def observer(scopes: Sequence[str] = ()) -> Role:
    """
    One who watches, in an account of its own: events, presence, stats, policy and the questions that hold no document.

    No tasks, no results, no lanes, no dead letters, no other inbox; and of the JetStream API the info and direct get of
    those streams alone, since a consumer or a message get would read any stream. Of events that have been, those of
    `scopes`: their streams can only be named one by one.
    """
    one, several = asked_by_observer(scopes)
    return Role(
        user=OBSERVER,
        inbox_prefix=inbox_prefix(OBSERVER),
        publish=(*one, *(subject for subject in several if subject != DISCOVERY), *_DISCOVERY),
        subscribe=(
            _events_of(_ANY),
            *(subjects.key(bucket, ">") for bucket in OBSERVER_BUCKETS),
            f"{inbox_prefix(OBSERVER)}.>",
        ),
    )


def asked_by_observer(scopes: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What an observer asks of the fleet: what is answered with one message, and what is answered with several."""
    streams = (*map(subjects.events_stream, scopes), *(subjects.bucket_stream(bucket) for bucket in OBSERVER_BUCKETS))
    one = (
        *(subjects.api(_ANY, verb) for verb in OBSERVER_VERBS),
        *_api(("STREAM.INFO.{0}", "DIRECT.GET.{0}.>"), streams),
    )
    return one, (DISCOVERY, *_api(("DIRECT.GET.{0}",), streams))


def told_to_observer() -> tuple[str, ...]:
    """
    What the fleet tells an observer.

    Events by their whole form: an export of `events.>` exists, for tenants, and says that each imports its own.
    """
    return (subjects.events(_ANY, _ANY, _ANY_KIND), *(subjects.key(bucket, ">") for bucket in OBSERVER_BUCKETS))


def admin() -> Role:
    """Everything in the FLEET account."""
    return Role(user=ADMIN, inbox_prefix=inbox_prefix(ADMIN), publish=None, subscribe=None)


def tenant(scope: str, *, sealed: bool = False) -> Role:
    """
    Any NATS client of a scope, in the scope's own account: the five ways in and out, and plain inboxes.

    With `sealed` it has the same five of the sealed lane too, each behind `sealed.`. What the scope's approver asks is the
    approver's alone: whoever submits decides nothing.
    """
    named = (seen_by_tenant, sealed_for_tenant) if sealed else (seen_by_tenant,)
    return Role(
        user=tenant_user(scope),
        inbox_prefix=inbox_prefix(),
        publish=tuple(name(scope, subject) for name in named for subject in services(scope)),
        subscribe=(*(name(scope, subject) for name in named for subject in streams(scope)), f"{inbox_prefix()}.>"),
        publish_not=tuple(name(scope, subject) for name in named for subject in asked_by_approver(scope)),
    )


def approver(scope: str, *, sealed: bool = False) -> Role:
    """
    Who decides what of a scope may leave, in the scope's own account: asks what waits, decides it, and hears events.

    It submits nothing, so nobody approves with these credentials what was submitted with them; and nobody else in the account
    hears its inbox, on which whole inputs arrive.
    """
    named = (seen_by_tenant, sealed_for_tenant) if sealed else (seen_by_tenant,)
    return Role(
        user=approver_user(scope),
        inbox_prefix=subjects.APPROVER_INBOX,
        publish=tuple(name(scope, subject) for name in named for subject in asked_by_approver(scope)),
        subscribe=(*(name(scope, _events_of(scope)) for name in named), f"{subjects.APPROVER_INBOX}.>"),
    )


def asked_by_approver(scope: str) -> tuple[str, ...]:
    """What a scope's approver alone asks of the fleet, as it stands in the FLEET account."""
    return tuple(subjects.api(scope, verb) for verb in subjects.APPROVER_VERBS)


def services(scope: str) -> tuple[str, str, str]:
    """What a scope asks of the fleet, as it stands in the FLEET account: tasks, ask and api, in this order."""
    return (subjects.tasks(scope, ">"), subjects.ask(scope, ">"), subjects.api(scope, ">"))


def streams(scope: str) -> tuple[str, str]:
    """What the fleet tells a scope, as it stands in the FLEET account: results and events."""
    return (_results_of(scope), _events_of(scope))


def seen_by_tenant(scope: str, subject: str) -> str:
    """The same subject as it stands in the scope's own account."""
    return subject.removeprefix(f"scope.{scope}.")


def sealed_for_tenant(scope: str, subject: str) -> str:
    """The sealed lane's subject as it stands in the account of a scope that also has the ordinary one."""
    return f"{SEALED_PREFIX}{seen_by_tenant(scope, subject)}"


def _written_for_scope(scope: str) -> tuple[str, ...]:
    return (
        # Not `results`: there the stream republishes what it has stored.
        subjects.commit(scope, _ANY, _ANY),
        _events_of(scope),
        # A dead task that is tried again is published anew.
        subjects.tasks(scope, ">"),
        subjects.dead(scope, _ANY, _ANY),
        f"step.{scope}.>",
        subjects.suspended(scope, _ANY),
        subjects.audit(scope, _ANY, _ANY),
        f"score.{scope}.>",
        f"ledger.{scope}.>",
        _control_of(scope),
    )


def _served_for_scope(scope: str) -> tuple[str, ...]:
    return (subjects.ask(scope, ">"), subjects.api(scope, ">"), _control_of(scope))


def _results_of(scope: str) -> str:
    return _without_last(subjects.results(scope, _ANY, _ANY), 2)


def _events_of(scope: str) -> str:
    return _without_last(subjects.events(scope, _ANY, "queued"), 2)


def _control_of(scope: str) -> str:
    subject = subjects.orchestrator_control(scope, ">")
    # Those who serve every scope may subscribe with one wildcard.
    return _below_root(subject) if scope == _ANY else subject


def _attempt_inboxes(zones: Sequence[Zone], *, sealed: bool) -> Iterable[str]:
    # A subscription over both zones is only a subset of a permission over both.
    named = (_ANY_ZONE,) if set(zones) == set(ZONES) else zones
    return (f"{subjects.attempt_inbox(zone, _ANY, _ANY, sealed=sealed)}.>" for zone in named)


def _orchestrator_api(scopes: Sequence[str]) -> Iterable[str]:
    if tuple(scopes) == (_ANY,):
        names: tuple[str, ...] = (_ANY,)
    else:
        names = (
            *(subjects.tasks_stream(scope) for scope in scopes),
            *(subjects.results_stream(scope) for scope in scopes),
            *(subjects.events_stream(scope) for scope in scopes),
            *(subjects.dead_stream(scope) for scope in scopes),
            *(subjects.steps_stream(scope) for scope in scopes),
            *(subjects.suspended_stream(scope) for scope in scopes),
            *(subjects.audit_stream(scope) for scope in scopes),
            *(subjects.bucket_stream(subjects.approvals_bucket(scope)) for scope in scopes),
            *(subjects.scores_stream(scope) for scope in scopes),
            *(subjects.ledger_stream(scope) for scope in scopes),
            subjects.COUNTERS_STREAM,
            *(subjects.bucket_stream(subjects.blackboard_bucket(scope)) for scope in scopes),
            *(subjects.bucket_stream(subjects.cache_bucket(scope)) for scope in scopes),
            *(subjects.bucket_stream(bucket) for bucket in subjects.BUCKETS),
            *subjects.SHARED_BEFORE,
        )
    return (
        ACCOUNT_INFO,
        STREAM_NAMES,
        STREAM_LIST,
        *_api(_STREAM_VERBS, names),
        *_api(_REMOVING_VERBS, subjects.SHARED_BEFORE),
    )


def _api(verbs: Iterable[str], names: Iterable[str]) -> tuple[str, ...]:
    return tuple(f"{API}.{verb.format(name)}" for name in names for verb in verbs)


def _below_root(subject: str) -> str:
    return f"{subject.split('.', 1)[0]}.>"


def _without_last(subject: str, tokens: int) -> str:
    return ".".join((*subject.split(".")[:-tokens], ">"))
