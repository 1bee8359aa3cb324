"""Which path is answered by what."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Final

import structlog
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from flotilla.contracts.errors import FlotillaError
from portal.live.view import FleetView
from portal.web.errors import RefusedError, error_response
from portal.web.guard import Guard
from portal.web.page_files import INDEX, page_response, read_page_files
from portal.web.session_answers import SessionAnswers
from portal.web.stream import EventStream
from portal.web.who import Doors

logger = structlog.get_logger("portal")

PATH_LOGGED_MAX: Final = 200
PERSONS_SHARE: Final = 8
"""Of the pages that may be open, one person may have this part: nobody takes all places."""
Answer = Callable[[Request], Awaitable[Response]]


class StreamAnswers:
    """Opens streams, up to a bound in all and one for each person."""

    def __init__(self, doors: Doors, view: FleetView, *, viewers_max: int, stopping: asyncio.Event) -> None:
        self._doors = doors
        self._view = view
        self._viewers_max = viewers_max
        self._each_max: Final = max(1, viewers_max // PERSONS_SHARE)
        self._open: Final[Counter[str]] = Counter()
        self._stopping = stopping

    async def open(self, request: Request) -> Response:
        """The stream of the fleet."""
        session = self._doors.viewer(request)
        if self._view.viewers >= self._viewers_max:
            raise RefusedError(503, "no_capacity", f"{self._viewers_max} pages are open already; close one")
        person = "" if session is None else session.person.key
        # Nobody is known where everybody may look, which is on loopback alone.
        if person and self._open[person] >= self._each_max:
            raise RefusedError(503, "no_capacity", f"You have {self._each_max} pages open already; close one")
        return EventStream(
            self._view,
            last_event_id=request.headers.get("last-event-id", ""),
            stopping=self._stopping,
            still_may=lambda: self._doors.lets_look(request),
            while_open=self._counted(person),
        )

    @contextmanager
    def _counted(self, person: str) -> Generator[None]:
        self._open[person] += 1
        try:
            yield
        finally:
            self._open[person] -= 1
            if not self._open[person]:
                del self._open[person]


def every_answer(
    session: SessionAnswers, stream: StreamAnswers, data: Mapping[tuple[str, str], Answer]
) -> dict[tuple[str, str], Answer]:
    """By method and path: the page's own files, `/session`, `/stream`, and what `data` has."""
    files: Final = read_page_files()

    async def index(request: Request) -> Response:
        return page_response(request, files, INDEX)

    async def asset(request: Request) -> Response:
        return page_response(request, files, request.path_params["path"])

    return {
        ("GET", "/"): index,
        ("GET", "/assets/{path:path}"): asset,
        ("GET", "/session"): session.show,
        ("POST", "/session"): session.sign_in,
        ("DELETE", "/session"): session.sign_out,
        ("GET", "/stream"): stream.open,
        **data,
    }


def application(answers: Mapping[tuple[str, str], Answer], *, names: frozenset[str], https: bool) -> ASGIApp:
    """
    The whole application, guarded.

    Args:
        answers: By method and path.
        names: See `Guard`.
        https: See `Guard`.
    """
    routes = [Route(path, _told(answer), methods=[method]) for (method, path), answer in answers.items()]
    app = Starlette(
        routes=routes,
        exception_handlers={404: _not_found, 405: _not_found, Exception: _crashed},
    )
    return Guard(app, names=names, https=https)


def _told(answer: Answer) -> Answer:
    async def told(request: Request) -> Response:
        try:
            return await answer(request)
        except FlotillaError as error:
            return error_response(error)

    return told


async def _not_found(_request: Request, _error: Exception) -> Response:
    return error_response(RefusedError(404, "not_found", "There is nothing at this address"))


async def _crashed(request: Request, error: Exception) -> Response:
    logger.error("request_failed", path=request.scope["path"][:PATH_LOGGED_MAX], exc_info=error)
    return error_response(RefusedError(503, "internal", "The portal failed; its log says why"))
