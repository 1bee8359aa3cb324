"""
A real browser on the portal of a real fleet.

The browser is the system's Chromium (`apt install chromium`), since the one that Playwright would download cannot be had
everywhere; without one the tests are skipped, and say so.
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from flotilla.testkit.browser_page import BrowserPage, Traffic, chromium, open_page, running_browser
from flotilla.testkit.fleet import RunningFleet, running_fleet
from flotilla.testkit.fleet_report import pytest_runtest_makereport
from flotilla.testkit.plain_client import BODIES, PlainClient, new_task
from flotilla.testkit.portal import PortalHere, people_file, start_portal

__all__ = ["pytest_runtest_makereport"]

LETTER: Final = """
name = "letter"
[input]
type = "object"
required = ["document"]
properties.document.type = "string"
[steps.sort]
capability = "classify"
input = { document = "${input.document}", labels = ["billing", "other"] }
[steps.short]
capability = "summarize"
input = { document = "${input.document}" }
[steps.german]
capability = "translate"
input = { text = "${steps.short.summary}", target = "de" }
[output]
label = "${steps.sort.label}"
text = "${steps.german.text}"
"""
"""A pipeline whose last step is in the cloud and needs one of the first two."""
REPLY: Final = """
name = "reply"
[input]
type = "object"
required = ["mail"]
properties.mail.type = "string"
[steps.short]
capability = "summarize"
input = { document = "${input.mail}" }
[steps.german]
capability = "translate"
input = { text = "${steps.short.summary}", target = "de" }
approval = { group = "desk", expires_s = 600 }
[output]
text = "${steps.german.text}"
"""
"""A pipeline whose last step waits for somebody to let it leave."""


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """
    One browser for all tests; each page has a profile of its own.
    """
    if chromium() is None:
        pytest.skip("no Chromium is installed: apt install chromium, or set CHROMIUM to the path of one")
    async with running_browser() as running:
        yield running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def fleet(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningFleet]:
    """
    One orchestrator, two local workers and a cloud worker; one more pool that tests start and kill workers of.
    """
    folder = tmp_path_factory.mktemp("portal-page")
    (folder / "capabilities").mkdir()
    (folder / "capabilities" / "letter.toml").write_text(LETTER, encoding="utf-8")
    (folder / "capabilities" / "reply.toml").write_text(REPLY, encoding="utf-8")
    async with running_fleet(
        folder,
        env={"FLOTILLA_CAPABILITY_FILES": str(folder / "capabilities")},
        local=2,
        slots=4,
        latency_ms=20,
        pools=(("local", "local"), ("local", "spare"), ("cloud", "cloud")),
        worker_env={"FLOTILLA_CAPABILITIES": "classify,summarize"},
    ) as running:
        await running.start_worker("cloud", name="cloud-w1", slots=4, env={"FLOTILLA_CAPABILITIES": "translate"})
        yield running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def portal(fleet: RunningFleet) -> PortalHere:
    """
    A portal on loopback: anybody may look, the people of the testkit may sign in.
    """
    return await start_portal(fleet, people=people_file(fleet.directory, approver_creds=fleet.server.approver().creds))


@pytest_asyncio.fixture(loop_scope="session")
async def caller(fleet: RunningFleet) -> AsyncIterator[PlainClient]:
    """
    A plain client of the default scope.
    """
    yield await fleet.client()
    await fleet.close_clients()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def traffic(fleet: RunningFleet, portal: PortalHere) -> Traffic:
    """
    Something of everything that a view shows.
    """
    caller = await fleet.client()
    tasks = [new_task("seen") for _ in range(12)]
    for task in tasks:
        await caller.submit("classify", BODIES["classify"], task=task, headers={"Flotilla-Label-team": "claims"})
    await caller.submit("classify", {"document": 7}, task=new_task("dead"))
    await caller.api("blackboard", {"verb": "set", "key": "case.7.summary", "value": {"pages": 3}, "author": "agent"})
    for _ in range(3):
        await caller.ask("translate", BODIES["translate"])
        await caller.ask("summarize", BODIES["summarize"])
    await caller.ask("classify", BODIES["classify"], headers={"Flotilla-Route": "local/no-such-model"})
    run = new_task("run")
    await caller.submit("letter", {"document": "I was charged twice."}, task=run)
    for task in (*tasks, run):
        await caller.until_status(task, "ok")
    return Traffic(task=tasks[-1], run=run)


@pytest_asyncio.fixture(loop_scope="session")
async def page(browser: Browser, portal: PortalHere) -> AsyncIterator[BrowserPage]:
    """
    A page of somebody who only looks; it must end without an error in its console.
    """
    async with open_page(browser, portal) as opened:
        yield opened
    assert opened.errors == []


@pytest.fixture(scope="session")
def pictures() -> Path:
    """
    Where pictures of the page are kept to be looked at: the last run's.
    """
    folder = Path(__file__).with_name("pictures")
    folder.mkdir(exist_ok=True)
    return folder
