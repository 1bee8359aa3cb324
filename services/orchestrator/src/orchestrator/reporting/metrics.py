"""What an orchestrator measures. Labels are bounded: known capabilities, pools and models that were announced."""

from collections.abc import Collection
from typing import Final, Protocol

from prometheus_client.registry import CollectorRegistry

from flotilla.chassis.metrics import Counter, Gauge, Histogram, Sample, registry_of
from flotilla.contracts.attempts import Failed, Finished
from flotilla.contracts.results import Result
from flotilla.routing.recorder import NO_USAGE
from flotilla.routing.router import PolicyRouter
from orchestrator.reporting.pipeline_metrics import PipelineMetrics
from orchestrator.state.ask_quota import AsksInFlight
from orchestrator.state.attempt import Attempt
from orchestrator.state.fleet import Fleet
from orchestrator.state.tasks import Task


class WaitingApprovals(Protocol):
    """What waits for approvals (`approvals/watch.py`)."""

    def counts(self) -> dict[str, int]:
        """How many requests of each scope wait."""
        ...

    def oldest_s(self) -> dict[str, float]:
        """How long the oldest of each has waited."""
        ...


class OrchestratorMetrics:
    """
    Counts tasks and attempts, and shows slots, backlog and breakers when asked.

    Attributes:
        pipelines: Of runs and steps.
        approvals: What waits for approvals, once it is followed.
        asks: The asks in flight, once they are served.
        backlog: Tasks in the streams by capability and priority, as the last sweep found them.
    """

    def __init__(self, fleet: Fleet, router: PolicyRouter) -> None:
        self._fleet = fleet
        self._router = router
        self.pipelines: Final = PipelineMetrics()
        self.approvals: WaitingApprovals | None = None
        self.asks: AsksInFlight | None = None
        self.backlog: dict[tuple[str, str, str], int] = {}
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
        self._counts_lost: Final = Counter(
            "flotilla_counts_lost_total", "Increments of limits, budgets or the ledger that were given up.", ()
        )
        self.registry: Final[CollectorRegistry] = registry_of(
            self._tasks,
            self._escalations,
            self._hedges,
            self._shadows,
            self._shadow_cost_usd,
            self._task_s,
            self._overhead_s,
            self._attempts,
            self._attempt_s,
            self._tokens,
            self._cost_usd,
            self._unpriced,
            self._cards_refused,
            self._asks_held_off,
            self._audit_lines,
            self._unreadable,
            self._stores_made_again,
            *self.pipelines.instruments,
            self._cache_hits,
            self._cache_misses,
            self._cache_saved_usd,
            self._over,
            self._counts_lost,
            Gauge(
                "flotilla_pool_slots", "Slots of live replicas, by pool.", ("zone", "pool", "state"), self._pool_slots
            ),
            Gauge("flotilla_pool_replicas", "Live replicas, by pool.", ("zone", "pool"), self._replicas),
            Gauge(
                "flotilla_waiting_tasks",
                "Tasks in hand here that stand in a pool's line for a slot; one may stand in several.",
                ("pool",),
                self._waiting,
            ),
            Gauge("flotilla_asks_in_flight", "Asks in flight here, by scope.", ("scope",), self._asks),
            Gauge("flotilla_asks_in_flight_bytes", "Their bytes, headers included.", ("scope",), self._asks_bytes),
            Gauge(
                "flotilla_backlog_tasks",
                "Tasks in the stream, those being worked on included.",
                ("scope", "capability", "priority"),
                self._backlog,
            ),
            Gauge(
                "flotilla_approvals_waiting", "Requests for approval nobody has decided.", ("scope",), self._approvals
            ),
            Gauge(
                "flotilla_approvals_oldest_seconds",
                "How long the oldest of them has waited.",
                ("scope",),
                self._oldest_approvals,
            ),
            Gauge(
                "flotilla_breaker_open",
                "1 while a pool's model is closed to all but probes.",
                ("pool", "model"),
                self._breakers,
            ),
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

    def backlog_is(self, scope: str, backlog: dict[tuple[str, str, str], int], served: Collection[str]) -> None:
        """
        What a scope's stream holds now.

        What it held before and does not hold any more shows as 0 while somebody serves it; the rest is forgotten, since a
        worker may announce another name every minute, and a tenant send something to each.
        """
        of_others = {labels: count for labels, count in self.backlog.items() if labels[0] != scope}
        emptied = {labels: 0 for labels in self.backlog if labels[0] == scope and labels[1] in served}
        self.backlog = of_others | emptied | backlog

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

    def _pool_slots(self) -> list[Sample]:
        found: list[Sample] = []
        for name, pool in self._fleet.view.pools.items():
            busy = min(pool.slots, self._fleet.busy.get(name, 0))
            found.append(((pool.zone, name, "busy"), busy))
            found.append(((pool.zone, name, "free"), pool.slots - busy))
        return found

    def _replicas(self) -> list[Sample]:
        return [((pool.zone, name), pool.replicas) for name, pool in self._fleet.view.pools.items()]

    def _waiting(self) -> list[Sample]:
        return [((name,), len(self._fleet.lane(name))) for name in self._fleet.view.pools]

    def _asks(self) -> list[Sample]:
        return [] if self.asks is None else [((scope,), count) for scope, count in self.asks.counts().items()]

    def _asks_bytes(self) -> list[Sample]:
        return [] if self.asks is None else [((scope,), size) for scope, size in self.asks.sizes_bytes().items()]

    def _approvals(self) -> list[Sample]:
        return [] if self.approvals is None else [((scope,), count) for scope, count in self.approvals.counts().items()]

    def _oldest_approvals(self) -> list[Sample]:
        return [] if self.approvals is None else [((scope,), age) for scope, age in self.approvals.oldest_s().items()]

    def _backlog(self) -> list[Sample]:
        return [(labels, float(count)) for labels, count in self.backlog.items()]

    def _breakers(self) -> list[Sample]:
        closed = self._router.health.closures
        return [
            ((name, model), 1.0 if (name, model) in closed else 0.0)
            for name, pool in self._fleet.view.pools.items()
            for model in pool.models
        ]
