"""What a caller may ask about the fleet and its tasks, without having anything done."""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from flotilla.client.addresses import checked, checked_task
from flotilla.client.api_calls import ApiCalls
from flotilla.contracts.api import DEAD_LIST_DEFAULT, Cancelled, DeadEntry, Discarded, FleetStatus, Retried, TaskStatus
from flotilla.contracts.api_routing import ExplainQuery, Explanation, StatsReply
from flotilla.contracts.api_spend import Spend, SpendQuery, together
from flotilla.contracts.experiments import CALLER, ExperimentQuery, ExperimentReport, Feedback, FeedbackQuery
from flotilla.contracts.headers import DataClass
from flotilla.contracts.presence import ReplicaCard
from flotilla.contracts.results import DeadRecord

SPEND_TIMEOUT_S: Final = 60.0
"""A ledger of hundreds of thousands of entries is read through."""
SPEND_PAGES_MAX: Final = 32
"""Answers that are added up: several times what a full ledger has."""


class FleetApi:
    """The part of `Fleet` that asks."""

    def __init__(self, api_calls: ApiCalls) -> None:
        self._api_calls: Final = api_calls

    async def status(self) -> FleetStatus:
        """
        The fleet as one orchestrator sees it: pools, backlog, dead tasks.

        Raises:
            NoFleetError: Nobody answers.
        """
        return await self._api_calls.status()

    async def sealed_status(self) -> FleetStatus | None:
        """
        The same of the sealed lane, as one of its orchestrators sees it; None where this caller has no such lane.

        A tenant that has the sealed lane alone is answered by it when it asks for `status` (`lane` says so), and has no
        other; the fleet's admin cannot ask the lane anything.

        Raises:
            NoFleetError: There is such a lane, and nobody serves it.
        """
        return await self._api_calls.sealed_status()

    async def task_status(self, task: str) -> TaskStatus:
        """
        Where one task stands.

        Raises:
            TaskError: `not_found`.
            NoFleetError: Nobody answers.
        """
        return await self._api_calls.task_status(task)

    async def cancel(self, task: str) -> Cancelled:
        """
        Stop a task, durable or interactive, waiting or running.

        Raises:
            TaskError: `not_found`: it has ended, or there is none of this id.
            NoFleetError: Nobody answers.
        """
        return await self._api_calls.cancel(task)

    async def replicas(self) -> list[ReplicaCard]:
        """
        The card of every live replica.

        Raises:
            NoFleetError: Nobody answers.
        """
        return await self._api_calls.replicas()

    async def explain(
        self,
        capability: str,
        *,
        data_class: DataClass | None = None,
        route: str | None = None,
        sticky: str | None = None,
        labels: Mapping[str, str] | None = None,
        input_bytes: int = 0,
    ) -> Explanation:
        """
        Where a task like this would go now, route by route, and why; nothing is sent.

        Arguments as for `ask`; `input_bytes` is the size of the input, which only the strategy `fastest` looks at.

        Raises:
            TaskError: `unknown_capability`; `bad_request`.
            NoFleetError: Nobody answers.
        """
        pool, _, model = (route or "").partition("/")
        query = ExplainQuery(
            capability=checked(capability),
            data_class=data_class,
            pool=pool or None,
            model=model or None,
            sticky=sticky,
            labels=dict(labels or {}),
            input_bytes=input_bytes,
        )
        return await self._api_calls.ask("explain", query, Explanation)

    async def stats(self) -> StatsReply:
        """
        What the whole fleet has seen of its routes lately: p50, p95, errors, tokens, and who was left and why.

        Raises:
            NoFleetError: Nobody answers.
        """
        return await self._api_calls.ask("stats", None, StatsReply)

    async def feedback(self, task: str, score: float, *, label: str = "", scorer: str = CALLER) -> Feedback:
        """
        Say how good the answer to a task was; it counts for the route that a split gave the task to.

        Args:
            task: Its id.
            score: 0 (of no use) to 1.
            label: What was right, or why; never a document's text.
            scorer: Who says so, of A-Za-z0-9_-; each counts once.

        Raises:
            TaskError: `not_found`: no split that is in force gave it to a route, or it ended too long ago; `conflict`:
                the scorer has scored it before; `bad_request`.
            NoFleetError: Nobody answers.
        """
        query = FeedbackQuery(task=checked_task(task), score=score, label=label, scorer=scorer)
        return await self._api_calls.ask("feedback", query, Feedback)

    async def experiment(self, capability: str) -> ExperimentReport:
        """
        The arms of a capability's split: tasks, failures, latency, cost, and the scores of this scope.

        Raises:
            TaskError: `not_found`: no split is in force for it.
            NoFleetError: Nobody answers.
        """
        return await self._api_calls.ask(
            "experiment", ExperimentQuery(capability=checked(capability)), ExperimentReport
        )

    async def spend(
        self,
        *,
        by: Sequence[str] = ("pool",),
        since: str | None = None,
        until: str | None = None,
        every_scope: bool = False,
    ) -> Spend:
        """
        What tasks have cost, in micro-dollars; the newest days are read first.

        Args:
            by: Up to four of `day`, `pool`, `model`, `scope`, `capability` and `label.NAME`.
            since: The first day, as `2026-11-01` (UTC).
            until: The last day; today unless given.
            every_scope: Of all tenants; for those who may change the policy.

        Raises:
            TaskError: `bad_request`; `not_permitted`.
            NoFleetError: Nobody answers.
        """
        query = SpendQuery(by=tuple(by), since=since, until=until, every_scope=every_scope)
        found = await self._api_calls.ask("spend", query, Spend, timeout_s=SPEND_TIMEOUT_S)
        for _ in range(SPEND_PAGES_MAX):
            if found.next is None:
                break
            query = msgspec.structs.replace(query, after=found.next)
            found = together(found, await self._api_calls.ask("spend", query, Spend, timeout_s=SPEND_TIMEOUT_S))
        return found

    async def dead_list(self, limit: int = DEAD_LIST_DEFAULT) -> list[DeadEntry]:
        """
        The newest tasks that could not be processed, newest first; `limit` is 1 to 1,000.

        Raises:
            NoFleetError: Nobody answers.
        """
        return (await self._api_calls.dead_list(limit)).dead

    async def dead_show(self, task: str) -> DeadRecord:
        """
        All that is known of a dead task, its original message included.

        Raises:
            TaskError: `not_found`.
            NoFleetError: Nobody answers.
        """
        return await self._api_calls.dead_show(task)

    async def dead_retry(self, task: str) -> Retried:
        """
        Submit a dead task again; it gets a new id, since a result is committed once per id.

        Raises:
            TaskError: `not_found`.
            NoFleetError: Nobody answers.
        """
        return await self._api_calls.dead_retry(task)

    async def dead_discard(self, task: str) -> Discarded:
        """
        Delete the record of a dead task, its input with it; its failed result stays.

        Raises:
            TaskError: `not_found`.
            NoFleetError: Nobody answers.
        """
        return await self._api_calls.dead_discard(task)
