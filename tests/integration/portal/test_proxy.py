"""Somebody whom a proxy before the portal has signed in, and what is believed of it."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from flotilla.testkit.fleet import RunningFleet
from flotilla.testkit.portal import TOKENS, PortalHere, people_file, start_portal

pytestmark = pytest.mark.asyncio(loop_scope="session")

NAME = "portal.example.com"
LOGINS = """
[[person]]
name = "Ada"
role = "admin"
login = "ada@example.com"
[[person]]
name = "Bob"
login = "bob@example.com"
"""
ADA = {"x-auth-email": "ada@example.com"}
BOB = {"x-auth-email": "bob@example.com"}


def settings(folder: Path, proxies: str) -> tuple[Path, dict[str, str]]:
    """The file of people, and what the portal is told."""
    people = people_file(folder)
    people.write_text(people.read_text() + LOGINS)
    return people, {
        "FLOTILLA_PORTAL_HOST": "0.0.0.0",  # noqa: S104
        "FLOTILLA_PORTAL_NAMES": NAME,
        "FLOTILLA_PORTAL_PROXIES": proxies,
        "FLOTILLA_PORTAL_PROXY_HEADER": "X-Auth-Email",
    }


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def behind(portal_fleet: RunningFleet, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[PortalHere]:
    """
    A portal whose proxy is on this machine.
    """
    people, env = settings(tmp_path_factory.mktemp("people"), "127.0.0.1")
    portal = await start_portal(portal_fleet, "behind-a-proxy", people=people, env=env)
    yield portal
    portal.process.kill()


def browser(portal: PortalHere) -> httpx.AsyncClient:
    """By the name that the proxy hands on."""
    return portal.browser(headers={"host": NAME})


async def test_whom_the_proxy_names_has_signed_in_and_nobody_else(behind: PortalHere):
    """
    With a session like any other: changes need its token, and it is of use to nobody whom the proxy calls otherwise.
    """
    body = {"toml": "[default]\nroutes = [{ pool = 'local' }]\n"}
    async with browser(behind) as ada:
        ada.headers.update(ADA)
        session = (await ada.get("/session")).json()
        async with behind.stream(ada) as stream:
            await stream.until(lambda stream: stream.state)
        forged = await ada.post("/api/policy/check", json=body)
        checked = await ada.post("/api/policy/check", headers={"x-csrf-token": session["csrf"]}, json=body)
        cookies = dict(ada.cookies)
    others: list[dict[str, object]] = []
    for headers in ({}, BOB, {"x-auth-email": "eve"}):
        async with browser(behind) as other:
            other.cookies.update(cookies)
            others.append((await other.get("/session", headers=headers)).json())

    assert ("Ada", "admin", "proxy", ["token", "proxy"]) == tuple(
        session[key] for key in ("name", "role", "signed_in_by", "sign_in")
    )
    assert (403, "wrong_csrf") == (forged.status_code, forged.json()["error"]["kind"])
    assert 200 == checked.status_code
    assert [("", None), ("Bob", "viewer"), ("", None)] == [(one["name"], one["role"]) for one in others]


async def test_wrong_tokens_are_counted_by_the_address_that_the_proxy_tells(behind: PortalHere):
    """
    Not by the proxy's, which is everybody's, nor by what somebody wrote before it.
    """
    async with browser(behind) as guess:
        answers = [
            await guess.post(
                "/session",
                json={"token": f"guess-{number}"},
                headers={"x-forwarded-for": f"10.0.0.{number}, 192.0.2.1"},
            )
            for number in range(11)
        ]
        right = await guess.post("/session", json={"token": TOKENS["viewer"]}, headers={"x-forwarded-for": "192.0.2.2"})

    assert [401] * 10 + [429] == [answer.status_code for answer in answers]
    assert ("viewer <b>", "token") == tuple(right.json()[key] for key in ("name", "signed_in_by"))


async def test_a_header_from_elsewhere_is_nothing(portal_fleet: RunningFleet, tmp_path: Path):
    """
    Anybody can send one.
    """
    people, env = settings(tmp_path, "192.0.2.0/24")
    portal = await start_portal(portal_fleet, "not-behind-it", people=people, env=env)
    async with browser(portal) as eve:
        session = (await eve.get("/session", headers=ADA)).json()
        refused = await eve.get("/stream", headers=ADA)
    portal.process.kill()

    assert (False, None) == (session["signed_in"], session["role"])
    assert 401 == refused.status_code
