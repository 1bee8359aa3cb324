"""What a worker with approvers lets pass, and what it says of the rest."""

import msgspec
import pytest

from flotilla.capabilities.errors import AttemptError
from flotilla.contracts.approvals import Grant, payload_digest
from flotilla.contracts.attempts import AttemptOptions, InferRequest, decode_request, encode
from flotilla.contracts.clock import unix_ms
from flotilla.contracts.errors import SettingsError
from flotilla.contracts.failures import RULES, ErrorKind, FailureKind
from flotilla.fabric.approver_keys import ApproverKey, new_approver_seed
from flotilla.inference.approval_check import ApprovalCheck
from flotilla.inference.settings import WorkerSettings

KEY, STRANGER = ApproverKey(new_approver_seed()), ApproverKey(new_approver_seed())
BODY = b'{"document":"a contract"}'
CHECK = ApprovalCheck(approvers=frozenset({KEY.public_key}), capabilities=None, zone="cloud")


def grant(key: ApproverKey = KEY, *, body: bytes = BODY, lives_ms: int = 3_600_000) -> str:
    """A grant for the body in the cloud."""
    return key.sign(
        Grant(
            scope="acme",
            capability="summarize",
            data_class="internal",
            zones=["cloud"],
            input_sha256=payload_digest(body),
            expires_unix_ms=unix_ms() + lives_ms,
            nonce="0" * 32,
            approver=key.public_key,
        )
    )


def request(approval: str | None, *, scope: str | None = "acme", capability: str = "summarize") -> InferRequest:
    """An attempt as a worker has it, which has been on the wire."""
    return decode_request(
        encode(
            InferRequest(
                task="t",
                attempt="a.1",
                capability=capability,
                model="m",
                input=msgspec.Raw(BODY),
                options=AttemptOptions(scope=scope, approval=approval),
                deadline_unix_ms=unix_ms() + 60_000,
                data_class="internal",
            )
        )
    )


def test_an_input_that_was_granted_passes():
    """
    And once more: a retry needs the same grant.
    """
    granted = request(grant())

    CHECK.check(granted)
    CHECK.check(granted)


@pytest.mark.parametrize(
    ("approval", "why"),
    [
        pytest.param(None, "there is none", id="none"),
        pytest.param("", "cannot be read", id="empty"),
        pytest.param(grant()[:-4], "cannot be read", id="cut"),
        pytest.param(grant(STRANGER), "nobody whom this worker knows", id="stranger"),
        pytest.param(
            grant().partition(".")[0] + "." + grant(STRANGER).partition(".")[2],
            "its signature is not the approver's",
            id="forged",
        ),
        pytest.param(grant(body=b'{"document":"another"}'), "it is for another input", id="edited"),
        pytest.param(grant(lives_ms=-1), "it has expired", id="expired"),
    ],
)
def test_an_input_that_was_not_granted_is_refused_and_told_why(approval: str | None, why: str):
    """
    Without a word of the input.
    """
    with pytest.raises(AttemptError, match=why) as refused:
        CHECK.check(request(approval))

    assert refused.value.kind is FailureKind.NOT_APPROVED
    assert "contract" not in refused.value.message


@pytest.mark.parametrize("scope", [None, "umbrella"])
def test_a_grant_is_good_in_its_scope_alone(scope: str | None):
    """
    One that is not told counts as another.
    """
    with pytest.raises(AttemptError, match="for the scope acme"):
        CHECK.check(request(grant(), scope=scope))


def test_only_the_capabilities_that_are_named_need_grants():
    """
    Where some are named.
    """
    check = ApprovalCheck(approvers=frozenset({KEY.public_key}), capabilities=frozenset({"summarize"}), zone="cloud")

    check.check(request(None, capability="classify"))
    with pytest.raises(AttemptError):
        check.check(request(None))


def test_what_one_worker_keeps_back_is_not_tried_elsewhere():
    """
    Another may ask for no grant.
    """
    rule = RULES[FailureKind.NOT_APPROVED]

    assert (rule.next_route, rule.same_route_max, rule.passes) == (False, 0, False)
    assert rule.fails_as is ErrorKind.APPROVAL_REQUIRED


def settings(approvers: str, capabilities: str = "") -> WorkerSettings:
    """Of a cloud worker."""
    return WorkerSettings(
        nats_url="nats://127.0.0.1:4222",
        zone="cloud",
        pool="p",
        provider="noop",
        approvers=approvers,
        approval_capabilities=capabilities,
    )


def test_a_worker_that_is_told_no_approver_asks_for_no_grant():
    """
    Nothing is looked at.
    """
    assert settings("").approvals() is None
    assert settings(f"{KEY.public_key}, {STRANGER.public_key}").approvals() is not None


@pytest.mark.parametrize(
    ("approvers", "capabilities", "named"),
    [
        pytest.param(" ", "", "FLOTILLA_APPROVERS", id="blank"),
        pytest.param(",", "", "FLOTILLA_APPROVERS", id="comma"),
        pytest.param("A" * 56, "", "FLOTILLA_APPROVERS", id="no point of the curve"),
        pytest.param(KEY.public_key + ",U", "", "FLOTILLA_APPROVERS", id="one of two"),
        pytest.param(KEY.public_key, "Not A Name", "FLOTILLA_APPROVAL_CAPABILITIES", id="no name"),
        pytest.param(KEY.public_key, ",", "FLOTILLA_APPROVAL_CAPABILITIES", id="no capability"),
        pytest.param("", "summarize", "FLOTILLA_APPROVAL_CAPABILITIES", id="no key"),
    ],
)
def test_a_setting_that_would_let_pass_what_was_meant_to_be_kept_stops_the_worker(
    approvers: str, capabilities: str, named: str
):
    """
    Its error names the setting.
    """
    with pytest.raises(SettingsError, match=named):
        settings(approvers, capabilities).approvals()
