"""What a portal takes from nobody, and what it lets only some do."""

import asyncio
import time
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

import portal as portal_package
from flotilla.testkit.fleet import RunningFleet
from flotilla.testkit.plain_client import BODIES, PlainClient
from flotilla.testkit.portal import TOKENS, PortalHere, people_file, start_portal
from portal.access.people import load_people
from portal.access.sessions import LIFETIME_S, Sessions, session_key

pytestmark = pytest.mark.asyncio(loop_scope="session")

SOON_S = 5
"""A session that is over so soon is opened in less, also on a busy machine."""


@pytest.mark.parametrize("path", ["/", "/session", "/nowhere", "/assets/../settings.py", "/assets/%2e%2e/settings.py"])
async def test_every_answer_keeps_a_page_from_being_framed_sniffed_stored_or_scripted(portal: PortalHere, path: str):
    """
    Errors included.
    """
    async with portal.browser() as browser:
        answer = await browser.get(path)

    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert "nosniff" == answer.headers["x-content-type-options"]
    assert "no-referrer" == answer.headers["referrer-policy"]
    assert "same-origin" == answer.headers["cross-origin-resource-policy"]
    assert answer.headers["cache-control"] in ("no-store", "no-cache")
    assert "server" not in answer.headers
    assert "PortalSettings" not in answer.text


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "",
        "localhost@evil.example",
        "localhost:80@evil.example",
        "localhost:80:evil.example",
        "localhost:port",
        "[::1]evil.example",
        "[::1]:80@evil.example",
        "10.0.0.1",
    ],
)
async def test_a_name_that_is_not_the_portals_is_refused(portal: PortalHere, host: str):
    """
    A page of somebody else's whose name was made to lead here reads nothing.
    """
    async with portal.browser() as browser:
        answers = [await browser.get(path, headers={"host": host}) for path in ("/", "/session", "/stream")]
        known = await browser.get("/session", headers={"host": f"LOCALHOST:{portal.port}"})

    assert [403, 403, 403] == [answer.status_code for answer in answers]
    assert {"wrong_host"} == {answer.json()["error"]["kind"] for answer in answers}
    assert 200 == known.status_code


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
async def test_a_change_that_another_page_sends_is_refused(portal: PortalHere, headers: dict[str, str]):
    """
    Though the browser sends the cookie, and even the token of the session.
    """
    async with portal.signed_in("admin") as browser:
        refused = await browser.delete("/session", headers=headers)
        still = (await browser.get("/session")).json()["signed_in"]

    assert (403, "wrong_origin") == (refused.status_code, refused.json()["error"]["kind"])
    assert still


async def test_a_change_without_its_sessions_token_is_refused(portal: PortalHere):
    """
    None, a made-up one, and that of another session.
    """
    async with portal.signed_in("admin") as browser, portal.signed_in("admin") as other:
        theirs = other.headers["x-csrf-token"]
        forged = ("", "0" * 64, theirs, "ü")
        answers = [await browser.delete("/session", headers={b"x-csrf-token": token.encode()}) for token in forged]
        signed_out = await browser.delete("/session")

    assert [403] * 4 == [answer.status_code for answer in answers]
    assert {"wrong_csrf"} == {answer.json()["error"]["kind"] for answer in answers}
    assert signed_out.json()["signed_in"] is False


async def test_a_session_is_kept_from_scripts_and_ends_for_good_when_one_signs_out(portal: PortalHere):
    """
    Its cookie is of no use afterwards, and one that was changed never is.
    """
    async with portal.browser() as browser:
        answer = await browser.post("/session", json={"token": TOKENS["approver"]})
        cookie = answer.headers["set-cookie"]
        text = cookie.partition("=")[2].partition(";")[0]
        changed = {"cookie": f"flotilla-portal={text[:-1]}{'0' if text[-1] != '0' else '1'}"}
        of_changed = await browser.get("/session", headers=changed)
    async with portal.browser(headers={"cookie": f"flotilla-portal={text}"}) as again:
        before = (await again.get("/session")).json()
        await again.delete("/session", headers={"x-csrf-token": before["csrf"]})
        after = (await again.get("/session")).json()

    assert {"HttpOnly", "SameSite=strict", "Path=/", "Max-Age=43200"} <= {
        part.strip() for part in cookie.split(";")[1:]
    }
    assert ("approver <b>", {"decide": True, "retry": True, "policy": False, "documents": False}) == (
        answer.json()["name"],
        answer.json()["can"],
    )
    assert [False, True, False] == [of_changed.json()["signed_in"], before["signed_in"], after["signed_in"]]
    assert TOKENS["approver"] not in portal.process.log_text()


