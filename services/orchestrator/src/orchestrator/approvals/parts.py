"""What belongs to approvals, put together."""

from typing import Final

from flotilla.fabric.inbox import Requests
from orchestrator.approvals.gate import Gate
from orchestrator.approvals.request_store import RequestStore
from orchestrator.approvals.suspensions import Suspensions
from orchestrator.approvals.watch import ApprovalsWatch
from orchestrator.reporting.events import Events
from orchestrator.reporting.metrics import OrchestratorMetrics


class Approvals:
    """
    The parts of one orchestrator.

    Attributes:
        store: Keeps requests.
        suspensions: Keep the tasks that wait for them.
        watch: Follows requests; to be started.
        gate: Where tasks stand.
    """

    def __init__(
        self,
        requests: Requests,
        events: Events,
        scopes: tuple[str, ...],
        metrics: OrchestratorMetrics,
        *,
        payload_bytes_max: int,
    ) -> None:
        self.store: Final = RequestStore(requests, metrics.audit_line)
        self.suspensions: Final = Suspensions(requests, payload_bytes_max=payload_bytes_max)
        self.watch: Final = ApprovalsWatch(requests, self.suspensions, scopes)
        metrics.gauges.approvals = self.watch
        self.gate: Final = Gate(self.store, events, self.watch.pending)
