"""The policy's gates: read with every fault, filled in, and before which tasks they stand."""

import pytest

from flotilla.contracts.errors import PolicyError
from flotilla.contracts.headers import DataClass
from flotilla.contracts.policy import FORMAT, FORMAT_PLAIN
from flotilla.contracts.policy_rules import PolicyGate
from flotilla.routing.compiled import CompiledPolicy
from flotilla.routing.policy_check import parse_policy, warnings
from flotilla.routing.types import TaskView

GATED = """
[capabilities.synthesize]
approval = { zones = ["cloud"], data_classes = ["internal", "restricted"], expires_s = 60 }
"""
KEY = "A" + "B" * 55


def gate_of(toml: str, capability: str, data_class: DataClass, pool: str | None = None) -> PolicyGate | None:
    """The gate before a task."""
    view = TaskView(capability=capability, scope="default", data_class=data_class, wanted_pool=pool)
    return CompiledPolicy(parse_policy(toml)).gate_of(view)


@pytest.mark.parametrize(
    ("capability", "data_class", "stands"),
    [
        ("synthesize", "internal", True),
        ("synthesize", "public", False),
        ("synthesize", "restricted", False),
        ("summarize", "internal", False),
    ],
)
def test_a_gate_stands_before_the_tasks_that_it_is_for(capability: str, data_class: DataClass, *, stands: bool):
    """
    By their class, and by the zones that the class may enter: restricted data enters no cloud.
    """
    assert stands == (gate_of(GATED, capability, data_class) is not None)


def test_a_wish_for_a_route_passes_no_gate():
    """
    Which zone a pool is in is known to a live fleet alone.
    """
    assert gate_of(GATED, "synthesize", "internal", pool="home") is not None


def test_what_a_gate_leaves_out_is_filled_in():
    """
    All zones and classes, a day, four eyes, anybody who may approve; an entry's gate takes the place of the default's.
    """
    toml = "[default.approval]\n[capabilities.classify.approval]\nfour_eyes = false\n"

    assert PolicyGate() == gate_of(toml, "summarize", "restricted")
    assert PolicyGate(four_eyes=False) == gate_of(toml, "classify", "public")


@pytest.mark.parametrize(
    ("pipeline", "data_class", "gate"),
    [
        ("named", "restricted", PolicyGate(data_classes=frozenset({"restricted"}), expires_s=60)),
        ("named", "internal", None),
        ("other", "restricted", None),
        ("ruled", "restricted", None),
    ],
)
def test_a_gate_stands_before_the_runs_of_a_pipeline_that_it_names(
    pipeline: str, data_class: DataClass, gate: PolicyGate | None
):
    """
    Before every zone, whatever the input may enter; one by default stands before the steps alone.
    """
    toml = """
[default]
approval = { four_eyes = false }
[capabilities.ruled]
attempt_timeout_s = 1
[capabilities.named]
approval = { zones = ["cloud"], data_classes = ["restricted"], expires_s = 60 }
"""
    assert gate == CompiledPolicy(parse_policy(toml)).gate_of_run(pipeline, data_class)


@pytest.mark.parametrize(
    ("toml", "fault"),
    [
        ('approval = { zones = ["moon"] }', "approval.zones[0]"),
        ("approval = { zones = [] }", "approval.zones"),
        ('approval = { data_classes = ["secret"] }', "approval.data_classes[0]"),
        ("approval = { expires_s = 0 }", "approval.expires_s"),
        ('approval = { when = "true" }', "approval.when: unknown key"),
        ('approval = { group = "privacy" }', "approval.group: approvers has no group privacy"),
        ("approval = true", "approval"),
    ],
)
def test_every_fault_of_a_gate_has_its_key(toml: str, fault: str):
    """
    A gate that is not understood must not be taken for none.
    """
    with pytest.raises(PolicyError) as raised:
        parse_policy(f"[capabilities.classify]\n{toml}\n")

    assert [f"capabilities.classify.{fault}"] == [
        each[: len(f"capabilities.classify.{fault}")] for each in raised.value.faults
    ]


def test_a_group_has_keys():
    """
    And nothing else.
    """
    policy = parse_policy(
        f'[approvers]\nprivacy = ["{KEY}"]\n[capabilities.classify]\napproval = {{ group = "privacy" }}'
    )

    assert {"privacy": [KEY]} == policy.approvers
    with pytest.raises(PolicyError, match=r"approvers\.privacy\[0\]"):
        parse_policy('[approvers]\nprivacy = ["ann"]')


@pytest.mark.parametrize(
    ("toml", "format_needed"),
    [
        ("", FORMAT_PLAIN),
        ("[capabilities.classify]\nstrategy = 'cheapest'", FORMAT_PLAIN),
        (GATED, FORMAT),
        ("[default.approval]", FORMAT),
        (f'[approvers]\nprivacy = ["{KEY}"]', FORMAT),
    ],
)
def test_only_a_policy_with_gates_needs_readers_that_know_them(toml: str, format_needed: int):
    """
    An orchestrator of an earlier version would pass them over.
    """
    assert format_needed == parse_policy(toml).format_needed


def test_a_gate_before_nothing_is_a_warning():
    """
    It may be a mistake.
    """
    policy = parse_policy('[capabilities.classify]\napproval = { zones = ["cloud"], data_classes = ["restricted"] }')

    assert ["capabilities.classify.approval: stands before nothing: restricted data does not enter the cloud zone"] == (
        warnings(policy, ["local"], ["classify"])
    )
