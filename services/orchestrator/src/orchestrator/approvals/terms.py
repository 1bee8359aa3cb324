"""On which terms a gate opens, and where what it lets through may go. Pure."""

from msgspec import Struct

from flotilla.contracts.approval_requests import ApprovalRecord
from flotilla.contracts.headers import DataClass
from flotilla.contracts.policy_rules import PolicyGate
from flotilla.contracts.redaction import LOCAL_CAPABILITIES
from flotilla.contracts.subjects import Zone
from flotilla.pipelines.definition import Approval
from orchestrator.execution.shut_zones import ALL_ZONES


class Terms(Struct, frozen=True, kw_only=True):
    """
    On which terms a gate opens.

    Attributes:
        group: Of the approvers who may decide; empty for all of the scope.
        expires_s: How long a request waits, within the task's deadline.
        zones: Before which it stands: a task that goes elsewhere does not come to it.
    """

    group: str = ""
    four_eyes: bool = True
    expires_s: float
    zones: frozenset[Zone] = ALL_ZONES

    def are_stricter_than(self, record: ApprovalRecord) -> bool:
        """Whether a request that was made before these were asks for less: for no group, for another, or for two eyes."""
        return (self.four_eyes and not record.four_eyes) or self.group not in ("", record.group)


def terms_of(policy: PolicyGate) -> Terms:
    """Of a gate that the policy has."""
    return Terms(group=policy.group, four_eyes=policy.four_eyes, expires_s=policy.expires_s, zones=policy.zones)


def terms_of_step(own: Approval | None, policy: PolicyGate | None) -> Terms | None:
    """
    Of a step, whose file may have a gate, and the policy one for its capability; None where neither has.

    One decision opens both: the shorter time holds, four eyes if either wants them, and the policy's group where it names
    one, since whoever writes files may not weaken it. A gate of the file stands before every zone.
    """
    if own is None:
        return None if policy is None else terms_of(policy)
    if policy is None:
        return Terms(group=own.group, four_eyes=own.four_eyes, expires_s=own.expires_s)
    return Terms(
        group=policy.group or own.group,
        four_eyes=policy.four_eyes or own.four_eyes,
        expires_s=min(policy.expires_s, own.expires_s),
    )


def zones_of(capability: str, data_class: DataClass) -> list[Zone]:
    """Where a task may go by its class, in order, whatever the policy says of routes."""
    is_local = data_class == "restricted" or capability in LOCAL_CAPABILITIES
    return ["local"] if is_local else ["cloud", "local"]
