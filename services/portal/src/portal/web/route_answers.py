"""Routes: how they did in the last hour, where a task would go now and why, and the policy that says so."""

import time
from typing import Final

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from flotilla.contracts.api_routing import ExplainQuery, Explanation
from flotilla.contracts.headers import DataClass
from flotilla.fabric.inbox import Requests
from portal.access.fleets import Fleets
from portal.live.asking import ask, policy_versions
from portal.live.history import STEP_S
from portal.live.view import FleetView
from portal.web import parameters
from portal.web.errors import as_json, bad_request
from portal.web.who import Doors, read_body

CLASSES: Final[dict[str, DataClass]] = {name: name for name in ("public", "internal", "restricted")}


class PolicyText(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /api/policy/check`."""

    toml: str


class PolicyChange(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    The body of `PUT /api/policy`.

    Attributes:
        revision: The one that was in force when the text was written; 0 for none.
        force: Also where it leaves a capability without a live route.
    """

    toml: str
    revision: int
    force: bool = False


class RouteAnswers:
    """Answers `/api/history`, `/api/explain` and `/api/policy`."""

    def __init__(self, doors: Doors, view: FleetView, requests: Requests, fleets: Fleets) -> None:
        self._doors = doors
        self._view = view
        self._requests = requests
        self._fleets = fleets

    async def history(self, request: Request) -> Response:
        """The last hour of the routes that match."""
        self._doors.viewer(request)
        wanted = {
            "capability": parameters.capability(request),
            "pool": parameters.pool(request),
            "model": parameters.model(request),
        }
        history = self._view.history
        seen = history.seen()
        return as_json(
            {
                "step_s": STEP_S,
                "from_unix_s": seen.from_unix_s,
                "until_unix_s": seen.until_unix_s,
                "unseen": history.unseen(),
                "told": history.told(),
                "points": history.points(**wanted),
                "moves": history.moves(time.time(), **wanted),
            }
        )

    async def explain(self, request: Request) -> Response:
        """Where a task would go now."""
        self._doors.viewer(request)
        capability = parameters.capability(request)
        given = parameters.text(request, "data_class")
        if not capability:
            raise bad_request("capability: expected the name of a capability")
        if given and given not in CLASSES:
            raise bad_request(f"data_class: expected one of {', '.join(CLASSES)}")
        query = ExplainQuery(capability=capability, data_class=CLASSES.get(given))
        scope = parameters.scope(request) or self._view.scopes[0]
        return as_json(await ask(self._requests, scope, "explain", query, Explanation))

    async def policy(self, request: Request) -> Response:
        """The policy in force, and the versions before it, newest first."""
        self._doors.viewer(request)
        versions = await policy_versions(self._requests)
        newest = versions[-1] if versions else None
        in_force = None if newest is None or newest.deleted else newest
        return as_json(
            {
                "toml": in_force.toml if in_force else "",
                "revision": in_force.revision if in_force else 0,
                "author": in_force.author if in_force else "",
                "at_unix_ms": in_force.at_unix_ms if in_force else 0,
                "history": [*reversed(versions)],
            }
        )

    async def check(self, request: Request) -> Response:
        """What a text would come to; changes nothing."""
        session = self._doors.changes(request)
        body = await read_body(request, PolicyText)
        async with self._fleets.of(session.person) as fleet:
            reply = await fleet.policy.check(body.toml)
        return as_json({"ok": True, "warnings": reply.warnings})

    async def change(self, request: Request) -> Response:
        """Put a text in force, with the name of who did."""
        session = self._doors.changes(request, "policy")
        body = await read_body(request, PolicyChange)
        async with self._fleets.of(session.person) as fleet:
            reply = await fleet.policy.set(
                body.toml, expected_revision=body.revision, author=session.person.name, force=body.force
            )
        return as_json({"revision": reply.revision, "warnings": reply.warnings})
