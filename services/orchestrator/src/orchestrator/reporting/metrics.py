"""What an orchestrator measures. Labels are bounded: known capabilities, pools and models that were announced."""

from typing import Final

from prometheus_client.registry import CollectorRegistry

from flotilla.chassis.metrics import Counter, Histogram, registry_of
from flotilla.contracts.attempts import Failed, Finished
from flotilla.contracts.results import Result
from flotilla.routing.recorder import NO_USAGE
from flotilla.routing.router import PolicyRouter
from orchestrator.reporting.gauges import OrchestratorGauges
from orchestrator.reporting.pipeline_metrics import PipelineMetrics
from orchestrator.state.attempt import Attempt
from orchestrator.state.fleet import Fleet
from orchestrator.state.tasks import Task


class OrchestratorMetrics:
    """
    Counts what becomes of tasks and attempts.

    Attributes:
        pipelines: Of runs and steps.
        gauges: What is read when Prometheus asks.
    """

    def __init__(self, fleet: Fleet, router: PolicyRouter) -> None:
        self.pipelines: Final = PipelineMetrics()
        self.gauges: Final = OrchestratorGauges(fleet, router)
        self._tasks: Final = Counter(
            "flotilla_tasks_total", "Tasks that have their result.", ("capability", "path", "outcome")
        )
        self._escalations: Final = Counter(
            "flotilla_escalations_total",
            "Tasks of which an answer was not sure enough, or not enough agreed.",
            ("capability",),
        )
        self._hedges: Final = Counter(
            "flotilla_hedges_total", "Second attempts beside slow ones, by how they ended.", ("capability", "outcome")
        )
        self._shadows: Final = Counter(
            "flotilla_shadow_comparisons_total",
            "Tasks that a shadow had too, by what became of its answer; `skipped` were not sent.",
            ("capability", "pool", "model", "outcome"),
        )
        self._shadow_cost_usd: Final = Counter(
            "flotilla_shadow_cost_usd_total",
            "What of `flotilla_cost_usd_total` shadows cost, in US dollars.",
            ("capability", "pool", "model"),
        )
        self._task_s: Final = Histogram(
            "flotilla_task_duration_seconds", "From acceptance to the result.", ("capability", "path")
        )
        self._overhead_s: Final = Histogram(
            "flotilla_overhead_seconds", "Of a task that went well at once: all but the model's time.", ("capability",)
        )
        self._attempts: Final = Counter(
            "flotilla_attempts_total",
            "Attempts that had a slot, by how they ended.",
            ("pool", "model", "capability", "outcome"),
        )
        self._attempt_s: Final = Histogram(
            "flotilla_attempt_duration_seconds", "From the request to the last word.", ("pool", "model", "capability")
        )
        self._tokens: Final = Counter("flotilla_tokens_total", "Tokens of all attempts.", ("pool", "model", "type"))
        self._cost_usd: Final = Counter(
            "flotilla_cost_usd_total", "By the public price list, in US dollars.", ("pool", "model")
        )
        self._unpriced: Final = Counter(
            "flotilla_unpriced_attempts_total", "Attempts whose cost is not known.", ("pool", "model")
        )
        self._cards_refused: Final = Counter(
            "flotilla_cards_refused_total", "Replicas' cards that were not believed, by pool.", ("pool",)
        )
        self._asks_held_off: Final = Counter(
            "flotilla_asks_held_off_total",
            "Times that so many asks waited to be read that no more were taken.",
            ("scope",),
        )
        self._audit_lines: Final = Counter(
            "flotilla_audit_lines_total", "Lines written to the audit of approvals, by scope.", ("scope",)
        )
        self._unreadable: Final = Counter(
            "flotilla_unreadable_stored_total", "What stands in a stream or bucket and cannot be read.", ("what",)
        )
        self._cache_hits: Final = Counter(
            "flotilla_cache_hits_total",
            "Tasks that were given the answer of another; `source` says whether it was kept, or just being made.",
            ("capability", "source"),
        )
        self._cache_misses: Final = Counter(
            "flotilla_cache_misses_total",
            "Tasks that a kept answer would have done for, and none was there.",
            ("capability",),
        )
        self._cache_saved_usd: Final = Counter(
            "flotilla_cache_saved_usd_total",
            "What the answers cost the tasks that they were made for.",
            ("capability",),
        )
        self._stores_made_again: Final = Counter(
            "flotilla_stores_recreated_total", "Streams and buckets that had vanished and were made again.", ()
        )
        self._over: Final = Counter(
            "flotilla_over_limit_total",
            "Attempts for which a limit or budget had no room: `refused`, only `reported`, or `away` (not counted).",
            ("kind", "name", "outcome"),
        )
        self._unused: Final = Counter(
            "flotilla_limit_unused_total",
            "What was taken of a limit in advance and used by nobody, in the measure's unit (requests or tokens).",
            ("limit", "measure"),
        )
        self._counts_lost: Final = Counter(
            "flotilla_counts_lost_total", "Increments of limits, budgets or the ledger that were given up.", ()
        )
        counted = (each for each in vars(self).values() if isinstance(each, Counter | Histogram))
        self.registry: Final[CollectorRegistry] = registry_of(
            *counted, *self.pipelines.instruments, *self.gauges.instruments
        )

    def task_ended(self, task: Task, result: Result, provider_ms: float | None) -> None:
        """A task has its result; `provider_ms` is the model's time when its only attempt went well."""
        path = "durable" if task.durable else "interactive"
        error = getattr(result.error, "kind", None)
        self._tasks.add((task.capability, path, "ok" if error is None else error.value))
        self._task_s.add((task.capability, path), result.latency_ms / 1000)
        if provider_ms is not None:
            self._overhead_s.add((task.capability,), max(0.0, result.latency_ms - provider_ms) / 1000)

    def cache_hit(self, capability: str, *, kept: bool, saved_usd: float) -> None:
        """A task was given the answer of another: a kept one, or one that was just being made."""
        self._cache_hits.add((capability, "kept" if kept else "in_flight"))
        self._cache_saved_usd.add((capability,), saved_usd)

    def cache_missed(self, capability: str) -> None:
        """A task is run whose answer would have been taken from the cache."""
        self._cache_misses.add((capability,))

    def escalated(self, capability: str) -> None:
        """A task has its result, and an answer of it was asked for again behind the route that gave it."""
        self._escalations.add((capability,))

    def hedged(self, capability: str, end: str) -> None:
        """A second attempt is over; `end` is one of a few words."""
        self._hedges.add((capability, end))

    def shadowed(self, capability: str, *, pool: str, model: str, outcome: str, cost_usd: float | None) -> None:
        """A shadow had a task too: `agreed`, `differed` or `failed`; or was to have it, and was `skipped`."""
        self._shadows.add((capability, pool, model, outcome))
        if cost_usd:
            self._shadow_cost_usd.add((capability, pool, model), cost_usd)

    def refused(self, *, path: str, outcome: str) -> None:
        """A message never became a task; its capability may be anything, so it is not a label."""
        self._tasks.add(("", path, outcome))

    def over_limit(self, kind: str, name: str, outcome: str) -> None:
        """A limit or budget had no room for an attempt."""
        self._over.add((kind, name, outcome))

    def limit_unused(self, limit: str, measure: str, amount: int) -> None:
        """So much of a limit was taken in advance and used by nobody."""
        self._unused.add((limit, measure), amount)

    def count_lost(self) -> None:
        """An increment of a counter was given up."""
        self._counts_lost.add(())

    def asks_held_off(self, scope: str) -> None:
        """More asks of a scope wait to be read than may, and the server refuses others meanwhile."""
        self._asks_held_off.add((scope,))

    def audit_line(self, scope: str) -> None:
        """The audit of a scope's approvals has a new line."""
        self._audit_lines.add((scope,))

    def card_refused(self, pool: str) -> None:
        """A replica of a pool announces what it may not."""
        self._cards_refused.add((pool,))

    def unreadable(self, what: str) -> None:
        """Something stored is not what it should be; `what` is one of a few words."""
        self._unreadable.add((what,))

    def stores_recreated(self, count: int) -> None:
        """So many streams and buckets had vanished."""
        self._stores_made_again.add((), count)

    def ended(self, attempt: Attempt, outcome: str, last_word: Finished | Failed | None) -> None:
        """Count an attempt that ended, with its latency and what it used."""
        pool, model = attempt.route.pool, attempt.route.model
        self._attempts.add((pool, model, attempt.task.capability, outcome))
        self._attempt_s.add((pool, model, attempt.task.capability), attempt.elapsed_ms / 1000)
        usage = NO_USAGE if last_word is None else last_word.usage
        if usage.cost_usd is None:
            self._unpriced.add((pool, model))
        if usage.input_tokens + usage.output_tokens:
            self._tokens.add((pool, model, "input"), usage.input_tokens)
            self._tokens.add((pool, model, "output"), usage.output_tokens)
            self._cost_usd.add((pool, model), usage.cost_usd or 0.0)
