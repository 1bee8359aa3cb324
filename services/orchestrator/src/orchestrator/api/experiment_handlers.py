"""API requests about experiments: `api.feedback` and `api.experiment`."""

from typing import Final

import msgspec

from flotilla.contracts import subjects
from flotilla.contracts.errors import DecodeFailedError, TaskError
from flotilla.contracts.experiments import (
    ArmOfTask,
    ArmTotals,
    ExperimentQuery,
    ExperimentReport,
    Feedback,
    FeedbackQuery,
    Moments,
    ScoreRecord,
    decode_arm,
    decode_score,
    encode_experiment,
)
from flotilla.contracts.failures import ErrorKind
from flotilla.fabric.connection import Connection, Message
from flotilla.fabric.errors import FabricError, NoRespondersError, RequestTimeoutError
from flotilla.fabric.inbox import Requests
from flotilla.fabric.publish_once import Destination, publish_once
from flotilla.fabric.publish_outcomes import Stored
from flotilla.fabric.stored import between
from flotilla.fabric.stream_usage import sequences
from flotilla.routing.arms import arm_of
from flotilla.routing.router import PolicyRouter
from orchestrator.api.requests import ApiRequest, decode_query, not_found
from orchestrator.api.turns import Turns
from orchestrator.policy_and_health.experiments import Experiments
from orchestrator.state.unreadable_stored import UnreadableStored
from orchestrator.ways_in.commits import Commits
from orchestrator.ways_in.replies import may_answer

OTHERS_TIMEOUT_S: Final = 0.4
"""For the orchestrator that has answered a task to say so; the others are silent."""
PATIENCE_S: Final = 2.0
ARM_VERB: Final = "arm"


class ExperimentHandlers:
    """Keeps scores, and reports on the arms of splits."""

    def __init__(
        self,
        connection: Connection,
        requests: Requests,
        *,
        experiments: Experiments,
        router: PolicyRouter,
        commits: Commits,
        walks: Turns,
        unreadable: UnreadableStored,
        scopes: tuple[str, ...],
    ) -> None:
        self._connection = connection
        self._requests = requests
        self._experiments = experiments
        self._router = router
        self._commits = commits
        self._walks = walks
        self._unreadable = unreadable
        self._scopes = scopes

    async def start(self) -> None:
        """Listen to the other orchestrators."""
        for scope in self._scopes:
            await self._connection.subscribe(subjects.orchestrator_control(scope, ARM_VERB), self._on_question)

    async def _on_question(self, message: Message) -> None:
        """Another orchestrator asks for the arm of a task; only the one that has answered it answers."""
        _, scope, _ = message.subject.split(".")
        arm = self._experiments.arm_of_recent(scope, message.data.decode("ascii", "replace"))
        if arm is not None and may_answer(message.reply):
            await self._connection.publish(message.reply, encode_experiment(arm))

    async def feedback(self, question: ApiRequest) -> Feedback:
        """Keep a score, once per task and scorer."""
        query = decode_query(question, FeedbackQuery)
        scope, task = question.scope, query.task
        arm = (
            self._experiments.arm_of_recent(scope, task)
            or await self._arm_of_result(scope, task)
            or await self._arm_by_others(scope, task)
        )
        if arm is None:
            raise not_found(task, "was given to no arm of a split in force, or ended too long ago")
        record = ScoreRecord(
            experiment=arm.experiment, pool=arm.pool, model=arm.model, score=query.score, label=query.label
        )
        subject = subjects.score(scope, arm.capability, task, query.scorer)
        destination = Destination(publish=subject, stream=subjects.scores_stream(scope), stored=subject)
        stored = await publish_once(
            self._requests, destination, encode_experiment(record), patience_s=PATIENCE_S, on_refused=_nothing
        )
        if stored is Stored.NOT:
            raise FabricError("the score could not be kept")
        if stored is Stored.BEFORE:
            text = f"{query.scorer} has scored task {task} before; a score counts once"
            raise TaskError(ErrorKind.CONFLICT, text, details={"task": task, "scorer": query.scorer})
        return Feedback(task=task, capability=arm.capability, pool=arm.pool, model=arm.model)

    async def experiment(self, question: ApiRequest) -> ExperimentReport:
        """The arms of a capability's split."""
        query = decode_query(question, ExperimentQuery)
        rules = self._router.rules_of(query.capability)
        name = self._experiments.name_of(query.capability, rules)
        if not name:
            text = f"no split over listed routes, by weights, is in force for {query.capability}"
            raise TaskError(ErrorKind.NOT_FOUND, text, details={"capability": query.capability})
        began_unix_ms, totals = await self._experiments.totals(query.capability, name)
        scores = await self._scores(question.scope, query.capability, name)
        places = {(entry.pool, entry.model): place for place, entry in enumerate(rules.routes or ())}
        known = {**dict.fromkeys(scores), **totals}

        def place(route: tuple[str, str]) -> tuple[int, str]:
            return places.get(route, places.get((route[0], None), len(places))), route[1]

        arms = [totals.get(route) or ArmTotals(pool=route[0], model=route[1]) for route in sorted(known, key=place)]
        return ExperimentReport(
            capability=query.capability,
            experiment=name,
            began_unix_ms=began_unix_ms,
            arms=[msgspec.structs.replace(arm, score=scores.get((arm.pool, arm.model), Moments())) for arm in arms],
        )

    async def _arm_of_result(self, scope: str, task: str) -> ArmOfTask | None:
        """Of a durable task: the arm by its committed result, where the split that is in force has it."""
        result = await self._commits.find(scope, task)
        if result is None:
            return None
        rules = self._router.rules_of(result.capability)
        name = self._experiments.name_of(result.capability, rules)
        arm = arm_of(result, name) if name else None
        if arm is None:
            return None
        listed = any(entry.pool == arm.pool and entry.model in (None, arm.model) for entry in rules.routes or ())
        return arm if listed else None

    async def _arm_by_others(self, scope: str, task: str) -> ArmOfTask | None:
        subject = subjects.orchestrator_control(scope, ARM_VERB)
        try:
            reply = await self._requests.request(subject, task.encode(), timeout_s=OTHERS_TIMEOUT_S)
            return decode_arm(reply.data)
        except (RequestTimeoutError, NoRespondersError, DecodeFailedError):
            return None

    async def _scores(self, scope: str, capability: str, experiment: str) -> dict[tuple[str, str], Moments]:
        """What the scope's callers said of each route; a walk through its stream, of which few run at a time."""
        stream, pattern = subjects.scores_stream(scope), subjects.score(scope, capability, "*", "*")
        found: dict[tuple[str, str], Moments] = {}
        async with self._walks.turn(scope):
            _, last = await sequences(self._requests, stream)
            async for message in between(self._requests, stream, pattern, from_sequence=1, before=last + 1):
                try:
                    record = decode_score(message.body)
                except DecodeFailedError as error:
                    self._unreadable.found("experiment", message.subject, error)
                    continue
                if record.experiment == experiment:
                    route = (record.pool, record.model)
                    found[route] = found.get(route, Moments()).with_value(record.score)
        return found


def _nothing(_reason: str) -> None:
    pass
