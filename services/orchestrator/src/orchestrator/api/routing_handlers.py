"""API requests about routing: `api.explain` and `api.stats`."""

from collections.abc import Mapping
from typing import Any

import msgspec

from flotilla.contracts.api_routing import (
    ExplainedGate,
    ExplainedRoute,
    ExplainedStep,
    ExplainQuery,
    Explanation,
    RouteReport,
    StatsReply,
)
from flotilla.contracts.headers import DataClass
from flotilla.contracts.policy_rules import PolicyGate
from flotilla.contracts.redaction import task_data_class
from flotilla.pipelines.data_flow import classes
from flotilla.pipelines.definition import Approval, Pipeline
from flotilla.routing.data_classes import highest
from flotilla.routing.router import PolicyRouter
from flotilla.routing.types import Figures, TaskView
from orchestrator.api.requests import ApiRequest, decode_query
from orchestrator.economy.admission import Admission
from orchestrator.execution.shut_zones import ALL_ZONES
from orchestrator.state.fleet import Fleet
from orchestrator.ways_in.intake import Intake


class RoutingHandlers:
    """Answers API requests about routing."""

    def __init__(
        self,
        *,
        instance: str,
        router: PolicyRouter,
        fleet: Fleet,
        intake: Intake,
        pipelines: Mapping[str, Pipeline],
        at_least: DataClass,
        admission: Admission,
    ) -> None:
        self._instance = instance
        self._router = router
        self._fleet = fleet
        self._intake = intake
        self._pipelines = pipelines
        self._at_least: DataClass = at_least
        self._admission = admission

    async def explain(self, question: ApiRequest) -> Explanation:
        """Where a task like this would go now, and why."""
        query = decode_query(question, ExplainQuery)
        if not self._intake.knows(query.capability):
            raise self._intake.unknown(query.capability)
        data_class = self._intake.data_class(
            query.capability, query.data_class, self._router.data_class_of(question.scope)
        )
        return self._explain(query, question.scope, data_class)

    def _explain(
        self, query: ExplainQuery, scope: str, data_class: DataClass, own: Approval | None = None
    ) -> Explanation:
        pipeline = self._pipelines.get(query.capability)
        if pipeline is not None:
            return self._of_pipeline(pipeline, query, scope, data_class, own)
        view = TaskView(
            capability=query.capability,
            scope=scope,
            data_class=data_class,
            wanted_pool=query.pool,
            wanted_model=query.model,
            sticky=query.sticky,
            labels=query.labels,
            input_bytes=query.input_bytes,
        )
        decision = self._admission.decided(view, self._router.explain(view, self._fleet.view, self._fleet.busy))
        return Explanation(
            capability=query.capability,
            data_class=data_class,
            strategy=self._router.rules_of(query.capability).strategy,
            policy_revision=decision.policy_revision,
            routes=[
                ExplainedRoute(
                    pool=choice.route.pool,
                    model=choice.route.model,
                    zone=choice.route.zone,
                    reason=choice.reason,
                    in_order=index,
                    free_slots=choice.free_slots,
                    probe=choice.probe,
                    figures=_figures(choice.figures),
                )
                for index, choice in enumerate(decision.routes, start=1)
            ],
            excluded=[
                ExplainedRoute(
                    pool=exclusion.pool,
                    model=exclusion.model,
                    reason=exclusion.reason,
                    figures=_figures(exclusion.figures),
                )
                for exclusion in decision.excluded
            ],
            reason=decision.reason,
            approval=_gates(self._router.policy.gate_of(view), own),
        )

    def _of_pipeline(
        self, pipeline: Pipeline, query: ExplainQuery, scope: str, data_class: DataClass, own: Approval | None
    ) -> Explanation:
        """Each step as a task of its own; the caller's wish for a route is none of theirs."""
        planned = classes(pipeline, data_class, operator=self._router.policy.declassified, pipelines=self._pipelines)
        steps: list[ExplainedStep] = []
        for step in pipeline.steps:
            least = highest((planned[step.name], self._at_least))
            asked = ExplainQuery(capability=step.capability, sticky=query.sticky, labels=query.labels)
            explained = self._explain(asked, scope, task_data_class(step.capability, least, least), step.approval)
            steps.append(ExplainedStep(step=step.name, explanation=explained))
        return Explanation(
            capability=query.capability,
            data_class=data_class,
            strategy="pipeline",
            policy_revision=self._router.policy.revision,
            routes=[],
            excluded=[],
            steps=steps,
            approval=_gates(self._router.policy.gate_of_run(query.capability, data_class), own),
        )

    async def stats(self, _question: ApiRequest) -> StatsReply:
        """What the whole fleet has seen of its routes lately."""
        reports: list[RouteReport] = []
        for key, stats in sorted(self._router.merged().items()):
            total = stats.total
            figures = self._router.health.at(key).figures
            reports.append(
                RouteReport(
                    pool=key.pool,
                    model=key.model,
                    capability=key.capability,
                    attempts=total.attempts,
                    outcomes={"ok": total.ok, **total.failures},
                    in_flight=stats.in_flight_count,
                    p50_ms=figures.p50_ms,
                    p95_ms=figures.p95_ms,
                    error_rate=total.error_rate,
                    input_tokens=total.input_tokens,
                    output_tokens=total.output_tokens,
                    cost_usd=total.cost_usd,
                    unpriced=total.unpriced,
                    standing=figures.standing,
                    breaker=figures.breaker,
                    why=figures.why,
                )
            )
        return StatsReply(orchestrator=self._instance, routes=reports)


def _gates(policy: PolicyGate | None, own: Approval | None) -> list[ExplainedGate] | msgspec.UnsetType:
    """The one that the policy has, and the step's own."""
    gates: list[ExplainedGate] = []
    if policy is not None:
        gates.append(
            ExplainedGate(
                by="policy",
                group=policy.group,
                expires_s=policy.expires_s,
                four_eyes=policy.four_eyes,
                zones=msgspec.UNSET if policy.zones >= ALL_ZONES else sorted(policy.zones),
            )
        )
    if own is not None:
        gates.append(_gate_of_file(own))
    return gates or msgspec.UNSET


def _gate_of_file(own: Approval) -> ExplainedGate:
    return ExplainedGate(
        by="pipeline",
        group=own.group,
        expires_s=own.expires_s,
        four_eyes=own.four_eyes,
        conditional=own.when is not None,
    )


def _figures(figures: Figures | None) -> dict[str, Any]:
    return {} if figures is None else msgspec.to_builtins(figures)
