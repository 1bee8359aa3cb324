"""A page of the portal in a browser, and what went wrong in it."""

import os
import shutil
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final, Literal

from msgspec import Struct
from playwright.async_api import Browser, ConsoleMessage, Page, Request, async_playwright, expect

from flotilla.testkit.patient_client import WAIT_S
from flotilla.testkit.plain_client import eventually
from flotilla.testkit.portal import TOKENS, PortalHere

VIEWS: Final = (
    "overview",
    "tasks",
    "routes",
    "routes/policy",
    "approvals",
    "dead",
    "blackboard",
    "events",
    "spend",
    "experiments",
)
"""What stands after `#/` for each view."""

CHROMIUM_NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM_ARGUMENTS: Final = (
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-domain-reliability",
    "--no-first-run",
)

TELL_VIOLATIONS: Final = (
    "addEventListener('securitypolicyviolation', (event) =>"
    " console.error(`policy violated: ${event.effectiveDirective} ${event.blockedURI} ${event.sample}`))"
)

Scheme = Literal["light", "dark"]


class Traffic(Struct, frozen=True, kw_only=True):
    """
    What a fleet has done before its portal is looked at.

    Attributes:
        task: A durable task that went well.
        run: Of a pipeline, that went well.
    """

    task: str
    run: str


class BrowserPage:
    """
    An open page.

    Attributes:
        page: Playwright's.
        portal: Whose page it is.
        errors: What the console called an error, uncaught exceptions, and requests to anywhere but the portal.
        refusals: Statuses that the browser itself writes into the console as errors; expected of what a role may not do.
    """

    def __init__(self, page: Page, portal: PortalHere) -> None:
        self.page: Final = page
        self.portal: Final = portal
        self.errors: Final[list[str]] = []
        self.refusals: Final[list[str]] = []
        page.set_default_timeout(WAIT_S * 1000)
        expect.set_options(timeout=WAIT_S * 1000)
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", self._request)

    async def go(self, view: str) -> None:
        """Open a view and wait until it has what it shows: data, or the words that stand in its place."""
        await self.page.goto(f"{self.portal.url}/#/{view}")
        await self.page.wait_for_selector("header .link.ok-text")
        await self.until("!document.querySelector('main').textContent.includes('Loading…')")

    async def until(self, expression: str) -> None:
        """
        Wait until an expression is true in the page.

        Playwright's own way would have the page evaluate a text again and again, which its policy forbids.

        Raises:
            TimeoutError: It is not, in WAIT_S.
        """

        async def holds() -> bool:
            return bool(await self.page.evaluate(expression))

        await eventually(holds)

    async def see(self, text: str) -> None:
        """
        Wait until a text is shown.

        Raises:
            TimeoutError: It is not, in WAIT_S.
        """
        await self.page.get_by_text(text).first.wait_for()

    async def sign_in(self, role: str) -> None:
        """As the person of the testkit's file who has this role."""
        await self.page.goto(f"{self.portal.url}/#/sign-in")
        await self.page.get_by_label("Token").fill(TOKENS[role])
        await self.page.get_by_role("button", name="Sign in").click()
        await self.page.get_by_role("button", name="Sign out").wait_for()

    def _console(self, message: ConsoleMessage) -> None:
        if message.type not in {"error", "warning"}:
            return
        refused = message.text.startswith("Failed to load resource")
        (self.refusals if refused else self.errors).append(message.text)

    def _request(self, request: Request) -> None:
        if not request.url.startswith((f"{self.portal.url}/", "data:")):
            self.errors.append(f"asked for {request.url}")


def chromium() -> str | None:
    """Where the system's Chromium is; `CHROMIUM` names another one. None where there is none."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)


@asynccontextmanager
async def running_browser() -> AsyncGenerator[Browser]:
    """
    The system's Chromium while the block runs, without a window.

    Raises:
        FileNotFoundError: None is installed.
    """
    path = chromium()
    if path is None:
        raise FileNotFoundError("no Chromium is installed: apt install chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=list(CHROMIUM_ARGUMENTS))
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def open_page(
    browser: Browser, portal: PortalHere, *, width: int = 1440, height: int = 900, scheme: Scheme = "light"
) -> AsyncGenerator[BrowserPage]:
    """A page with a profile of its own while the block runs; nothing is opened yet."""
    context = await browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, reduced_motion="reduce"
    )
    try:
        await context.add_init_script(TELL_VIOLATIONS)
        yield BrowserPage(await context.new_page(), portal)
    finally:
        await context.close()
