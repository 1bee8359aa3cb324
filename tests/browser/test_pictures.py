"""Every view at three widths, light and dark: it fits its window, shuts nobody out, and a picture of it is kept."""

import json
from pathlib import Path
from typing import Any, Final, get_args

import pytest
from playwright.async_api import Browser, Route

from flotilla.testkit.browser_page import VIEWS, BrowserPage, Scheme, open_page
from flotilla.testkit.portal import PortalHere

pytestmark = pytest.mark.asyncio(loop_scope="session")

AXE: Final = Path(__file__).with_name("node_modules") / "axe-core" / "axe.min.js"
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
WIDTHS: Final = (320, 390, 639, 640, 720, 859, 860, 1099, 1100, 1440)
"""Of a phone, of a wide window at 200 %, and at either side of where the page changes its form."""
AXE_OPTIONS: Final = {"resultTypes": ["violations"], "rules": {"target-size": {"enabled": True}}}
LONG: Final = "\u202bملخص-المستندات\u202c-" + "a-name-without-an-end-" * 3


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
            if width == min(WIDTHS[1:]) and scheme == "light":
                await fits_every_width(page, view)
        assert page.errors == []


async def fits_every_width(page: BrowserPage, what: str) -> None:
    """Nothing is beside the window, as wide as it may be."""
    before = page.page.viewport_size
    assert before is not None
    for width in WIDTHS:
        await page.page.set_viewport_size({"width": width, "height": 800})
        assert await page.page.evaluate(OVERFLOW) <= 0, (what, width)
    await page.page.set_viewport_size(before)


@pytest.mark.usefixtures("traffic")
async def test_sixty_pools_with_long_names_fit_every_window(browser: Browser, portal: PortalHere, pictures: Path):
    """
    Also from right to left; with replicas that are gone, routes that were left, and errors of many words.
    """
    async with portal.browser() as client, portal.stream(client) as stream:
        await stream.until(lambda found: found.state and len(found.state["pools"]) > 1 and found.state["routes"])
        state: dict[str, Any] = dict(stream.state or {})
    pool, route = state["pools"][0], state["routes"][0]
    statuses = ("ready", "busy", "draining", "silent", "gone")
    state["pools"] = [
        {**pool, "name": f"{LONG}{at}", "models": [f"{LONG}{each}" for each in range(4)], "zone": ("local", "cloud")[at % 2],
         "status": statuses[at % 5], "slots": 4000, "slots_free": at, "words": f"{LONG} {LONG}", "tasks_per_s": 12345.6}
        for at in range(60)
    ]  # fmt: skip
    state["routes"] = [
        {
            **route,
            "pool": f"{LONG}{at}",
            "model": LONG,
            "capability": LONG,
            "status": "ejected",
            "words": f"{LONG} {LONG}",
        }
        for at in range(60)
    ]
    need = {
        "severity": "bad",
        "name": "route",
        "text": f"{LONG} {LONG}",
        "todo": LONG,
        "href": "#/routes",
        "count": 1234,
    }
    state["needs_you"] = [{**need, "name": f"route {at}"} for at in range(12)]

    async def answer(told: Route) -> None:
        await told.fulfill(content_type="text/event-stream", body=f"event: state\ndata: {json.dumps(state)}\n\n")

    async with open_page(browser, portal) as page:
        await page.page.route("**/stream", answer)
        for view in ("overview", "routes"):
            await page.page.goto(f"{portal.url}/#/{view}")
            await page.see(LONG[-20:])
            await fits_every_width(page, view)
            for width in (390, 820, 1440):
                await page.page.set_viewport_size({"width": width, "height": 900})
                await page.page.screenshot(path=pictures / f"many-{view}-{width}.png", full_page=True)
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
                "async (options) => (await axe.run(document, options)).violations", AXE_OPTIONS
            )
            told = [f"{view}: {each['id']}: {each['nodes'][0]['html']}" for each in found]
            assert told == []
