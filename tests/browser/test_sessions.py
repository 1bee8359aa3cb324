"""A session that ends while its page is open, and what a page cannot do though its person tries."""

import time
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.async_api import Browser

from flotilla.testkit.browser_page import BrowserPage, open_page
from flotilla.testkit.fleet import RunningFleet
from flotilla.testkit.portal import TOKENS, PortalHere, people_file, start_portal
from portal.access.people import load_people
from portal.access.sessions import LIFETIME_S, Sessions, session_key

pytestmark = pytest.mark.asyncio(loop_scope="session")

CHANGES: Final[list[tuple[str, str, Any]]] = [
    ("PUT", "/api/policy", {"toml": "format = 1", "revision": 0}),
    ("POST", "/api/dead/retry", {"letters": []}),
    ("POST", "/api/dead/discard", {"letters": []}),
    ("POST", f"/api/approvals/{'a' * 32}", {"decision": "grant", "comment": "", "digest": "a" * 64}),
]
FETCH_ALL: Final = """async ([asked, csrf]) => Promise.all(asked.map(async ([method, path, body]) => {
  const session = await (await fetch('/session')).json();
  const headers = { 'Content-Type': 'application/json', 'X-CSRF-Token': csrf ?? session.csrf };
  const answer = await fetch(path, { method, headers, body: JSON.stringify(body) });
  return [answer.status, (await answer.json()).error.kind, answer.headers.get('cache-control')];
}))"""


async def test_a_viewer_is_refused_whatever_their_page_asks(browser: Browser, portal: PortalHere):
    """
    By fetch, with the token of their own session; an admin with a token that is none. Nothing of it may be stored.
    """
    for role, csrf, why in (("viewer", None, "not_permitted"), ("admin", "0" * 64, "wrong_csrf")):
        async with open_page(browser, portal) as page:
            await page.sign_in(role)
            found = await page.page.evaluate(FETCH_ALL, [CHANGES, csrf])
            assert [[403, why, "no-store"]] * len(CHANGES) == found
            assert page.errors == []


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])  # noqa: S104
async def test_a_session_that_ends_under_an_open_page_says_so_and_how_to_go_on(
    browser: Browser, fleet: RunningFleet, tmp_path: Path, pictures: Path, host: str
):
    """
    Where everybody may look, at the next thing that is refused; elsewhere at once. Who signs in again is where they were.
    """
    people, key = people_file(tmp_path), tmp_path / "session.key"
    key.write_bytes(bytes(range(32)))
    env = {
        "FLOTILLA_PORTAL_HOST": host,
        "FLOTILLA_PORTAL_NAMES": "127.0.0.1",
        "FLOTILLA_PORTAL_SESSION_KEY_FILE": str(key),
    }
    portal = await start_portal(fleet, f"ends-{host.replace('.', '-')}", people=people, env=env)
    found = load_people(people)
    admin = found.with_token(TOKENS["admin"])
    assert admin is not None
    async with open_page(browser, portal) as page:
        await page.sign_in("admin")
        await page.go("routes/policy")
        await page.page.get_by_role("button", name="Change it").click()
        await page.page.get_by_label("The new policy").fill("format = 1")
        # The same person's, whose time is over.
        over, _ = Sessions(found, session_key(key)).open(admin, now_unix_s=time.time() - LIFETIME_S)
        [kept] = [each for each in await page.page.context.cookies() if each.get("name") == "flotilla-portal"]
        await page.page.context.add_cookies([{**kept, "value": over}])  # pyright: ignore[reportArgumentType]  # its own
        if host == "127.0.0.1":
            await page.page.get_by_role("button", name="Check").click()
            await page.see("Your session is over")
            assert await page.page.get_by_role("button", name="Sign out").count() == 0
            await page.page.get_by_role("link", name="sign in again").click()
        else:
            await page.page.evaluate("import('/assets/core/stream.js').then((stream) => stream.reopen())")
            await page.see("Your session is over")
        await page.page.screenshot(path=pictures / f"session-over-{host}.png")
        await sign_in_here(page)
        await page.until("location.hash === '#/routes/policy'")
        assert "format = 1" == await page.page.get_by_label("The new policy").input_value()
        assert await page.page.get_by_text("Your session is over").count() == 0
        assert page.errors == []
    portal.process.kill()


async def sign_in_here(page: BrowserPage) -> None:
    """At the form that is shown."""
    await page.page.get_by_label("Token").fill(TOKENS["admin"])
    await page.page.get_by_role("button", name="Sign in").click()
    await page.page.get_by_role("button", name="Sign out").wait_for()
