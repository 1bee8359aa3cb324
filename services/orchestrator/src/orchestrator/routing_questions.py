"""Questions about routing: `api.explain`, `api.stats` and `api.policy`."""

from collections.abc import Callable
from typing import Any

import msgspec

from flotilla.contracts import subjects
from flotilla.contracts.api_routing import (
    ExplainedRoute,
    ExplainQuery,
    Explanation,
    PolicyHistory,
    PolicyQuery,
    PolicyReply,
    PolicyVersion,
    RouteReport,
    StatsReply,
)
from flotilla.contracts.errors import BadRequestError, NoPolicyError, PolicyError, TaskError
from flotilla.contracts.failures import ErrorKind
from flotilla.contracts.policy import decode_policy
from flotilla.contracts.policy_check import parse_policy, warnings
from flotilla.fabric import keyvalue
from flotilla.fabric.inbox import Requests
from orchestrator.fleet import Fleet
from orchestrator.intake import Intake, unix_ms
from orchestrator.policy_documents import POLICY_KEY, Source, last_good, source_of, stored
from orchestrator.questions import Question, decode_query
from orchestrator.routing.router import PolicyRouter
from orchestrator.routing.types import Figures, TaskView


class RoutingQuestions:
    """
    Answers questions about routing, and changes the policy.

    A tenant may change the policy of the fleet only when its scope is among `policy_scopes`; a user of the FLEET account
    whose permissions let it ask may always.
    """

    def __init__(
        self,
        requests: Requests,
        *,
        instance: str,
        router: PolicyRouter,
        fleet: Fleet,
        intake: Intake,
        policy_scopes: frozenset[str],
        policy_revision: Callable[[], int],
    ) -> None:
        self._requests = requests
        self._instance = instance
        self._router = router
        self._fleet = fleet
        self._intake = intake
        self._policy_scopes = policy_scopes
        self._policy_revision = policy_revision

    async def explain(self, question: Question) -> Explanation:
        """Where a task like this would go now, and why."""
        query = decode_query(question, ExplainQuery)
        if not self._intake.knows(query.capability):
            raise self._intake.unknown(query.capability)
        data_class = query.data_class or self._router.data_class_of(question.scope)
        view = TaskView(
            capability=query.capability,
            scope=question.scope,
            data_class=data_class,
            wanted_pool=query.pool,
            wanted_model=query.model,
            sticky=query.sticky,
            labels=query.labels,
            input_bytes=query.input_bytes,
        )
        decision = self._router.explain(view, self._fleet.view, self._fleet.busy)
        return Explanation(
            capability=query.capability,
            data_class=data_class,
            strategy=self._router.rules_of(query.capability).strategy,
            policy_revision=self._policy_revision(),
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
        )

    async def stats(self, _question: Question) -> StatsReply:
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

    async def policy(self, question: Question) -> PolicyReply | PolicyHistory:
        """Read, check or change the policy."""
        query = decode_query(question, PolicyQuery)
        match query.verb:
            case "get":
                return await self._get(query)
            case "check":
                return self._checked(query)
            case "set":
                self._may_change(question)
                return await self._set(query, self._checked(query))
            case "history":
                return await self._history()
            case "rollback":
                self._may_change(question)
                return await self._rollback(query)

    def _may_change(self, question: Question) -> None:
        if question.from_tenant and question.scope not in self._policy_scopes:
            raise TaskError(ErrorKind.NOT_PERMITTED, f"the scope {question.scope} may not change the fleet's policy")

    async def _get(self, query: PolicyQuery) -> PolicyReply:
        if query.revision is not None:
            return await self._version(query.revision)
        entry = await keyvalue.get(self._requests, subjects.POLICY_BUCKET, POLICY_KEY)
        if entry is None or entry.deleted:
            return PolicyReply(revision=0)
        reply = _reply(entry)
        try:
            decode_policy(entry.body)
        except PolicyError as error:
            kept = f"{self._instance} does not understand it, and keeps to revision {self._policy_revision()}"
            return msgspec.structs.replace(reply, warnings=[f"{kept}: {error.faults[0]}"])
        return reply

    def _checked(self, query: PolicyQuery) -> PolicyReply:
        toml = query.toml
        if toml is None:
            raise BadRequestError(f"policy {query.verb} needs a document", path="$.toml", expected="a TOML document")
        try:
            policy = parse_policy(toml)
        except PolicyError as error:
            raise TaskError(
                ErrorKind.BAD_REQUEST, f"the policy is not valid: {error.faults[0]}", details={"faults": error.faults}
            ) from error
        found = warnings(policy, self._fleet.view.pools.keys(), self._fleet.capabilities())
        return PolicyReply(revision=0, toml=toml, warnings=found)

    async def _set(self, query: PolicyQuery, checked: PolicyReply) -> PolicyReply:
        source = Source(toml=checked.toml, author=query.author, at_unix_ms=unix_ms())
        revision = await keyvalue.put(
            self._requests,
            subjects.POLICY_BUCKET,
            POLICY_KEY,
            stored(source),
            expected_revision=query.expected_revision,
        )
        if revision is None:
            raise _changed_meanwhile(query.expected_revision)
        return PolicyReply(
            revision=revision,
            toml=checked.toml,
            author=query.author,
            at_unix_ms=source.at_unix_ms,
            warnings=checked.warnings,
        )

    async def _history(self) -> PolicyHistory:
        entries = await keyvalue.history(self._requests, subjects.POLICY_BUCKET, POLICY_KEY)
        replies = [_reply(entry) for entry in reversed(entries) if _is_version(entry)]
        good = last_good(entries)
        in_force = good.revision if good is not None else entries[-1].revision if entries else 0
        return PolicyHistory(
            versions=[
                PolicyVersion(
                    revision=reply.revision,
                    author=reply.author,
                    at_unix_ms=reply.at_unix_ms,
                    in_force=reply.revision == in_force,
                )
                for reply in replies
            ]
        )

    async def _version(self, revision: int) -> PolicyReply:
        for entry in await keyvalue.history(self._requests, subjects.POLICY_BUCKET, POLICY_KEY):
            if entry.revision == revision and _is_version(entry):
                return _reply(entry)
        raise TaskError(ErrorKind.NOT_FOUND, f"the bucket has no policy of revision {revision}")

    async def _rollback(self, query: PolicyQuery) -> PolicyReply:
        """Put an older version in force again, as a new revision: the one given, else the one before the newest."""
        history = await self._history()
        older = [version.revision for version in history.versions if not version.in_force]
        wanted = query.revision or (older[0] if older else None)
        if wanted is None:
            raise TaskError(ErrorKind.NOT_FOUND, "there is no older policy to go back to")
        old = await self._version(wanted)
        if not old.toml:
            # Written past the API: an empty text would be a policy that says nothing.
            raise TaskError(ErrorKind.NOT_FOUND, f"the policy of revision {wanted} has no text to go back to")
        again = msgspec.structs.replace(query, verb="set", toml=old.toml)
        return await self._set(again, self._checked(again))


def _is_version(entry: keyvalue.Entry) -> bool:
    """Whether an entry was meant as a policy, understood here or not."""
    if entry.deleted:
        return False
    try:
        decode_policy(entry.body)
    except NoPolicyError:
        return False
    except PolicyError:
        pass
    return True


def _reply(entry: keyvalue.Entry) -> PolicyReply:
    source = source_of(entry.body)
    return PolicyReply(revision=entry.revision, toml=source.toml, author=source.author, at_unix_ms=source.at_unix_ms)


def _changed_meanwhile(expected: int | None) -> TaskError:
    return TaskError(
        ErrorKind.CONFLICT,
        f"the policy is not at revision {expected} any more; get it, and apply the change to what it is now",
        details={"expected_revision": expected},
    )


def _figures(figures: Figures | None) -> dict[str, Any]:
    return {} if figures is None else msgspec.to_builtins(figures)
