"""Which tasks have a part in the cache, what a policy may say of it, and how long anybody waits for another's answer."""

import time

import pytest

from flotilla.contracts.errors import PolicyError
from flotilla.contracts.headers import Cache, DataClass, TaskOptions
from flotilla.contracts.policy import CachedTasks
from flotilla.contracts.policy_rules import CACHE_TTL_S_DEFAULT, CacheRules, Rules
from flotilla.routing.compiled import CompiledPolicy
from flotilla.routing.policy_check import parse_policy
from orchestrator.caching.executor import OWN_TIME_S_MAX, patience_s
from orchestrator.caching.rules import CachePlan, plan_for, wants
from orchestrator.state.tasks import Task


def task(
    cache: Cache | None = "use",
    *,
    data_class: DataClass = "internal",
    capability: str = "classify",
    approval: str | None = None,
    deadline_ms: int = 1000,
) -> Task:
    """A task that asks for it."""
    return Task(
        task_id="t",
        scope="default",
        capability=capability,
        priority="normal",
        data_class=data_class,
        body=b"{}",
        options=TaskOptions(cache=cache, approval=approval),
        accepted_unix_ms=round(time.time() * 1000),
        deadline_ms=deadline_ms,
        durable=False,
    )


@pytest.mark.parametrize(
    ("tasks", "asked", "wanted"),
    [
        ("asked", None, False),
        ("asked", "off", False),
        ("asked", "use", True),
        ("asked", "refresh", True),
        ("all", None, True),
        ("all", "off", False),
        ("all", "use", True),
        ("none", None, False),
        ("none", "use", False),
        ("none", "refresh", False),
    ],
)
def test_the_task_and_the_policy_decide_together(tasks: CachedTasks, asked: Cache | None, wanted: bool):  # noqa: FBT001
    """
    A task may always stay out of it; the policy may keep all out.
    """
    assert wanted is wants(task(asked), CacheRules(tasks=tasks))


def test_restricted_tasks_only_where_the_policy_says_so():
    """
    Whatever their headers say.
    """
    restricted = task(data_class="restricted")

    assert plan_for(restricted, CacheRules(tasks="all")) is None
    assert CachePlan(refresh=False, ttl_s=5) == plan_for(restricted, CacheRules(ttl_s=5, restricted=True))


@pytest.mark.parametrize(
    "never",
    [task(approval="g"), *(task(capability=name) for name in ("redact", "restore", "vault"))],
    ids=["grant", "redact", "restore", "vault"],
)
def test_some_tasks_have_no_part_in_it_whatever_anybody_says(never: Task):
    """
    Those with a grant, and those of vaults.
    """
    assert plan_for(never, CacheRules(tasks="all", restricted=True)) is None


def test_a_table_in_the_policy_means_all_tasks_and_inherits_from_the_default():
    """
    What it leaves out is the default's, then the wire's.
    """
    policy = CompiledPolicy(
        parse_policy(
            '[default]\ncache = { ttl_s = 60, tasks = "asked" }\n'
            "[capabilities.classify]\ncache = { restricted = true }\n"
            '[capabilities.chat]\ncache = { tasks = "all" }\n'
            '[capabilities.reason]\nstrategy = "failover"\n'
        )
    )
    alone = CompiledPolicy(
        parse_policy("[capabilities.classify]\ncache = {}\n[capabilities.chat]\ncache = { ttl_s = 5 }")
    )

    assert CacheRules(tasks="asked", ttl_s=60, restricted=True) == policy.rules_of("classify").cache
    assert CacheRules(tasks="all", ttl_s=60) == policy.rules_of("chat").cache
    assert CacheRules(tasks="asked", ttl_s=60) == policy.rules_of("reason").cache
    assert CacheRules(tasks="asked", ttl_s=60) == policy.rules_of("another").cache
    assert CacheRules(tasks="all", ttl_s=CACHE_TTL_S_DEFAULT) == alone.rules_of("classify").cache
    assert CacheRules(tasks="all", ttl_s=5) == alone.rules_of("chat").cache
    assert [True, True, False] == [policy.caches, alone.caches, CompiledPolicy().caches]


@pytest.mark.parametrize(
    ("table", "fault"),
    [
        ("[capabilities.classify]\ncache = { ttl_s = 0 }", "capabilities.classify.cache.ttl_s: "),
        ("[capabilities.classify]\ncache = { ttl_s = 1.5 }", "capabilities.classify.cache.ttl_s: "),
        ("[capabilities.classify]\ncache = { ttl_s = 604801 }", "capabilities.classify.cache.ttl_s: "),
        ('[default]\ncache = { tasks = "some" }', "default.cache.tasks: "),
        ("[default]\ncache = { ttl = 5 }", "default.cache.ttl: unknown key (did you mean ttl_s?)"),
        (
            "[capabilities.restore]\ncache = { ttl_s = 5 }",
            "capabilities.restore.cache: answers of restore are never kept",
        ),
    ],
)
def test_faults_of_the_table_are_named(table: str, fault: str):
    """
    Before such a policy is put in force.
    """
    with pytest.raises(PolicyError) as refused:
        parse_policy(table)

    assert str(refused.value.args).find(fault) >= 0


def test_a_task_keeps_time_for_a_call_of_its_own():
    """
    A quarter of what it has left, and not more than a bound; the policy's own end counts too.
    """
    short, long = task(deadline_ms=8_000), task(deadline_ms=3_600_000)

    assert 6.0 == pytest.approx(patience_s(short, Rules(), short.accepted_at))
    assert 3600 - OWN_TIME_S_MAX == pytest.approx(patience_s(long, Rules(), long.accepted_at))
    assert 3.0 == pytest.approx(patience_s(long, Rules(total_timeout_s=4.0), long.accepted_at))
    assert 0.0 == patience_s(short, Rules(), short.deadline_at + 1)
