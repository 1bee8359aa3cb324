"""Dead letters: why, and once more."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Final

from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import Response

from flotilla.client.fleet import Fleet
from flotilla.contracts.api import DEAD_LIST_MAX
from flotilla.contracts.errors import TaskError
from flotilla.contracts.fields import Instance, TaskId
from portal.access.fleets import Fleets
from portal.access.sessions import Session
from portal.web import parameters
from portal.web.errors import RefusedError, as_json
from portal.web.who import Doors, read_body

DEAD_PER_PAGE: Final = 100
CHANGED_MAX: Final = 100
AT_ONCE_MAX: Final = 8


class DeadId(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One dead letter."""

    scope: Instance
    task: TaskId


class DeadIds(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of a change."""

    ids: Annotated[list[DeadId], Meta(min_length=1, max_length=CHANGED_MAX)]


Change = Callable[[Fleet, str], Awaitable[dict[str, object]]]


class DeadAnswers:
    """Answers `/api/dead`, with the credentials of who asks."""

    def __init__(self, doors: Doors, fleets: Fleets) -> None:
        self._doors = doors
        self._fleets = fleets

    async def listed(self, request: Request) -> Response:
        """A page of them, newest first; nothing of a document is in it."""
        session = self._doors.person(request)
        scope = self._own(session, parameters.scope(request))
        offset = parameters.offset(request, DEAD_LIST_MAX)
        limit = min(offset + DEAD_PER_PAGE + 1, DEAD_LIST_MAX)
        async with self._fleets.of(session.person) as fleet:
            found = await fleet.dead_list(limit)
        page = found[offset : offset + DEAD_PER_PAGE]
        rows = [
            {
                "scope": scope,
                "task": entry.task,
                "capability": entry.capability,
                "error": {"kind": entry.error.kind, "message": entry.error.message},
                "at_unix_ms": entry.at_unix_ms,
                "size_bytes": entry.size_bytes,
            }
            for entry in page
        ]
        more = len(found) > offset + DEAD_PER_PAGE
        return as_json({"dead": rows, "cursor": str(offset + DEAD_PER_PAGE) if more else None})

    async def retry(self, request: Request) -> Response:
        """Submit some again; each has a new id then."""

        async def again(fleet: Fleet, task: str) -> dict[str, object]:
            return {"retried_as": (await fleet.dead_retry(task)).retried_as}

        return await self._each(request, again)

    async def discard(self, request: Request) -> Response:
        """Delete the records of some."""

        async def away(fleet: Fleet, task: str) -> dict[str, object]:
            return {"discarded": (await fleet.dead_discard(task)).discarded}

        return await self._each(request, away)

    async def _each(self, request: Request, change: Change) -> Response:
        session = self._doors.changes(request, "retry")
        ids = (await read_body(request, DeadIds)).ids
        for one in ids:
            self._own(session, one.scope)
        room = asyncio.Semaphore(AT_ONCE_MAX)

        async def changed(fleet: Fleet, one: DeadId) -> dict[str, object]:
            async with room:
                try:
                    done = await change(fleet, one.task)
                except TaskError as error:
                    done = {"error": {"kind": error.kind, "message": error.message}}
                return {"scope": one.scope, "task": one.task, **done}

        async with self._fleets.of(session.person) as fleet:
            results = await asyncio.gather(*(changed(fleet, one) for one in ids))
        return as_json({"results": results})

    @staticmethod
    def _own(session: Session, scope: str) -> str:
        own = session.person.scope
        if scope not in ("", own):
            raise RefusedError(403, "not_permitted", f"Your credentials are for the scope {own} only")
        return own
