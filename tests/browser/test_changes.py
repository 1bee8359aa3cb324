"""What changes in the fleet is seen on an open page, and so is that nothing can be seen any more."""

import asyncio
from typing import Final

import pytest
from playwright.async_api import Browser, expect

from flotilla.testkit.browser_page import BrowserPage, open_page
from flotilla.testkit.fleet import RunningFleet
from flotilla.testkit.patient_client import WAIT_S
from flotilla.testkit.plain_client import BODIES, PlainClient, eventually
from flotilla.testkit.portal import PortalHere, start_portal

pytestmark = pytest.mark.asyncio(loop_scope="session")

GUARDED: Final = """
format = 1
[default]
routes = [{ pool = "local" }, { pool = "cloud" }]
[capabilities.classify]
routes = [{ pool = "spare" }, { pool = "local" }]
guards = { p95_ms = 100, min_samples = 5 }
"""


async def test_a_worker_that_starts_is_seen_and_one_that_is_killed_too(page: BrowserPage, fleet: RunningFleet):
    """
    Its pool appears, with the replica; killed, it is said that nobody hears it any more, and what to look for.
    """
    await page.go("overview")
    worker = await fleet.start_worker("local", "spare", "spare-w1", slots=2)
    try:
        pool = page.page.locator('[data-node="local/spare"]')
        # Until it has joined its group, the page says just that, and that none of its slots is free.
        await expect(pool).to_contain_text("0 of 2 slots taken · 1 replica")

        worker.kill()
        await expect(pool).to_contain_text("lost")
        need = page.page.locator(".needs li", has_text="Pool spare")
        await expect(need).to_contain_text("See whether their processes run")
    finally:
        # It serves what no other worker of this fleet does.
        worker.kill()
        await worker.wait()


async def test_a_portal_that_is_started_again_is_found_by_the_open_page(browser: Browser, fleet: RunningFleet):
    """
    Meanwhile the page says that it is disconnected, and how old its figures are.
    """
    first = await start_portal(fleet, "portal-first")
    async with open_page(browser, first) as page:
        await page.go("overview")
        first.process.kill()
        await first.process.wait()
        await page.see("Disconnected from the portal.")
        await expect(page.page.locator(".banner")).to_contain_text("Figures are from")

        await start_portal(fleet, "portal-again", env={"FLOTILLA_PORTAL_PORT": str(first.port)})
        await page.page.locator(".banner").wait_for(state="detached")
        await page.page.locator("header .link.ok-text").wait_for()
        assert page.errors == []


async def test_a_frozen_portal_is_noticed(browser: Browser, fleet: RunningFleet):
    """
    No connection ends, but nothing is said any more, heartbeats included.
    """
    frozen = await start_portal(fleet, "portal-frozen")
    async with open_page(browser, frozen) as page:
        await page.page.clock.install()
        await page.go("overview")
        frozen.process.freeze()
        try:
            for _ in range(int(WAIT_S)):
                await page.page.clock.run_for(1000)
                if await page.page.locator(".banner").count():
                    break
            await page.see("Disconnected from the portal.")
        finally:
            frozen.process.thaw()


async def test_a_page_that_nobody_looks_at_draws_nothing(page: BrowserPage, portal: PortalHere):
    """
    Frames are asked for only while the page is visible, and at most five a second then.
    """
    await page.page.add_init_script(
        """
        window.frames_asked = 0;
        const ask = window.requestAnimationFrame;
        window.requestAnimationFrame = (how) => { window.frames_asked += 1; return ask(how); };
        window.hide = (is) => Object.defineProperty(document, 'hidden', { get: () => is, configurable: true });
        """
    )
    await page.go("overview")
    started = await page.page.evaluate("hide(true); frames_asked = 0; performance.now()")
    await page.until(f"performance.now() > {started} + 2500")
    assert await page.page.evaluate("frames_asked") == 0
    await page.page.evaluate("hide(false); document.dispatchEvent(new Event('visibilitychange'))")
    await page.until("frames_asked > 0")


async def test_a_fleet_in_a_hurry_is_drawn_five_times_a_second(page: BrowserPage):
    """
    However often something comes; after a pause two frames may follow each other at once.
    """
    await page.go("overview")
    frames, took_ms = await page.page.evaluate(
        """async () => {
          const { drawSoon } = await import('/assets/core/frames.js');
          let frames = 0;
          const ask = window.requestAnimationFrame;
          window.requestAnimationFrame = (how) => { frames += 1; return ask(how); };
          const start = performance.now();
          const hurry = setInterval(drawSoon, 2);
          await new Promise((resolve) => setTimeout(resolve, 2000));
          clearInterval(hurry);
          window.requestAnimationFrame = ask;
          return [frames, performance.now() - start];
        }"""
    )

    assert 2 <= frames <= 2 + took_ms / 200


async def test_a_worker_that_is_too_slow_is_seen_to_lose_its_route(
    page: BrowserPage, fleet: RunningFleet, caller: PlainClient
):
    """
    Its pool says so, with its p95 and the guard; so does what needs a person.
    """
    worker = await fleet.start_worker(
        "local", "spare", "slow-w1", latency_ms=400, env={"FLOTILLA_CAPABILITIES": "classify"}
    )
    answer = await caller.api("policy", {"verb": "set", "toml": GUARDED})
    try:
        assert "error" not in answer
        await page.go("overview")
        pool = page.page.locator('[data-node="local/spare"]')

        async def is_said() -> bool:
            await asyncio.gather(*(caller.ask("classify", BODIES["classify"]) for _ in range(4)))
            return await pool.count() == 1 and "ejected" in await pool.inner_text()

        await eventually(is_said)
        await expect(pool).to_contain_text("over 100 ms")
        await page.page.locator(".needs").get_by_text("spare/").first.wait_for()
    finally:
        await caller.api("policy", {"verb": "unset"})
        worker.kill()
        await worker.wait()
