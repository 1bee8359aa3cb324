"""
What a worker measures, under the names of the OpenTelemetry GenAI conventions where they have one.

https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-metrics/
"""

from collections.abc import Sequence
from typing import Final

from prometheus_client.registry import CollectorRegistry

from flotilla.chassis.gen_ai import operation_of
from flotilla.chassis.metrics import OTHER, TOKENS, Counter, Gauge, Histogram, Sample, registry_of
from flotilla.contracts.attempts import Failed, Finished
from flotilla.contracts.presence import ModelCard
from flotilla.contracts.subjects import Zone
from flotilla.fabric.slots import ActiveAttempt, Slots

_LABELS: Final = ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model", "error_type")
_TOKEN_LABELS: Final = ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model", "gen_ai_token_type")


class WorkerMetrics:
    """
    Counts the attempts of one replica; `lane` is set once it serves.

    Capabilities and models that the replica does not announce count as `other`: a request may name anything.
    """

    def __init__(self, *, zone: Zone, pool: str, provider: str, models: Sequence[ModelCard]) -> None:
        self._models = frozenset(model.name for model in models)
        self._capabilities = frozenset(name for model in models for name in model.capabilities)
        self._zone: Zone = zone
        self._pool = pool
        self._provider = provider
        self.lane: Slots | None = None
        self._duration_s: Final = Histogram(
            "gen_ai_client_operation_duration_seconds", "Of one attempt, repair included.", _LABELS
        )
        self._tokens: Final = Histogram(
            "gen_ai_client_token_usage", "Tokens of one attempt.", _TOKEN_LABELS, bounds=TOKENS
        )
        self._attempts: Final = Counter(
            "flotilla_worker_attempts_total", "Attempts answered.", ("capability", "outcome")
        )
        self._cost_usd: Final = Counter(
            "flotilla_worker_cost_usd_total", "By the public price list, in US dollars.", ("gen_ai_request_model",)
        )
        self._unpriced: Final = Counter(
            "flotilla_worker_unpriced_attempts_total", "Attempts whose cost is not known.", ("gen_ai_request_model",)
        )
        self.registry: Final[CollectorRegistry] = registry_of(
            self._duration_s,
            self._tokens,
            self._attempts,
            self._cost_usd,
            self._unpriced,
            Gauge("flotilla_slots", "Slots of this replica.", ("zone", "pool", "state"), self._slots),
        )

    def ended(self, held: ActiveAttempt, answer: Finished | Failed, elapsed_s: float) -> None:
        """An attempt has its last word."""
        request = held.request
        operation = operation_of(request.capability)
        model = request.model if request.model in self._models else OTHER
        capability = request.capability if request.capability in self._capabilities else OTHER
        outcome = "" if isinstance(answer, Finished) else answer.kind.value
        self._duration_s.add((operation, self._provider, model, outcome), elapsed_s)
        self._attempts.add((capability, outcome or "ok"))
        usage = answer.usage
        if usage.cost_usd is None:
            self._unpriced.add((model,))
        if usage.input_tokens or usage.output_tokens:
            self._tokens.add((operation, self._provider, model, "input"), usage.input_tokens)
            self._tokens.add((operation, self._provider, model, "output"), usage.output_tokens)
            self._cost_usd.add((model,), usage.cost_usd or 0.0)

    def _slots(self) -> list[Sample]:
        lane = self.lane
        if lane is None:
            return []
        return [
            ((self._zone, self._pool, "busy"), lane.busy),
            ((self._zone, self._pool, "free"), max(0, lane.slots - lane.busy)),
        ]
