"""
Who may publish and subscribe to what: one role per kind of member, deny by default.

Pure: a role is data, and `accounts.py` writes it into the server's configuration. What crosses between accounts is in
`crossings.py`. NATS wildcards stand for whole tokens, so "every task stream" cannot be said as `TASKS_*`: an orchestrator's
JetStream permissions are listed per stream when its scopes are known, and per verb for any stream of the FLEET account
when they are not.
"""

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Final, Literal, cast

from msgspec import Struct, structs

from flotilla.contracts import subjects
from flotilla.contracts.names import ADMIN, OBSERVER, ORCHESTRATOR, SEALED_ORCHESTRATOR
from flotilla.contracts.subjects import ZONES, Zone, inbox_prefix
from flotilla.fabric.jetstream_api import (
    ACCOUNT_INFO,
    ACKS,
    MAX_DELIVERIES_ADVISORIES,
    STREAM_LIST,
    STREAM_NAMES,
)
from flotilla.provisioning.crossings import (
    ANY,
    DISCOVERY,
    OBSERVER_BUCKETS,
    all_events,
    api_subjects,
    asked_by_approver,
    asked_by_observer,
    asked_of_vault,
    handed_to_pool,
    sealed_for_tenant,
    sealed_reply,
    seen_by_tenant,
    services,
    streams,
    told_by_pool,
)

DISCOVERY_REPLY_EXPIRES: Final = "10s"

_ANY_ZONE: Final = cast("Zone", ANY)  # a wildcard where a subject names its zone
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
    names = (ANY,) if scopes == "*" else tuple(scopes)
    kept = tuple(
        subjects.key(bucket(scope), ">")
        for scope in (blackboards if scopes == "*" else names)
        for bucket in (subjects.blackboard_bucket, subjects.approvals_bucket, subjects.cache_bucket)
    )
    return Role(
        user=ORCHESTRATOR,
        inbox_prefix=inbox_prefix(ORCHESTRATOR),
        publish=(
            *(subjects.infer(zone, ANY, ANY) for zone in zones),
            *(subjects.infer_control(zone, ANY, ANY) for zone in zones),
            *chain.from_iterable(_written_for_scope(name) for name in names),
            *(subjects.key(bucket, ">") for bucket in subjects.BUCKETS),
            _COUNTERS,
            subjects.reserving_owner(ANY),
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
            _below_root(subjects.infer_free(_ANY_ZONE, ANY)),
            _below_root(subjects.heartbeat(_ANY_ZONE, ANY, ANY)),
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
            all_events(ANY),
            *(subjects.key(bucket, ">") for bucket in OBSERVER_BUCKETS),
            f"{inbox_prefix(OBSERVER)}.>",
        ),
    )


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
        subscribe=(*(name(scope, all_events(scope)) for name in named), f"{subjects.APPROVER_INBOX}.>"),
    )


def _written_for_scope(scope: str) -> tuple[str, ...]:
    return (
        # Not `results`: there the stream republishes what it has stored.
        subjects.commit(scope, ANY, ANY),
        all_events(scope),
        # A dead task that is tried again is published anew.
        subjects.tasks(scope, ">"),
        subjects.dead(scope, ANY, ANY),
        f"step.{scope}.>",
        subjects.suspended(scope, ANY),
        subjects.audit(scope, ANY, ANY),
        f"score.{scope}.>",
        f"ledger.{scope}.>",
        _control_of(scope),
    )


def _served_for_scope(scope: str) -> tuple[str, ...]:
    return (subjects.ask(scope, ">"), subjects.api(scope, ">"), _control_of(scope))


def _control_of(scope: str) -> str:
    subject = subjects.orchestrator_control(scope, ">")
    # Those who serve every scope may subscribe with one wildcard.
    return _below_root(subject) if scope == ANY else subject


def _attempt_inboxes(zones: Sequence[Zone], *, sealed: bool) -> Iterable[str]:
    # A subscription over both zones is only a subset of a permission over both.
    named = (_ANY_ZONE,) if set(zones) == set(ZONES) else zones
    return (f"{subjects.attempt_inbox(zone, ANY, ANY, sealed=sealed)}.>" for zone in named)


def _orchestrator_api(scopes: Sequence[str]) -> Iterable[str]:
    if tuple(scopes) == (ANY,):
        names: tuple[str, ...] = (ANY,)
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
        *api_subjects(_STREAM_VERBS, names),
        *api_subjects(_REMOVING_VERBS, subjects.SHARED_BEFORE),
    )


def _below_root(subject: str) -> str:
    return f"{subject.split('.', 1)[0]}.>"