@pytest.mark.parametrize(
    "planted",
    [
        b"a=b; \xa0flotilla-portal=%b",
        b"a=b; \x85flotilla-portal=%b",
        b"a=b; flotilla-portal\xa0=%b",
        b"flotilla-portal=%b; flotilla-portal=%b",
        b"flotilla-portal=other; flotilla-portal=%b",
        b"=flotilla-portal=%b",
        b"Flotilla-Portal=%b",
    ],
)
async def test_a_session_that_somebody_else_plants_in_a_browser_is_none(portal: PortalHere, planted: bytes):
    """
    Cookies of another host of the domain, or of another port of this machine, reach the portal too.
    """
    async with portal.browser() as browser:
        answer = await browser.post("/session", json={"token": TOKENS["viewer"]})
        text = answer.headers["set-cookie"].partition("=")[2].partition(";")[0].encode()
    async with portal.browser() as browser:
        cookie = planted.replace(b"%b", text)
        as_planted = await browser.get("/session", headers={b"cookie": cookie})
        alone = await browser.get("/session", headers={b"cookie": b"a=b;flotilla-portal=%b; c" % text})

    assert [False, True] == [as_planted.json()["signed_in"], alone.json()["signed_in"]]


async def test_every_cookie_is_read_so():
    """
    Starlette's own way drops spaces of Unicode around a name, and takes the last of several.
    """
    sources = Path(portal_package.__file__).parent.rglob("*.py")
    assert [] == [source.name for source in sources if ".cookies" in source.read_text()]


async def test_tokens_cannot_be_tried_out(portal_fleet: RunningFleet, tmp_path: Path):
    """
    After ten that nobody has, none is looked at for a minute, the right one included.
    """
    portal = await start_portal(portal_fleet, "guessed", people=people_file(tmp_path))
    async with portal.browser() as browser:
        tries = [await browser.post("/session", json={"token": f"guess-{number}"}) for number in range(11)]
        right = await browser.post("/session", json={"token": TOKENS["admin"]})
    portal.process.kill()

    assert [401] * 10 + [429] == [answer.status_code for answer in tries]
    assert 429 == right.status_code
    assert 0 < int(right.headers["retry-after"]) <= 61


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"token": 7}', b'{"token": "a", "more": 1}', b"[" * 10_000, b"\xff"]
)
async def test_a_body_that_is_none_is_refused_in_words(portal: PortalHere, body: bytes):
    """
    And is not repeated.
    """
    async with portal.browser() as browser:
        answer = await browser.post("/session", content=body, headers={"content-type": "application/json"})
        untyped = await browser.post("/session", content=b"{}")

    assert (400, "bad_request") == (answer.status_code, answer.json()["error"]["kind"])
    assert 400 == untyped.status_code


async def test_more_pages_than_the_bound_are_refused_until_one_is_closed(portal_fleet: RunningFleet):
    """
    With words; the others go on.
    """
    portal = await start_portal(portal_fleet, "crowded", env={"FLOTILLA_VIEWERS_MAX": "2"})
    async with portal.browser() as browser, portal.stream(browser) as first:
        await first.until(lambda stream: stream.state)
        async with portal.stream(browser) as second:
            await second.until(lambda stream: stream.state)
            refused = await browser.get("/stream")
        async with asyncio.timeout(60):
            while True:
                try:
                    async with portal.stream(browser) as third:
                        await third.until(lambda stream: stream.state)
                        break
                except ConnectionError:
                    await asyncio.sleep(0.05)
    portal.process.kill()

    assert (503, "no_capacity") == (refused.status_code, refused.json()["error"]["kind"])


