"""Every view at three widths, light and dark: it fits its window, shuts nobody out, and a picture of it is kept."""

from pathlib import Path
from typing import Any, Final, get_args

import pytest
from playwright.async_api import Browser

from flotilla.testkit.browser_page import VIEWS, Scheme, open_page
from flotilla.testkit.portal import PortalHere

pytestmark = pytest.mark.asyncio(loop_scope="session")

AXE: Final = Path(__file__).with_name("node_modules") / "axe-core" / "axe.min.js"
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.mark.usefixtures("traffic")
@pytest.mark.parametrize(
    ("width", "scheme"), [(width, scheme) for width in (1440, 1024, 390) for scheme in get_args(Scheme)]
)
async def test_every_view_fits_its_window(
    browser: Browser, portal: PortalHere, pictures: Path, width: int, scheme: Scheme
):
    """
    The pictures are for people to look at.
    """
    async with open_page(browser, portal, width=width, scheme=scheme) as page:
        await page.sign_in("admin")
        for view in VIEWS:
            await page.go(view)
            name = f"{view.replace('/', '-')}-{width}-{scheme}.png"
            await page.page.screenshot(path=pictures / name, full_page=True)
            assert await page.page.evaluate(OVERFLOW) <= 0, view
        assert page.errors == []


@pytest.mark.usefixtures("traffic")
@pytest.mark.parametrize("scheme", get_args(Scheme))
async def test_no_view_shuts_anybody_out(browser: Browser, portal: PortalHere, scheme: Scheme):
    """
    By the rules of axe: names, roles, order, contrast.
    """
    if not AXE.exists():
        pytest.skip("axe-core is not installed: make test-browser installs it")
    rules = AXE.read_text(encoding="utf-8")
    async with open_page(browser, portal, scheme=scheme) as page:
        await page.sign_in("admin")
        for view in VIEWS:
            await page.go(view)
            await page.page.evaluate(rules)
            found: list[dict[str, Any]] = await page.page.evaluate(
                "async () => (await axe.run(document, { resultTypes: ['violations'] })).violations"
            )
            told = [f"{view}: {each['id']}: {each['nodes'][0]['html']}" for each in found]
            assert told == []
