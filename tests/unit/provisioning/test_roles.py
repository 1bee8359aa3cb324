"""What each role may publish and subscribe to, as data."""

from itertools import product

import pytest

from flotilla.contracts import subjects
from flotilla.provisioning import roles
from flotilla.provisioning.roles import Role


def matches(pattern: str, subject: str) -> bool:
    """Whether a NATS pattern covers a subject; wildcards in the subject are covered by the same or wider ones only."""
    wanted, given = pattern.split("."), subject.split(".")
    for at, part in enumerate(wanted):
        if part == ">":
            return len(given) > at
        if at >= len(given) or given[at] == ">" or part not in ("*", given[at]):
            return False
    return len(wanted) == len(given)


def may_publish(role: Role, subject: str) -> bool:
    return role.publish is None or any(matches(pattern, subject) for pattern in role.publish)


def may_subscribe(role: Role, subject: str) -> bool:
    return role.subscribe is None or any(matches(pattern, subject) for pattern in role.subscribe)


def test_an_orchestrator_without_the_cloud_zone_cannot_reach_a_cloud_lane():
    """The zones of an orchestrator are sealed by its credentials, not by its routing."""
    sealed, open_to_both = roles.orchestrator(zones=("local",)), roles.orchestrator()
    lane, control = subjects.infer("cloud", "p", "classify"), subjects.infer_control("cloud", "p", "r")

    assert may_publish(open_to_both, lane)
    assert may_publish(open_to_both, control)
    assert not may_publish(sealed, lane)
    assert not may_publish(sealed, control)
    assert may_publish(sealed, subjects.infer("local", "p", "classify"))
    assert not may_subscribe(sealed, subjects.attempt_inbox("cloud", "p", "o") + ".t")
    assert may_subscribe(sealed, subjects.attempt_inbox("local", "*", "o") + ".*")


def test_an_orchestrator_of_some_scopes_reads_no_other_scopes_streams():
    """With its scopes named, every JetStream permission names its stream."""
    role = roles.orchestrator(scopes=("acme",))

    assert may_publish(role, "$JS.API.CONSUMER.MSG.NEXT.TASKS_acme.classify_normal")
    assert not may_publish(role, "$JS.API.CONSUMER.MSG.NEXT.TASKS_other.classify_normal")
    assert not may_publish(role, "$JS.API.STREAM.MSG.GET.RESULTS_other")
    assert not may_publish(role, subjects.commit("other", "classify", "t"))
    assert not may_publish(role, subjects.results("other", "classify", "t"))
    assert may_subscribe(role, subjects.ask("acme", ">"))
    assert not may_subscribe(role, subjects.ask("other", ">"))
    assert not may_subscribe(role, subjects.ask("*", ">"))


@pytest.mark.parametrize("verb", ["STREAM.DELETE", "STREAM.PURGE", "STREAM.SNAPSHOT", "STREAM.PEER.REMOVE"])
@pytest.mark.parametrize("scopes", ["*", ("default",)])
def test_no_orchestrator_may_delete_or_purge_a_stream(verb: str, scopes: str):
    """What cannot be undone is left to the admin."""
    role = roles.orchestrator(scopes=scopes)  # pyright: ignore[reportArgumentType]

    assert may_publish(role, "$JS.API.STREAM.UPDATE.TASKS_default")
    assert not may_publish(role, f"$JS.API.{verb}.TASKS_default")


def test_no_two_roles_share_an_inbox():
    """Whoever may subscribe to an inbox reads the replies that arrive there."""
    fleet = [
        roles.orchestrator(),
        roles.observer(),
        *(roles.worker(zone, pool) for zone, pool in product(subjects.ZONES, ("a", "b"))),
    ]

    for one, other in product(fleet, fleet):
        assert (one is other) == may_subscribe(one, f"{other.inbox_prefix}.x.y")


def test_a_worker_publishes_nothing_but_what_its_job_needs():
    """The whole list, so that a longer one is a decision."""
    role = roles.worker("cloud", "anthropic")

    assert role.publish == (
        "heartbeat.cloud.anthropic.*",
        "infer-free.cloud.anthropic",
        "_INBOX.attempts.cloud.anthropic.*.*",
    )
    assert role.subscribe is not None
    assert role.subscribe[:3] == (
        "infer.cloud.anthropic.*",
        "infer-control.cloud.anthropic.*",
        "_INBOX.cloud.anthropic.>",
    )
    assert {subject.split(".")[0] for subject in role.subscribe[3:]} == {"$SRV"}
    assert role.responses is not None
    assert role.responses.max_messages == 1


def test_a_worker_with_the_vault_asks_for_its_bucket_and_no_more():
    """The whole list again: nothing that reads a stream by a consumer, removes one, or names another."""
    plain, role = roles.worker("local", "redaction"), roles.worker("local", "redaction", vault=True)

    assert plain.publish is not None
    assert role.publish == (
        *plain.publish,
        "$KV.vault.>",
        "$JS.API.STREAM.INFO.KV_vault",
        "$JS.API.STREAM.CREATE.KV_vault",
        "$JS.API.STREAM.UPDATE.KV_vault",
        "$JS.API.STREAM.MSG.GET.KV_vault",
    )
    assert role.subscribe == plain.subscribe


def test_a_tenant_has_the_five_ways_and_its_inboxes():
    """Nothing else exists for a tenant."""
    role = roles.tenant("acme")

    assert role.publish == ("tasks.>", "ask.>", "api.>")
    assert role.subscribe == ("results.>", "events.>", "_INBOX.>")
    assert role.inbox_prefix == "_INBOX"


def test_an_observer_asks_only_what_holds_no_document():
    """Results, dead letters and the blackboard hold documents."""
    role = roles.observer()

    allowed = {verb for verb in subjects.API_VERBS if may_publish(role, subjects.api("default", verb))}

    assert allowed == {"status", "replicas", "stats", "explain"}
