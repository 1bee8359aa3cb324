"""
What passes between the accounts of a fleet: which subjects each side names, in FLEET's form and in its own.

Pure. `accounts.py` makes exports and imports of it, and `roles.py` the permissions of those who are on either side.
"""

from collections.abc import Iterable, Sequence
from typing import Final, cast

from flotilla.contracts import subjects
from flotilla.contracts.names import SEALED_PREFIX
from flotilla.contracts.subjects import EventKind, Zone
from flotilla.fabric.jetstream_api import API

OBSERVER_VERBS: Final = ("status", "replicas", "stats", "explain")
OBSERVER_BUCKETS: Final = (subjects.PRESENCE_BUCKET, subjects.STATS_BUCKET, subjects.POLICY_BUCKET)
DISCOVERY: Final = "$SRV.>"
ANY: Final = "*"
_ANY_KIND: Final = cast("EventKind", ANY)
_VAULT_VERBS: Final = ("STREAM.INFO.{0}", "STREAM.CREATE.{0}", "STREAM.UPDATE.{0}", "STREAM.MSG.GET.{0}")


def services(scope: str) -> tuple[str, str, str]:
    """What a scope asks of the fleet, as it stands in the FLEET account: tasks, ask and api, in this order."""
    return (subjects.tasks(scope, ">"), subjects.ask(scope, ">"), subjects.api(scope, ">"))


def streams(scope: str) -> tuple[str, str]:
    """What the fleet tells a scope, as it stands in the FLEET account: results and events."""
    return (all_results(scope), all_events(scope))


def all_results(scope: str) -> str:
    """All of a scope's results, as they stand in the FLEET account."""
    return _without_last(subjects.results(scope, ANY, ANY), 2)


def all_events(scope: str) -> str:
    """All of a scope's events, as they stand in the FLEET account."""
    return _without_last(subjects.events(scope, ANY, "queued"), 2)


def seen_by_tenant(scope: str, subject: str) -> str:
    """The same subject as it stands in the scope's own account."""
    return subject.removeprefix(f"scope.{scope}.")


def sealed_for_tenant(scope: str, subject: str) -> str:
    """The sealed lane's subject as it stands in the account of a scope that also has the ordinary one."""
    return f"{SEALED_PREFIX}{seen_by_tenant(scope, subject)}"


def asked_by_approver(scope: str) -> tuple[str, ...]:
    """What a scope's approver alone asks of the fleet, as it stands in the FLEET account."""
    return tuple(subjects.api(scope, verb) for verb in subjects.APPROVER_VERBS)


def handed_to_pool(zone: Zone, pool: str) -> tuple[str, str]:
    """What the fleet hands to a pool's account: attempts, and control messages to one replica or all."""
    return (subjects.infer(zone, pool, ANY), subjects.infer_control(zone, pool, ANY))


def told_by_pool(zone: Zone, pool: str) -> tuple[str, str, str]:
    """What the fleet takes from a pool's account: heartbeats, free slots, and replies to the pool's own attempts."""
    return (
        subjects.heartbeat(zone, pool, ANY),
        subjects.infer_free(zone, pool),
        f"{subjects.attempt_inbox(zone, pool, ANY)}.{ANY}",
    )


def sealed_reply(zone: Zone, pool: str) -> str:
    """What the sealed lane alone takes from a pool's account: replies to its own attempts."""
    return f"{subjects.attempt_inbox(zone, pool, ANY, sealed=True)}.{ANY}"


def told_to_sealed_lane(pool: str) -> tuple[str, str, str]:
    """What the sealed lane takes from the account of a pool of the local zone."""
    heartbeat, free, _ = told_by_pool("local", pool)
    return (heartbeat, free, sealed_reply("local", pool))


def asked_of_vault() -> tuple[str, ...]:
    """
    What a pool with the vault asks of the account that holds it: to write keys, to read the newest value of one, to list
    them, and to make the bucket or to set its bounds.

    A message get reads one message of this one stream; there is no consumer, no purge and no deletion of the stream.
    """
    stream = subjects.bucket_stream(subjects.VAULT_BUCKET)
    return (subjects.key(subjects.VAULT_BUCKET, ">"), *api_subjects(_VAULT_VERBS, (stream,)))


def asked_by_observer(scopes: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What an observer asks of the fleet: what is answered with one message, and what is answered with several."""
    streams = (*map(subjects.events_stream, scopes), *(subjects.bucket_stream(bucket) for bucket in OBSERVER_BUCKETS))
    one = (
        *(subjects.api(ANY, verb) for verb in OBSERVER_VERBS),
        *api_subjects(("STREAM.INFO.{0}", "DIRECT.GET.{0}.>"), streams),
    )
    return one, (DISCOVERY, *api_subjects(("DIRECT.GET.{0}",), streams))


def told_to_observer() -> tuple[str, ...]:
    """
    What the fleet tells an observer.

    Events by their whole form: an export of `events.>` exists, for tenants, and says that each imports its own.
    """
    return (subjects.events(ANY, ANY, _ANY_KIND), *(subjects.key(bucket, ">") for bucket in OBSERVER_BUCKETS))


def api_subjects(verbs: Iterable[str], names: Iterable[str]) -> tuple[str, ...]:
    """The JetStream API's subjects for these verbs, of each of these streams."""
    return tuple(f"{API}.{verb.format(name)}" for name in names for verb in verbs)


def _without_last(subject: str, tokens: int) -> str:
    return ".".join((*subject.split(".")[:-tokens], ">"))
