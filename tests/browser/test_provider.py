"""Somebody signs in at an OpenID Connect provider, and comes back."""

from pathlib import Path

import pytest
from playwright.async_api import Browser

from flotilla.testkit.browser_page import open_page
from flotilla.testkit.fleet import RunningFleet
from flotilla.testkit.oidc_provider import OidcProvider
from flotilla.testkit.portal import people_file, start_portal

pytestmark = pytest.mark.asyncio(loop_scope="session")

ADA = """
[[person]]
name = "Ada Lovelace"
role = "admin"
login = "ada@example.com"
"""


async def test_one_signs_in_at_the_provider_or_reads_why_not(
    browser: Browser, fleet: RunningFleet, tmp_path: Path, pictures: Path
):
    """
    Nobody who is not known; then somebody who is, whose cookie the browser sends though it came from elsewhere.
    """
    people = people_file(tmp_path)
    people.write_text(people.read_text() + ADA)
    async with OidcProvider() as provider:
        env = {
            "FLOTILLA_PORTAL_HOST": "0.0.0.0",  # noqa: S104
            "FLOTILLA_PORTAL_NAMES": "127.0.0.1",
            "FLOTILLA_PORTAL_OIDC_ISSUER": provider.url,
            "FLOTILLA_PORTAL_OIDC_CLIENT_ID": provider.client_id,
        }
        portal = await start_portal(fleet, "portal-of-a-provider", people=people, env=env)
        provider.redirect_uris.add(f"{portal.url}/sign-in/back")
        async with open_page(browser, portal) as page:
            await page.page.goto(portal.url)
            button = page.page.get_by_role("button", name="Sign in at the provider")
            provider.claims = {"email": "mallory@example.com", "email_verified": True}
            await button.click()
            await page.see("nobody here has your name")
            await page.page.screenshot(path=pictures / "sign-in-provider.png")
            provider.claims = {"email": "ada@example.com", "email_verified": True}
            await button.click()
            await page.see("Ada Lovelace")
            await page.page.get_by_role("button", name="Sign out").click()
            await button.wait_for()
            await page.until(f"location.href === '{portal.url}/'")
            assert [True] == ["id_token_hint" in each for each in provider.ended]
            # The provider is elsewhere, and nothing but it.
            assert [error for error in page.errors if provider.url not in error] == []
        portal.process.kill()
