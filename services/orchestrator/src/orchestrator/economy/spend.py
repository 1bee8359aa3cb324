"""
The ledger: what each task cost, by scope, day, pool and model, a message for each.

It is written when a task has its result, before that is committed, and once for each durable task: one that is run
twice, since an orchestrator died, has one result and one entry. Work that costs nothing has none.
"""

import json
import time
from collections.abc import Mapping, Sequence
from typing import Final

from flotilla.contracts import subjects
from flotilla.contracts.limits import USD_MICROS
from flotilla.routing.limit_rules import period_of
from orchestrator.economy.counters import Counters
from orchestrator.state.paid import Paid
from orchestrator.state.tasks import Task

TASK: Final = "Flotilla-Task"
CAPABILITY: Final = "Flotilla-Capability"
LABELS: Final = "Flotilla-Labels"
UNPRICED: Final = "Flotilla-Unpriced"
LABELS_BYTES_MAX: Final = 1_024
"""Of a task's labels in the ledger; a task with more has none there."""
REMAINDERS_MAX: Final = 4_096
MODELS_PER_DAY_MAX: Final = 128
"""
Of a scope's tasks on one pool. Each is a subject of the ledger, of which nats-server keeps some 400 bytes, and their names
come from cards: what a pool names beyond is written down without a model.
"""
NANO_USD_PER_MICRO: Final = 1_000


class SpendLedger:
    """Writes the ledger, in whole micro-dollars; what is less is carried to the next entry of its counter."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._remainders_nano: dict[str, int] = {}
        self._day = ""
        self._models: dict[tuple[str, str], set[str]] = {}

    def record(self, task: Task, paid: Sequence[Paid]) -> None:
        """A task is over."""
        if not paid:
            return
        day = period_of("day", time.time())
        once = f"spend.{task.id}" if task.durable else f"spend.{self._counters.new_id()}"
        headers = {TASK: task.id, CAPABILITY: task.capability}
        labels = _encoded(task.options.labels)
        if labels:
            headers[LABELS] = labels
        by_route: dict[tuple[str, str], list[float | None]] = {}
        for each in paid:
            model = self._named(task.scope, day, each.pool, each.model)
            by_route.setdefault((each.pool, model), []).append(each.usd)
        for index, ((pool, model), costs) in enumerate(by_route.items()):
            subject = subjects.ledger(task.scope, day, pool, model)
            micros = self._micros(subject, sum(usd for usd in costs if usd is not None))
            more = {UNPRICED: "1"} if None in costs else {}
            self._counters.add_later(subject, micros, f"{once}.{index}", headers | more)

    def _named(self, scope: str, day: str, pool: str, model: str) -> str:
        """The model, or none where the pool has had too many names today."""
        if day != self._day:
            self._day, self._models = day, {}
        models = self._models.setdefault((scope, pool), set())
        if model not in models:
            if len(models) >= MODELS_PER_DAY_MAX:
                return ""
            models.add(model)
        return model

    def _micros(self, subject: str, usd: float) -> int:
        nano = round(usd * USD_MICROS * NANO_USD_PER_MICRO) + self._remainders_nano.get(subject, 0)
        micros, remainder = divmod(nano, NANO_USD_PER_MICRO)
        if len(self._remainders_nano) >= REMAINDERS_MAX:
            self._remainders_nano.clear()
        self._remainders_nano[subject] = remainder
        return micros


def _encoded(labels: Mapping[str, str]) -> str:
    encoded = json.dumps(dict(labels)) if labels else ""
    return encoded if len(encoded) <= LABELS_BYTES_MAX else ""
