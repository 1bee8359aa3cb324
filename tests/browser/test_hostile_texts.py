"""What a document, a label, a name or an answer contains is text on the page and nothing else."""

import json

import pytest
from playwright.async_api import Browser, Route

from flotilla.testkit.browser_page import VIEWS, open_page
from flotilla.testkit.plain_client import BODIES, PlainClient, eventually, new_task
from flotilla.testkit.portal import PortalHere

pytestmark = pytest.mark.asyncio(loop_scope="session")

HOSTILE = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script><b id=planted>"\'&lt;\u202e'
IS_CLEAN = """() => ({
  hacked: window.hacked ?? null,
  planted: document.querySelectorAll('#app script, #app img, #planted, #app iframe, #app [style*=url]').length,
  links: [...document.querySelectorAll('#app a[href]')].filter((each) => !each.getAttribute('href').startsWith('#')).length,
})"""
CLEAN = {"hacked": None, "planted": 0, "links": 0}
SPILT = """() => {
  const found = [];
  const walk = document.createTreeWalker(document.querySelector('main'), NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const text = walk.currentNode;
    if (!text.data.includes('\u202e')) continue;
    const keeps = (element) => getComputedStyle(element).unicodeBidi.includes('isolate');
    let line = text.parentElement;
    // It turns what follows it in its line, up to the first element that keeps it to itself.
    while (getComputedStyle(line).display.startsWith('inline') && !keeps(line)) line = line.parentElement;
    const isAlone = line.textContent.trim() === text.data.trim();
    if (!isAlone && !keeps(text.parentElement)) found.push(line.outerHTML.slice(0, 300));
  }
  return found;
}"""
"""Where a text that turns the direction of writing turns the words of the page too."""


async def test_hostile_texts_of_a_task_are_shown_as_they_are(browser: Browser, portal: PortalHere, caller: PlainClient):
    """
    Through the real fleet: as document, as labels, as values on the blackboard.
    """
    task = new_task("hostile")
    body = {"document": HOSTILE, "labels": [HOSTILE[:60], "other"]}
    labels = {"Flotilla-Label-note": "<img src=x onerror=window.hacked=1>"}
    await caller.submit("classify", json.dumps(body).encode(), task=task, headers=labels)
    await caller.until_status(task, "ok")
    await caller.api(
        "blackboard", {"verb": "set", "key": "hostile.note", "value": {"text": HOSTILE}, "author": "<b>me"}
    )
    async with open_page(browser, portal) as page:
        await page.sign_in("admin")
        for view in (*VIEWS, f"tasks/default/{task}"):
            await page.go(view)
            assert await page.page.evaluate(IS_CLEAN) == CLEAN, view
        await page.page.get_by_role("button", name="Show the result").click()
        await page.page.locator("pre.document").first.wait_for()
        assert await page.page.evaluate(IS_CLEAN) == CLEAN
        assert page.errors == []


async def test_hostile_texts_in_every_field_of_every_answer_are_texts(
    browser: Browser, portal: PortalHere, caller: PlainClient
):
    """
    Every string that the server sends is replaced on its way, but for those that choose what is drawn. None of them turns
    the words of the page beside it.
    """
    await caller.ask("classify", BODIES["classify"])
    task, gated = new_task("seen"), new_task("gated")
    await caller.submit("classify", BODIES["classify"], task=task)
    await caller.submit("classify", {"document": 7}, task=new_task("dead"))
    await caller.submit("reply", {"mail": "I was charged twice."}, task=gated)
    await caller.api("blackboard", {"verb": "set", "key": "hostile.key", "value": {"text": "x"}, "author": "me"})
    await caller.until_status(task, "ok")
    async with portal.signed_in("approver") as approver:

        async def waits() -> bool:
            return bool((await approver.get("/api/approvals")).json()["approvals"])

        await eventually(waits)
        request = (await approver.get("/api/approvals")).json()["approvals"][0]["id"]

    async def spoil(route: Route) -> None:
        answer = await route.fetch()
        if "json" in (answer.headers.get("content-type") or ""):
            await route.fulfill(response=answer, body=json.dumps(_spoilt(await answer.json())))
        else:
            await route.fulfill(response=answer)

    async def spoil_stream(route: Route) -> None:
        async with portal.browser() as client, portal.stream(client) as stream:
            await stream.until(lambda found: found.state is not None and len(found.events) > 0)
            need = {"severity": "bad", "name": "dead", "text": "look", "todo": "do", "href": "#/dead", "count": 1}
            body = f"event: state\ndata: {json.dumps(_spoilt({**(stream.state or {}), 'needs_you': [need]}))}\n\n"
            body += f"event: events\ndata: {json.dumps({'events': _spoilt(stream.events), 'dropped': 0})}\n\n"
        await route.fulfill(status=200, content_type="text/event-stream", body=body)

    async with open_page(browser, portal) as page:
        await page.sign_in("approver")
        await page.page.route("**/api/**", spoil)
        await page.page.route("**/stream", spoil_stream)
        await page.page.reload()
        for view in (*VIEWS, f"tasks/default/{task}", f"tasks/default/{gated}", f"approvals/{request}"):
            await page.page.goto(f"{portal.url}/#/{view}")
            await page.page.wait_for_selector("main .panel, main .state")
            await page.until("!document.querySelector('main').textContent.includes('Loading…')")
            assert await page.page.evaluate(IS_CLEAN) == CLEAN, view
            assert await page.page.evaluate(SPILT) == [], view
        await page.page.goto(f"{portal.url}/#/overview")
        await page.page.locator(".needs .data p").first.get_by_text("onerror=").wait_for()
        assert await page.page.evaluate(IS_CLEAN) == CLEAN
        assert page.errors == []


def _spoilt(value: object, name: str = "") -> object:
    """The same with HOSTILE in every text, in keys' texts too where keys are data; zones stay, since they are drawn by."""
    if isinstance(value, dict):
        pairs: dict[str, object] = value  # pyright: ignore[reportUnknownVariableType]
        return {key: _spoilt(each, key) for key, each in pairs.items()}
    if isinstance(value, list):
        items: list[object] = value  # pyright: ignore[reportUnknownVariableType]
        return [_spoilt(each, name) for each in items]
    if isinstance(value, str) and name not in {"zone", "csrf", "role"}:
        return "javascript:window.hacked=1//" + HOSTILE if name == "href" else HOSTILE + value
    return value
