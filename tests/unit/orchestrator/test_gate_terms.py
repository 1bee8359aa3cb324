"""On which terms gates open where a pipeline's file, the policy or both have one, and where what they let through may go."""

import msgspec
import pytest

from flotilla.contracts.approval_requests import GatedInput, new_record
from flotilla.contracts.headers import DataClass
from flotilla.contracts.policy_rules import PolicyGate
from flotilla.contracts.redaction import LOCAL_CAPABILITIES
from flotilla.contracts.subjects import Zone
from flotilla.pipelines.definition import Approval
from orchestrator.approvals.terms import Terms, terms_of, terms_of_step, zones_of

AWAY: frozenset[Zone] = frozenset({"cloud"})
LAX_STEP = Approval(group="a", four_eyes=False, expires_s=60)
STRICT_STEP = Approval(group="a", four_eyes=True, expires_s=3600)
LAX_POLICY = PolicyGate(four_eyes=False, expires_s=60)
STRICT_POLICY = PolicyGate(group="b", four_eyes=True, expires_s=3600, zones=AWAY)


@pytest.mark.parametrize(
    ("expected", "own", "policy"),
    [
        (None, None, None),
        (Terms(group="a", four_eyes=False, expires_s=60), LAX_STEP, None),
        (Terms(group="b", four_eyes=True, expires_s=3600, zones=AWAY), None, STRICT_POLICY),
        (Terms(group="b", four_eyes=True, expires_s=60), LAX_STEP, STRICT_POLICY),
        (Terms(group="a", four_eyes=True, expires_s=60), STRICT_STEP, LAX_POLICY),
        (Terms(group="a", four_eyes=False, expires_s=60), LAX_STEP, LAX_POLICY),
    ],
)
def test_one_decision_opens_both_gates_of_a_step(
    expected: Terms | None, own: Approval | None, policy: PolicyGate | None
) -> None:
    """
    So it must do for the stricter one: the shorter time, four eyes if either wants them, the policy's group, all zones.
    """
    assert expected == terms_of_step(own, policy)


def test_a_gate_of_the_policy_alone() -> None:
    """
    What it says, unchanged.
    """
    assert Terms(group="b", four_eyes=True, expires_s=3600, zones=AWAY) == terms_of(STRICT_POLICY)
    assert Terms(four_eyes=False, expires_s=60) == terms_of(LAX_POLICY)


@pytest.mark.parametrize(
    ("is_local", "capability", "data_class"),
    [
        (False, "classify", "public"),
        (False, "classify", "internal"),
        (True, "classify", "restricted"),
        *((True, capability, "public") for capability in sorted(LOCAL_CAPABILITIES)),
    ],
)
def test_an_approver_is_told_that_data_may_leave_wherever_it_may(
    is_local: bool,  # noqa: FBT001
    capability: str,
    data_class: DataClass,
) -> None:
    """
    Never that it stays where its class lets it go away.
    """
    assert (["local"] if is_local else ["cloud", "local"]) == zones_of(capability, data_class)


@pytest.mark.parametrize(
    ("group", "four_eyes", "asked_group", "asked_four_eyes", "stricter"),
    [
        ("", False, "", False, False),
        ("", True, "", False, True),
        ("", True, "", True, False),
        ("", False, "", True, False),
        ("a", False, "", False, True),
        ("a", False, "b", False, True),
        ("a", False, "a", False, False),
        ("", False, "a", False, False),
        ("a", True, "a", False, True),
        ("a", True, "a", True, False),
        ("a", False, "a", True, False),
    ],
)
def test_a_request_that_asked_for_less_than_the_terms_of_now_is_made_again(
    group: str,
    four_eyes: bool,  # noqa: FBT001
    asked_group: str,
    asked_four_eyes: bool,  # noqa: FBT001
    stricter: bool,  # noqa: FBT001
) -> None:
    """
    For no group or another one, or for two eyes where four are wanted.
    """
    gated = GatedInput(
        scope="acme", task="t", capability="classify", data_class="internal", zones=["local"], input_sha256="a" * 64
    )
    made = new_record(gated, submitted_by="alice", input_bytes=2, now_unix_ms=1, expires_unix_ms=2)
    record = msgspec.structs.replace(made, group=asked_group, four_eyes=asked_four_eyes)

    assert stricter is Terms(group=group, four_eyes=four_eyes, expires_s=60).are_stricter_than(record)
