"""Every view opens on a fleet with traffic, for who only looks and for who may change things."""

import pytest
from playwright.async_api import Browser, expect

from flotilla.testkit.browser_page import VIEWS, BrowserPage, Traffic, open_page
from flotilla.testkit.fleet import RunningFleet
from flotilla.testkit.plain_client import BODIES, PlainClient, new_task
from flotilla.testkit.portal import PortalHere

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_every_view_opens_without_an_error(page: BrowserPage, traffic: Traffic):
    """
    For who only looks: what they may not see says so in words.
    """
    for view in VIEWS:
        await page.go(view)
        await expect(page.page.locator("main")).not_to_be_empty()
        await expect(page.page.locator("header nav [aria-current=page]")).to_have_count(1)


async def test_who_may_change_things_sees_every_view(browser: Browser, portal: PortalHere, traffic: Traffic):
    """
    For an admin, who signs in with a token and out again.
    """
    async with open_page(browser, portal) as page:
        await page.sign_in("admin")
        # What was seen before somebody signed in is told again.
        await page.go("events")
        await page.page.locator("main tbody tr").first.wait_for()
        for view in VIEWS:
            await page.go(view)
        await page.page.get_by_role("button", name="Sign out").click()
        await page.page.locator("header").get_by_role("link", name="Sign in").wait_for()
        assert page.errors == []


async def test_the_overview_has_pools_replicas_and_the_boundary(
    page: BrowserPage, fleet: RunningFleet, traffic: Traffic
):
    """
    Pools stand in their zones; opened, a pool shows its replicas.
    """
    await page.go("overview")
    local = page.page.locator("section.zone.local")
    await local.locator(".pool").first.wait_for()
    await expect(page.page.locator("section.zone.cloud .pool")).to_have_count(1)
    await page.see("privacy boundary")
    # Others of the zone may stand there too, for a while after they are gone.
    await local.locator("[data-node='local/local'] .pool-button").click()
    await page.see("local-w1")
    await page.page.locator(".edges g:not([hidden])").nth(2).wait_for(state="attached")


async def test_a_pool_whose_routes_are_idle_stays_ready(page: BrowserPage, traffic: Traffic):
    """
    Half a minute after its last task its routes have no figures, and nothing is wrong with it.
    """
    await page.go("routes")
    await page.until(
        """[...document.querySelectorAll('main tbody tr')].some(
          (row) => row.textContent.includes('translate') && row.querySelector('.tag.quiet')?.textContent === 'idle')"""
    )
    await page.go("overview")
    pool = page.page.locator("[data-node='cloud/cloud']")
    await expect(pool.locator(".pool-status")).to_have_text("ready")
    await expect(pool.locator(".pool-words")).to_have_text("translate")
    await expect(page.page.locator("[data-node='cloud/cloud'].ok")).to_have_count(1)


async def test_a_task_leads_to_its_story(page: BrowserPage, traffic: Traffic):
    """
    From the list by its id: its attempts with the reason of each route, and its events.
    """
    await page.go("tasks")
    await page.page.get_by_role("link", name=traffic.task).click()
    await page.see("Attempts")
    await page.page.locator("main").get_by_text("finished").first.wait_for()


async def test_a_run_is_followed_by_its_steps_and_back(page: BrowserPage, traffic: Traffic):
    """
    Among the tasks of callers the run stands alone; each of its steps leads to it.
    """
    await page.go("tasks?steps=hidden")
    await page.page.get_by_role("link", name=traffic.run, exact=True).wait_for()
    assert await page.page.locator(f"main a.id[title^='{traffic.run}-']").count() == 0
    await page.go("tasks")
    await page.page.locator(f"main a.id[title^='{traffic.run}-']").first.click()
    await page.page.locator(".trail").get_by_role("link", name=traffic.run, exact=True).click()
    await page.page.locator(".step").nth(2).wait_for()


@pytest.mark.parametrize(("width", "is_beside"), [(1440, True), (390, False)])
async def test_what_needs_somebody_stands_before_or_beside_the_picture(
    browser: Browser, portal: PortalHere, *, width: int, is_beside: bool
):
    """
    On a phone at night nobody has to look for it.
    """
    async with open_page(browser, portal, width=width) as page:
        await page.go("overview")
        needs, picture = [
            await page.page.locator(where).bounding_box() for where in (".needs-panel", ".topology-panel")
        ]
    assert needs is not None
    assert picture is not None
    assert is_beside == (needs["x"] > picture["x"] + picture["width"])
    assert needs["y"] <= picture["y"]


