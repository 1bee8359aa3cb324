"""
Proof at the last door: what nobody approved is not sent to the provider, whatever an orchestrator says.

A worker that is told approvers' public keys looks, before its backend is asked, for a grant of one of them over the very
input that it holds.
"""

from collections.abc import Set as AbstractSet
from typing import Final

from flotilla.capabilities.errors import AttemptError
from flotilla.contracts.approvals import Payload, flaw_of, read_grant
from flotilla.contracts.attempts import InferRequest
from flotilla.contracts.clock import unix_ms
from flotilla.contracts.errors import DecodeFailedError
from flotilla.contracts.failures import FailureKind
from flotilla.contracts.subjects import Zone
from flotilla.fabric.approver_keys import is_signed

APPROVERS_MAX: Final = 64


class ApprovalCheck:
    """Lets attempts pass whose input was granted."""

    def __init__(self, *, approvers: AbstractSet[str], capabilities: AbstractSet[str] | None, zone: Zone) -> None:
        """
        Ask for grants.

        Args:
            approvers: Public keys.
            capabilities: Those that need a grant; None for all.
            zone: Where this worker is.
        """
        self._approvers = approvers
        self._capabilities = capabilities
        self._zone: Zone = zone

    def check(self, request: InferRequest) -> None:
        """
        Let an attempt pass.

        Raises:
            AttemptError: `not_approved`: it has no grant that allows it; says why, and nothing of the input.
        """
        if self._capabilities is not None and request.capability not in self._capabilities:
            return
        text = request.options.approval
        if text is None:
            raise _refused("there is none: have an approver sign this input, and send the grant along (--approval)")
        try:
            given = read_grant(text)
        except DecodeFailedError as error:
            raise _refused("what came in its place cannot be read as one") from error
        if given.grant.approver not in self._approvers:
            raise _refused("it is signed by nobody whom this worker knows as an approver")
        if not is_signed(given):
            raise _refused("its signature is not the approver's")
        payload = Payload(
            scope=request.options.scope or "",
            capability=request.capability,
            data_class=request.data_class,
            zone=self._zone,
            input=bytes(request.input),
        )
        flaw = flaw_of(given.grant, payload, now_unix_ms=unix_ms())
        if flaw is not None:
            raise _refused(flaw)


def _refused(why: str) -> AttemptError:
    return AttemptError(FailureKind.NOT_APPROVED, f"this worker needs a grant for the task, and {why}")