@pytest.mark.parametrize(
    ("env", "named"),
    [
        ({"FLOTILLA_PORTAL_HOST": "0.0.0.0"}, "FLOTILLA_PORTAL_PEOPLE"),  # noqa: S104
        ({"FLOTILLA_PORTAL_HOST": "no such host"}, "FLOTILLA_PORTAL_PEOPLE"),
        ({"FLOTILLA_PORTAL_PEOPLE": "/nowhere/people.toml"}, "FLOTILLA_PORTAL_PEOPLE"),
        ({"FLOTILLA_PORTAL_NAMES": "*.example.com"}, "FLOTILLA_PORTAL_NAMES"),
        ({"FLOTILLA_PORTAL_SESSION_KEY_FILE": "/dev/null"}, "FLOTILLA_PORTAL_SESSION_KEY_FILE"),
    ],
)
async def test_what_would_be_open_to_everybody_does_not_start(
    portal_fleet: RunningFleet, env: dict[str, str], named: str
):
    """
    One line that says what is missing, and exit code 2.
    """
    with pytest.raises(RuntimeError, match=named):
        await start_portal(portal_fleet, f"refused-{abs(hash(str(env)))}", env=env)


async def test_beyond_loopback_nothing_is_shown_to_who_has_not_signed_in(portal_fleet: RunningFleet, tmp_path: Path):
    """
    Under the names that were given, and by no other.
    """
    env = {"FLOTILLA_PORTAL_HOST": "0.0.0.0", "FLOTILLA_PORTAL_NAMES": "portal.example.com"}  # noqa: S104
    portal = await start_portal(portal_fleet, "beyond", people=people_file(tmp_path), env=env)
    async with portal.browser(headers={"host": "portal.example.com"}) as browser:
        session = (await browser.get("/session")).json()
        refused = await browser.get("/stream")
        by_address = await browser.get("/session", headers={"host": f"127.0.0.1:{portal.port}"})
        await browser.post("/session", json={"token": TOKENS["viewer"]})
        async with portal.stream(browser) as stream:
            await stream.until(lambda stream: stream.state)
    portal.process.kill()

    assert (None, False) == (session["role"], session["signed_in"])
    assert (401, "sign_in") == (refused.status_code, refused.json()["error"]["kind"])
    assert 403 == by_address.status_code


async def test_a_stream_ends_with_the_session_that_opened_it(
    portal_fleet: RunningFleet, caller: PlainClient, tmp_path: Path
):
    """
    When somebody signs out, and when the session's time is over; not before.
    """
    people, key = people_file(tmp_path), tmp_path / "session.key"
    key.write_bytes(bytes(range(32)))
    env = {
        "FLOTILLA_PORTAL_HOST": "0.0.0.0",  # noqa: S104
        "FLOTILLA_PORTAL_NAMES": "127.0.0.1",
        "FLOTILLA_PORTAL_SESSION_KEY_FILE": str(key),
    }
    portal = await start_portal(portal_fleet, "sessions-end", people=people, env=env)
    found = load_people(people)
    person = found.with_token(TOKENS["viewer"])
    assert person is not None
    async with AsyncExitStack() as stack:
        leaving, staying = [await stack.enter_async_context(portal.signed_in("viewer")) for _ in range(2)]
        left, kept = [await stack.enter_async_context(portal.stream(browser)) for browser in (leaving, staying)]
        late = await stack.enter_async_context(portal.browser())
        # Last, since it is soon over: a busy machine takes seconds for what comes before.
        now_unix_s = time.time() + SOON_S - LIFETIME_S
        expiring, _ = Sessions(found, session_key(key)).open(person, now_unix_s=now_unix_s)
        late.cookies.set("flotilla-portal", expiring)
        over = await stack.enter_async_context(portal.stream(late))
        await left.until(lambda stream: stream.state)
        await leaving.delete("/session")
        await left.until(lambda stream: stream.is_over)
        await over.until(lambda stream: stream.is_over)
        await caller.ask("classify", BODIES["classify"])
        await kept.until(lambda stream: stream.events)
        again = [await one.get("/stream") for one in (leaving, late)]
    portal.process.kill()

    assert not kept.is_over
    assert [401, 401] == [answer.status_code for answer in again]
