"""The key of an answer: the same for the same question, another for any other."""

from typing import Any

import msgspec
import pytest

from flotilla.capabilities.catalogue import Catalogue
from flotilla.contracts.headers import TaskOptions
from flotilla.contracts.policy import RouteEntry
from flotilla.contracts.policy_rules import CacheRules, Guards, Rules
from orchestrator.caching.keys import key_of
from orchestrator.state.tasks import Task

CATALOGUE = Catalogue.load()
SUMMARIZE = b'{"document":"a","style":null}'
RULES = Rules()


def task(body: bytes = SUMMARIZE, *, options: TaskOptions | None = None, **other: Any) -> Task:
    """A task, and what of it is otherwise."""
    given: dict[str, Any] = {
        "task_id": "t",
        "scope": "default",
        "capability": "summarize",
        "priority": "normal",
        "data_class": "internal",
        "accepted_unix_ms": 0,
        "deadline_ms": 1000,
        "durable": False,
        **other,
    }
    return Task(body=body, options=options or TaskOptions(), **given)


def key(of: Task, rules: Rules = RULES, models: frozenset[str] | None = None) -> str:
    return key_of(of, CATALOGUE.get(of.capability), rules, models)


@pytest.mark.parametrize(
    "same",
    [
        task(b' { "document" : "\\u0061" } '),
        task(b'{"a_later_field":1,"document":"a"}'),
        task(task_id="another", priority="high", deadline_ms=5, durable=True),
        task(options=TaskOptions(cache="use", stream=True, deadline_ms=7, traceparent="x")),
    ],
    ids=["spaces, escapes, defaults", "a field that nobody reads", "how it came in", "what does not change the answer"],
)
def test_the_same_question_has_the_same_key(same: Task):
    """
    However it is written, whoever sent it, and however it came in.
    """
    assert key(task()) == key(same)


@pytest.mark.parametrize(
    "other",
    [
        task(b'{"document":"b"}'),
        task(b'{"document":"a","max_words":5}'),
        task(scope="acme"),
        task(data_class="restricted"),
        task(options=TaskOptions(route_pool="p")),
        task(options=TaskOptions(route_pool="p", route_model="m")),
        task(options=TaskOptions(sticky="k")),
        task(options=TaskOptions(labels={"team": "x"})),
        task(b'{"document":"a"}', capability="announced-only"),
    ],
    ids=["input", "field", "scope", "class", "pool", "model", "sticky", "label", "capability"],
)
def test_another_question_has_another_key(other: Task):
    """
    Whatever may be answered otherwise.
    """
    assert key(task()) != key(other)


def test_what_a_label_says_does_not_change_the_question():
    """
    Routing looks at labels' names; their values go along to events and results.
    """
    assert key(task(options=TaskOptions(labels={"job": "1"}))) == key(task(options=TaskOptions(labels={"job": "2"})))


def test_the_policy_of_where_tasks_go_is_a_part_of_the_question_and_its_timeouts_are_not():
    """
    Also the models that a capability is held to.
    """
    timed = msgspec.structs.replace(RULES, guards=Guards(p95_ms=5.0), attempt_timeout_s=3.0, cache=CacheRules(ttl_s=1))
    routed = msgspec.structs.replace(RULES, routes=(RouteEntry(pool="p"),))
    dear = msgspec.structs.replace(RULES, cost_usd_max=1.0)

    assert key(task()) == key(task(), timed)
    assert 4 == len({key(task()), key(task(), routed), key(task(), dear), key(task(), models=frozenset({"m"}))})


def test_an_input_that_cannot_be_read_again_is_taken_as_it_is():
    """
    Of a capability that only its workers know: two numbers beyond all measure are two questions.
    """
    huge, larger = (b'{"n":1' + b"0" * length + b"}" for length in (5_000, 5_001))

    assert key(task(huge, capability="x")) == key(task(huge, capability="x"))
    assert key(task(huge, capability="x")) != key(task(larger, capability="x"))
