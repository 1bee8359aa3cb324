"""What answers questions to one orchestrator, put together: the handlers, and which verb is whose."""

from collections.abc import Mapping
from typing import Final

from flotilla.fabric.connection import Connection
from flotilla.fabric.inbox import Requests
from flotilla.pipelines.definition import Pipeline
from flotilla.routing.router import PolicyRouter
from orchestrator.api.approval_handlers import ApprovalHandlers
from orchestrator.api.blackboard_handlers import Blackboard
from orchestrator.api.dead_letter_handlers import DeadLetterHandlers
from orchestrator.api.experiment_handlers import ExperimentHandlers
from orchestrator.api.fleet_needs import NeedsOfFleet
from orchestrator.api.policy_handlers import PolicyHandlers
from orchestrator.api.routing_handlers import RoutingHandlers
from orchestrator.api.server import Api
from orchestrator.api.spend_handlers import SpendHandlers
from orchestrator.api.task_handlers import TaskHandlers
from orchestrator.api.turns import Turns
from orchestrator.approvals.parts import Approvals
from orchestrator.economy.admission import Admission
from orchestrator.economy.budget_standings import BudgetStandings
from orchestrator.execution.dispatch import Dispatcher
from orchestrator.execution.executors import Executors
from orchestrator.policy_and_health.experiments import Experiments
from orchestrator.settings import OrchestratorSettings
from orchestrator.state.fleet import Fleet
from orchestrator.state.unreadable_stored import UnreadableStored
from orchestrator.ways_in.parts import WaysIn

WALKS_MAX: Final = 3
"""API requests that read through a stream, each with some 8 MiB of it in memory."""


class Answers:
    """Everything that is asked on `api`."""

    def __init__(
        self,
        connection: Connection,
        requests: Requests,
        *,
        settings: OrchestratorSettings,
        instance: str,
        fleet: Fleet,
        router: PolicyRouter,
        pipelines: Mapping[str, Pipeline],
        dispatcher: Dispatcher,
        executors: Executors,
        ways_in: WaysIn,
        approvals: Approvals,
        experiments: Experiments,
        admission: Admission,
        unreadable: UnreadableStored,
    ) -> None:
        scopes, policy_scopes = settings.scope_names(), frozenset(settings.policy_scope_names())
        walks = Turns(places=WALKS_MAX, per_scope_max=1)
        budgets = BudgetStandings(requests, lambda: router.policy.document)
        self._tasks = tasks = TaskHandlers(
            connection,
            requests,
            instance=instance,
            fleet=fleet,
            dispatcher=dispatcher,
            executors=executors,
            commits=ways_in.commits,
            durables=ways_in.durables,
            suspensions=approvals.suspensions,
            gate=approvals.gate,
            walks=walks,
            needs=NeedsOfFleet(approvals.watch, budgets, policy_scopes),
            sealed=settings.sealed,
        )
        routing = RoutingHandlers(
            instance=instance,
            router=router,
            fleet=fleet,
            intake=ways_in.intake,
            pipelines=pipelines,
            at_least=settings.data_class_floor,
            admission=admission,
        )
        policy = PolicyHandlers(
            requests,
            instance=instance,
            router=router,
            fleet=fleet,
            pipelines=frozenset(pipelines),
            policy_scopes=policy_scopes,
        )
        self._experiments = arms = ExperimentHandlers(
            connection,
            requests,
            experiments=experiments,
            router=router,
            commits=ways_in.commits,
            walks=walks,
            unreadable=unreadable,
            scopes=scopes,
        )
        self._blackboard = blackboard = Blackboard(connection, requests, scopes=scopes)
        self._api = Api(
            connection,
            scopes=scopes,
            verbs={
                "result": tasks.result,
                "status": tasks.status,
                "cancel": tasks.cancel,
                "replicas": tasks.replicas,
                "dead": DeadLetterHandlers(requests, walks, unreadable).answer,
                "explain": routing.explain,
                "stats": routing.stats,
                "policy": policy.answer,
                "blackboard": blackboard.answer,
                "feedback": arms.feedback,
                "experiment": arms.experiment,
                "spend": SpendHandlers(requests, walks, budgets, scopes=scopes, policy_scopes=policy_scopes).spend,
                **ApprovalHandlers(
                    requests, approvals, walks, unreadable, policy=lambda: router.policy.document
                ).verbs(),
            },
        )

    async def start(self) -> None:
        """Hear what orchestrators tell each other, then what is asked."""
        await self._tasks.start()
        await self._experiments.start()
        await self._blackboard.start()
        await self._api.start()

    async def stop(self) -> None:
        """Take no more questions; those under way are still answered."""
        await self._api.stop()
