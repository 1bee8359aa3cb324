"""
Every endpoint for everybody: what each person gets, and that nobody gets it by another way.

The endpoints are the application's own, so a new one without a line in WHO fails here.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from typing import Any, Final, cast

import httpx
import pytest
import pytest_asyncio

from flotilla.testkit.fleet import RunningFleet
from flotilla.testkit.portal import TOKENS, PortalHere, people_file, start_portal
from portal.access.people import load_people
from portal.access.sessions import LIFETIME_S, Sessions, session_key
from portal.web.app import StreamAnswers, every_answer
from portal.web.data_answers import data_answers
from portal.web.session_answers import SessionAnswers
from portal.web.who import BODY_BYTES_MAX

pytestmark = pytest.mark.asyncio(loop_scope="session")

EVERYBODY: Final = frozenset({"nobody", "forged", "expired", "viewer", "approver", "admin"})
SIGNED_IN: Final = frozenset({"viewer", "approver", "admin"})
DECIDES: Final = frozenset({"approver", "admin"})
ADMIN: Final = frozenset({"admin"})
HAS_CREDENTIALS: Final = frozenset({"approver"})
"""In the file of people, `approver_creds` stand beside the approver alone."""
REQUEST: Final = "0" * 32

WHO: Final[Mapping[tuple[str, str], frozenset[str]]] = {
    ("GET", "/"): EVERYBODY,
    ("GET", "/assets/{path:path}"): EVERYBODY,
    ("GET", "/session"): EVERYBODY,
    ("POST", "/session"): EVERYBODY,
    ("DELETE", "/session"): SIGNED_IN,
    ("GET", "/stream"): SIGNED_IN,
    ("GET", "/api/tasks"): SIGNED_IN,
    ("GET", "/api/tasks/{scope}/{task}"): SIGNED_IN,
    ("GET", "/api/tasks/{scope}/{task}/result"): ADMIN,
    ("GET", "/api/history"): SIGNED_IN,
    ("GET", "/api/explain"): SIGNED_IN,
    ("GET", "/api/policy"): SIGNED_IN,
    ("POST", "/api/policy/check"): SIGNED_IN,
    ("PUT", "/api/policy"): ADMIN,
    ("GET", "/api/dead"): SIGNED_IN,
    ("POST", "/api/dead/retry"): DECIDES,
    ("POST", "/api/dead/discard"): DECIDES,
    ("GET", "/api/blackboard"): SIGNED_IN,
    ("GET", "/api/spend"): SIGNED_IN,
    ("GET", "/api/experiments"): SIGNED_IN,
    ("GET", "/api/approvals"): HAS_CREDENTIALS,
    ("GET", "/api/approvals/{id}"): HAS_CREDENTIALS,
    ("POST", "/api/approvals/{id}"): DECIDES,
}
"""Who gets more than a refusal, where not everybody may look."""
ALSO_UNKNOWN: Final = frozenset(
    ("GET", path)
    for path in ("/stream", "/api/tasks", "/api/tasks/{scope}/{task}", "/api/history", "/api/explain", "/api/policy")
)
"""What is shown to who has not signed in, on loopback."""
CHANGES: Final = sorted(each for each in WHO if each[0] != "GET")
WITH_BODY: Final = [each for each in CHANGES if each[0] != "DELETE"]
VALUES: Final = {"path:path": "main.js", "scope": "default", "task": "t1", "id": REQUEST}


def endpoints() -> set[tuple[str, str]]:
    """Those of the application; none of them is answered here."""
    missing = cast("Any", None)
    session = SessionAnswers(missing, missing, missing, scopes=("default",))
    stream = StreamAnswers(missing, missing, viewers_max=1, stopping=missing)
    return set(every_answer(session, stream, data_answers(missing, missing, missing, missing, missing)))


def address(path: str) -> str:
    """A path with a value for each name in it."""
    for name, value in VALUES.items():
        path = path.replace("{" + name + "}", value)
    return path


class Somebody:
    """A browser, and the token of its session."""

    def __init__(self, client: httpx.AsyncClient, csrf: str) -> None:
        self.client: Final = client
        self.csrf: Final = csrf

    async def asks(
        self, endpoint: tuple[str, str], *, headers: Mapping[str, str] | None = None, body: bytes = b"{}"
    ) -> httpx.Response:
        """The head of the answer, with its body where it is not the stream. What would be changed is no change."""
        method, path = endpoint
        given = {"x-csrf-token": self.csrf, "content-type": "application/json", **(headers or {})}
        content = body if endpoint in WITH_BODY else None
        async with self.client.stream(method, address(path), headers=given, content=content) as answer:
            if answer.headers.get("content-type", "").startswith("text/event-stream"):
                return answer
            await answer.aread()
            return answer


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def closed(portal_fleet: RunningFleet, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[PortalHere]:
    """
    A portal that shows nothing to who has not signed in.
    """
    folder = tmp_path_factory.mktemp("closed")
    (folder / "session.key").write_bytes(bytes(range(32)))
    env = {
        "FLOTILLA_PORTAL_HOST": "0.0.0.0",  # noqa: S104
        "FLOTILLA_PORTAL_NAMES": "127.0.0.1",
        "FLOTILLA_PORTAL_SESSION_KEY_FILE": str(folder / "session.key"),
        "FLOTILLA_VIEWERS_MAX": "16",
    }
    people = people_file(folder, approver_creds=portal_fleet.server.approver().creds)
    portal = await start_portal(portal_fleet, "closed", people=people, env=env)
    yield portal
    portal.process.kill()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def all_of_them(
    closed: PortalHere, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[dict[str, Somebody]]:
    """
    Somebody of each role, with a session that is over, with one that is forged, and with none.
    """
    folder = tmp_path_factory.mktemp("people-too")
    (folder / "session.key").write_bytes(bytes(range(32)))
    found = load_people(people_file(folder))
    person = found.with_token(TOKENS["admin"])
    assert person is not None
    over, session = Sessions(found, session_key(folder / "session.key")).open(
        person, now_unix_s=time.time() - LIFETIME_S - 1
    )
    forged, theirs = Sessions(found, bytes(32)).open(person, now_unix_s=time.time())
    async with AsyncExitStack() as stack:
        them: dict[str, Somebody] = {}
        for name, cookie, csrf in (
            ("nobody", "", ""),
            ("expired", over, session.csrf),
            ("forged", forged, theirs.csrf),
        ):
            cookies = {"flotilla-portal": cookie} if cookie else {}
            them[name] = Somebody(await stack.enter_async_context(closed.browser(cookies=cookies)), csrf)
        for role in sorted(SIGNED_IN):
            client = await stack.enter_async_context(closed.signed_in(role))
            them[role] = Somebody(client, client.headers.pop("x-csrf-token"))
        yield them


async def test_who_may_is_decided_of_every_endpoint():
    """
    A new one needs a line above.
    """
    assert set(WHO) == endpoints()


@pytest.mark.parametrize("endpoint", [each for each in WHO if each != ("DELETE", "/session")], ids=" ".join)
async def test_an_endpoint_answers_those_who_may_and_nobody_else(
    all_of_them: dict[str, Somebody], portal: PortalHere, endpoint: tuple[str, str]
):
    """
    By role; sessions that are over or forged are none. Whatever is answered, nobody else may store, frame or read it.
    """
    answers = {name: await somebody.asks(endpoint) for name, somebody in all_of_them.items()}
    async with portal.browser() as unknown:
        on_loopback = await Somebody(unknown, "").asks(endpoint)

    let_in = {name for name, answer in answers.items() if answer.status_code not in (401, 403)}
    if endpoint == ("POST", "/session"):
        assert {400} == {answer.status_code for answer in answers.values()}
    assert WHO[endpoint] == let_in
    without = [answers[name].status_code for name in ("nobody", "expired", "forged") if name not in WHO[endpoint]]
    assert {401} >= set(without)
    assert (WHO[endpoint] == EVERYBODY or endpoint in ALSO_UNKNOWN) == (on_loopback.status_code not in (401, 403))
    for answer in (*answers.values(), on_loopback):
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert "same-origin" == answer.headers["cross-origin-resource-policy"]
        is_file = endpoint[1] in ("/", "/assets/{path:path}")
        assert ("no-cache" if is_file else "no-store") == answer.headers["cache-control"]
        assert "set-cookie" not in answer.headers
        assert "access-control-allow-origin" not in answer.headers
        assert not answer.is_redirect


@pytest.mark.parametrize("endpoint", sorted(WHO), ids=" ".join)
async def test_an_endpoint_is_not_reached_by_another_name(all_of_them: dict[str, Somebody], endpoint: tuple[str, str]):
    """
    A page of somebody else's whose name was made to lead here; for a change also one that has the cookie sent.
    """
    admin = all_of_them["admin"]
    hostile = [
        ({"host": "evil.example"}, "wrong_host"),
        *(
            (headers, "wrong_origin")
            for headers in ({"origin": "https://evil.example"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"})
            if endpoint[0] != "GET"
        ),
    ]
    answers = [(await admin.asks(endpoint, headers=headers), kind) for headers, kind in hostile]

    assert [(403, kind) for _, kind in answers] == [
        (answer.status_code, answer.json()["error"]["kind"]) for answer, _ in answers
    ]


@pytest.mark.parametrize("endpoint", [each for each in CHANGES if each != ("POST", "/session")], ids=" ".join)
async def test_a_change_needs_the_token_of_its_own_session(all_of_them: dict[str, Somebody], endpoint: tuple[str, str]):
    """
    None, a made-up one, and that of another session of somebody who may.
    """
    admin = all_of_them["admin"]
    forged = ("", "0" * 64, all_of_them["approver"].csrf)
    answers = [await admin.asks(endpoint, headers={"x-csrf-token": token}) for token in forged]

    assert {(403, "wrong_csrf")} == {(answer.status_code, answer.json()["error"]["kind"]) for answer in answers}


@pytest.mark.parametrize("endpoint", WITH_BODY, ids=" ".join)
async def test_a_body_that_is_too_long_or_none_is_refused(all_of_them: dict[str, Somebody], endpoint: tuple[str, str]):
    """
    In words, and before anybody in the fleet is asked.
    """
    somebody = all_of_them["admin"]
    long = await somebody.asks(endpoint, body=b'"' + b"x" * BODY_BYTES_MAX)
    deep = await somebody.asks(endpoint, body=b"[" * 10_000)
    untyped = await somebody.asks(endpoint, headers={"content-type": "text/plain"})

    assert [(400, "too_large"), (400, "bad_request"), (400, "bad_request")] == [
        (answer.status_code, answer.json()["error"]["kind"]) for answer in (long, deep, untyped)
    ]


@pytest.mark.parametrize(
    "path",
    [
        "/assets/../settings.py",
        "/assets/%2e%2e/settings.py",
        "/assets/..%2fsettings.py",
        "/assets//etc/passwd",
        "/assets/%00",
        "/assets/main.js%0d%0ax-more:%201",
        "//evil.example/",
        "/?next=https://evil.example/",
        "/session?next=//evil.example",
        "/api/tasks/default/..",
        "/api/tasks/%0d%0ax/y",
        "/api/approvals/%0d%0ax-more:%201",
    ],
)
async def test_a_path_leads_to_nothing_but_the_pages_own_files(closed: PortalHere, path: str):
    """
    Nor to another site, nor into the headers of an answer.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", closed.port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{closed.port}\r\nConnection: close\r\n\r\n".encode())
    answer = await asyncio.wait_for(reader.read(), 60)
    writer.close()
    head = answer.partition(b"\r\n\r\n")[0].lower()

    assert b"location:" not in head
    assert b"x-more" not in head
    assert b"evil.example" not in answer
    assert b"PortalSettings" not in answer
    assert b"root:" not in answer


async def test_one_person_does_not_take_all_places(closed: PortalHere):
    """
    An eighth of them, by however many sessions; others go on to open theirs.
    """
    async with AsyncExitStack() as stack:
        for _ in range(2):
            own = await stack.enter_async_context(closed.signed_in("viewer"))
            await stack.enter_async_context(closed.stream(own))
        third = await stack.enter_async_context(closed.signed_in("viewer"))
        refused = await Somebody(third, "").asks(("GET", "/stream"))
        other = await stack.enter_async_context(closed.signed_in("approver"))
        async with closed.stream(other) as stream:
            await stream.until(lambda stream: stream.state)

    assert (503, "no_capacity") == (refused.status_code, refused.json()["error"]["kind"])
