"""Tasks: the newest, one's story, and its result for those who may read documents."""

from collections.abc import Iterator
from typing import Final, get_args

from starlette.requests import Request
from starlette.responses import Response

from flotilla.contracts.errors import TaskError
from flotilla.contracts.failures import ErrorKind
from flotilla.contracts.results import Result
from portal.access.fleets import Fleets
from portal.access.sessions import Session
from portal.live.story import story_of
from portal.live.tasks import SeenTask, TaskState, TaskSummary
from portal.live.view import FleetView
from portal.web import parameters
from portal.web.errors import RefusedError, as_json, bad_request
from portal.web.who import Doors, may

TASKS_PER_PAGE: Final = 100
STATES: Final = get_args(TaskState)
_CURSOR_PARTS: Final = 3


class TaskAnswers:
    """Answers `/api/tasks`."""

    def __init__(self, doors: Doors, view: FleetView, fleets: Fleets) -> None:
        self._doors = doors
        self._view = view
        self._fleets = fleets

    async def listed(self, request: Request) -> Response:
        """A page of the newest tasks."""
        self._doors.viewer(request)
        state = parameters.text(request, "state")
        if state and state not in STATES:
            raise bad_request(f"state: expected one of {', '.join(STATES)}")
        name, _, value = parameters.text(request, "label").partition("=")
        wanted = {
            "capability": parameters.capability(request),
            "scope": parameters.scope(request),
            "pool": parameters.pool(request),
            "state": state,
        }
        steps = parameters.text(request, "steps")
        if steps not in ("", "hidden"):
            raise bad_request("steps: expected hidden, or nothing")
        page: list[SeenTask] = []
        more = False
        for seen in self._from(parameters.text(request, "cursor")):
            if any(word and getattr(seen, field) != word for field, word in wanted.items()):
                continue
            if steps and self._view.tasks.run_of(seen):
                continue
            if name and (name not in seen.labels or (value and seen.labels[name] != value)):
                continue
            if len(page) == TASKS_PER_PAGE:
                more = True
                break
            page.append(seen)
        cursor = f"{page[-1].at_unix_ms}.{page[-1].scope}.{page[-1].task}" if more else None
        waiting = self._view.tasks.awaiting_approval()
        return as_json({"tasks": [self._summary(seen, waiting) for seen in page], "cursor": cursor})

    async def story(self, request: Request) -> Response:
        """All that is known of one task but its documents."""
        session = self._doors.viewer(request)
        scope, task = parameters.task_of(request)
        seen = self._view.tasks.get(scope, task)
        if seen is not None:
            self._view.tasks.run_of(seen)
        result = None
        if session is not None and session.person.scope == scope and (seen is None or seen.has_ended):
            result = await self._result(session, task)
        waiting = self._view.tasks.waiting_steps(scope, task)
        story = story_of(scope, seen, result, self._view.replicas.zone_of, waiting_steps=waiting)
        if story is None:
            raise RefusedError(
                404, "not_found", "No task of this id is known here; results of older ones need a sign-in"
            )
        return as_json(story)

    async def result(self, request: Request) -> Response:
        """The result with its documents."""
        session = self._doors.person(request)
        scope, task = parameters.task_of(request)
        if not may(session.person).documents:
            raise RefusedError(403, "not_permitted", "You may not read documents")
        if session.person.scope != scope:
            raise RefusedError(403, "not_permitted", f"You read the results of the scope {session.person.scope} only")
        result = await self._result(session, task)
        if result is None:
            raise RefusedError(404, "not_found", "This task has no result")
        return as_json(result)

    async def _result(self, session: Session, task: str) -> Result | None:
        async with self._fleets.of(session.person) as fleet:
            try:
                return (await fleet.committed(task)).result
            except TaskError as error:
                if error.kind is not ErrorKind.NOT_FOUND:
                    raise
                return None

    def _from(self, cursor: str) -> Iterator[SeenTask]:
        """The tasks behind the cursor: the last of the page before, or the first that is as old where that is forgotten."""
        tasks = self._view.tasks.newest_first()
        if not cursor:
            return tasks
        at, *key = cursor.split(".")
        if len(key) != _CURSOR_PARTS - 1 or not at.isascii() or not at.isdigit():
            raise bad_request("cursor: expected what the page before it gave")
        known = self._view.tasks.get(key[0], key[1])
        if known is None:
            return (seen for seen in tasks if seen.at_unix_ms < int(at))
        for seen in tasks:
            if seen is known:
                break
        return tasks

    def _summary(self, seen: SeenTask, waiting: set[tuple[str, str]]) -> TaskSummary:
        return TaskSummary(
            scope=seen.scope,
            task=seen.task,
            capability=seen.capability,
            state=seen.state,
            at_unix_ms=seen.at_unix_ms,
            pool=seen.pool,
            model=seen.model,
            zone=self._view.replicas.zone_of(seen.pool) or "",
            error=seen.error,
            latency_ms=seen.latency_ms,
            cost_usd=seen.cost_usd,
            labels=seen.labels,
            run=self._view.tasks.run_of(seen),
            awaits_approval=not seen.has_ended and (seen.scope, seen.task) in waiting,
        )