async def test_the_story_of_a_pipeline_has_its_steps(page: BrowserPage, traffic: Traffic):
    """
    Each with its zone and its data class, which are told to who has signed in.
    """
    await page.sign_in("admin")
    await page.go(f"tasks/default/{traffic.run}")
    await page.page.locator(".step").nth(2).wait_for()
    last = page.page.locator(".step", has_text="german")
    await expect(last).to_contain_text("cloud")
    await expect(last).to_contain_text("internal")
    # What needs what: `german` the summary alone.
    await expect(page.page.locator(".steps-edges path.tip")).to_have_count(1)


@pytest.mark.parametrize(("width", "shown"), [(1440, [True, True]), (390, [False, False])])
async def test_nothing_is_said_of_arrows_where_none_are_drawn(
    browser: Browser, portal: PortalHere, width: int, shown: list[bool]
):
    """
    A narrow window has a list in place of the picture.
    """
    async with open_page(browser, portal, width=width) as page:
        await page.go("overview")
        await page.page.locator("[data-node^='local/']").first.wait_for()
        assert shown == [await page.page.locator(where).is_visible() for where in (".edges", ".of-arrows")]


@pytest.mark.usefixtures("traffic")
async def test_curves_beside_each_other_stand_at_one_height(browser: Browser, portal: PortalHere):
    """
    Also where the legend of one of them has more lines than that of the other.
    """
    async with open_page(browser, portal, width=862) as page:
        await page.go("overview")
        await page.until("document.querySelectorAll('.plots.two svg').length === 2")
        captions, curves = [
            [await each.bounding_box() for each in await page.page.locator(f".plots.two {what}").all()]
            for what in ("figcaption .legend", "svg")
        ]
    assert all((*captions, *curves))
    assert 1 < len({each["height"] for each in captions if each})
    assert 1 == len({(each["y"], each["height"]) for each in curves if each})


async def test_tabs_are_reached_by_the_keyboard(page: BrowserPage):
    """
    `g` and a letter; `/` goes to the search; `?` tells the keys.
    """
    await page.go("overview")
    await page.page.keyboard.press("g")
    await page.page.keyboard.press("e")
    await page.until("location.hash === '#/events'")
    await page.page.locator("input[type=search]").wait_for()
    await page.page.keyboard.press("/")
    assert await page.page.evaluate("document.activeElement.type") == "search"
    await page.page.keyboard.press("Escape")
    await page.page.keyboard.press("?")
    await page.page.get_by_role("dialog").wait_for()
    await page.page.keyboard.press("Escape")
    await page.page.get_by_role("dialog").wait_for(state="detached")


async def test_colours_are_chosen_and_kept(page: BrowserPage):
    """
    As the system, light, dark, by the button in the head; the choice outlives the page.
    """
    await page.go("overview")
    button = page.page.get_by_role("button", name="Colours")
    await button.click()
    await button.click()
    assert await page.page.evaluate("document.documentElement.dataset.theme") == "dark"
    await page.page.reload()
    assert await page.page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert await page.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(14, 19, 25)"


async def test_events_are_paused_searched_and_copied(page: BrowserPage, caller: PlainClient):
    """
    What is paused stands still while events come; a search narrows; the command for a terminal has the same filter.
    """
    await page.go("events")
    await caller.ask("classify", BODIES["classify"])
    await page.page.locator("main tbody tr").first.wait_for()
    await page.page.get_by_role("button", name="Pause").click()
    first = await page.page.locator("main tbody tr").first.inner_text()
    late = new_task("late")
    await caller.ask("classify", BODIES["classify"], headers={"Nats-Msg-Id": late})
    await page.page.get_by_label("search").fill(late)
    await page.see("None matches")
    await page.page.get_by_label("search").fill("")
    await expect(page.page.locator("main tbody tr").first).to_have_text(first, use_inner_text=True)
    await page.page.get_by_role("button", name="Go on").click()
    await page.page.get_by_label("search").fill(late)
    await page.see(late)
    await page.page.get_by_label("kind").select_option("finished")
    command = page.page.get_by_role("button", name="Copy as nats sub")
    await expect(command).to_have_attribute("title", "nats sub 'events.*.finished'")
