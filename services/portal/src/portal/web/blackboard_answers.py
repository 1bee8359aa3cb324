"""The blackboard, as who asks may read it."""

from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from flotilla.client.blackboard import Entry
from portal.access.fleets import Fleets
from portal.web import parameters
from portal.web.errors import RefusedError, as_json, bad_request
from portal.web.who import Doors, may

ENTRIES_PER_PAGE: Final = 100
VALUE_BYTES_SHOWN_MAX: Final = 8 * 1024
PREFIX_LENGTH_MAX: Final = 200


class BlackboardAnswers:
    """Answers `/api/blackboard`."""

    def __init__(self, doors: Doors, fleets: Fleets) -> None:
        self._doors = doors
        self._fleets = fleets

    async def listed(self, request: Request) -> Response:
        """A page of keys with their values, by key; a value that is long, or that one may not read, is left out."""
        session = self._doors.person(request)
        person = session.person
        if parameters.scope(request) not in ("", person.scope):
            raise RefusedError(403, "not_permitted", f"Your credentials are for the scope {person.scope} only")
        prefix = parameters.text(request, "prefix", length_max=PREFIX_LENGTH_MAX).rstrip(".")
        if set(prefix) & {"*", ">"}:
            raise bad_request("prefix: expected the first words of a key")
        after = parameters.text(request, "cursor") or None
        async with self._fleets.of(person) as fleet:
            entries, more = await fleet.blackboard.page(f"{prefix}.>" if prefix else ">", after=after)
        page = entries[:ENTRIES_PER_PAGE]
        more = more or len(entries) > len(page)
        documents = may(person).documents
        return as_json(
            {
                "scope": person.scope,
                "entries": [_row(entry, documents=documents) for entry in page],
                "cursor": page[-1].key if page and more else None,
            }
        )


def _row(entry: Entry, *, documents: bool) -> dict[str, object]:
    value = msgspec.json.encode(entry.value)
    row: dict[str, object] = {
        "key": entry.key,
        "size_bytes": len(value),
        "revision": entry.revision,
        "author": entry.author,
        "at_unix_ms": entry.at_unix_ms,
        "expires_unix_ms": entry.expires_unix_ms,
    }
    if documents and len(value) <= VALUE_BYTES_SHOWN_MAX:
        row["value"] = msgspec.Raw(value)
    return row
