"""What a person may change from the page: the policy, dead letters; and who may not."""

import json

import pytest
from playwright.async_api import Browser, Route, expect

from flotilla.testkit.browser_page import open_page
from flotilla.testkit.plain_client import PlainClient, eventually, new_task
from flotilla.testkit.portal import PortalHere

pytestmark = pytest.mark.asyncio(loop_scope="session")

POLICY = 'format = 1\n[default]\nroutes = [{ pool = "local" }, { pool = "cloud" }]\n'


async def test_an_admin_checks_a_policy_and_puts_it_in_force(browser: Browser, portal: PortalHere, caller: PlainClient):
    """
    A fault is shown and nothing changes; the right one is asked about once more, and is in force then.
    """
    async with open_page(browser, portal) as page:
        await page.sign_in("admin")
        await page.go("routes/policy")
        await page.page.get_by_role("button", name="Change it").click()
        document = page.page.get_by_label("The new policy")
        await document.fill("format = 1\nno_such_key = 7\n")
        await page.page.get_by_role("button", name="Check").click()
        await expect(page.page.locator(".notice.bad")).to_contain_text("no_such_key")

        await document.fill(POLICY)
        await page.page.get_by_role("button", name="Check").click()
        await page.page.locator(".notice.ok, .notice.warn").wait_for()
        changes = page.page.get_by_label("What changes")
        await expect(changes.locator("ins")).to_have_text([f"+ {line}" for line in POLICY.splitlines()])
        await page.page.get_by_role("button", name="Put in force").click()
        await page.page.get_by_role("dialog").get_by_role("button", name="Put in force").click()
        await page.see("is in force.")
        assert page.errors == []
    in_force = await caller.api("policy", {"verb": "get"})
    assert in_force["toml"] == POLICY


async def test_an_admin_goes_back_to_a_policy_that_was_in_force(
    browser: Browser, portal: PortalHere, caller: PlainClient
):
    """
    From the history, by the same question; who only looks is not offered it.
    """
    before = (await caller.api("policy", {"verb": "set", "toml": POLICY}))["revision"]
    await caller.api("policy", {"verb": "set", "toml": f"{POLICY}# too far\n"})
    for role in ("viewer", "admin"):
        async with open_page(browser, portal) as page:
            await page.sign_in(role)
            await page.go("routes/policy")
            await page.page.get_by_text("in force").first.wait_for()
            back = page.page.get_by_role("button", name=f"Go back to revision {before}", exact=True)
            if role == "viewer":
                assert 0 == await back.count()
                continue
            await back.click()
            await page.page.get_by_role("button", name="Put in force").click()
            await page.page.get_by_role("dialog").get_by_role("button", name="Put in force").click()
            await page.see("is in force.")
            assert page.errors == []
    assert POLICY == (await caller.api("policy", {"verb": "get"}))["toml"]


async def test_dead_letters_are_tried_again_and_discarded(browser: Browser, portal: PortalHere, caller: PlainClient):
    """
    Only what has a tick; each is asked about once more.
    """
    again, away, stays = (new_task(stem) for stem in ("again", "away", "stays"))
    for task in (again, away, stays):
        await caller.submit("classify", json.dumps({"document": 7}).encode(), task=task)
        await caller.until_status(task, "failed")
    async with open_page(browser, portal) as page:
        await page.sign_in("approver")
        await page.go("dead")
        await page.page.get_by_label(f"Choose {again}").check()
        await page.page.get_by_role("button", name="Retry 1").click()
        await page.page.get_by_role("dialog").get_by_role("button", name="Retry").click()
        await page.see("1 tried again")
        await page.page.locator(".notice").get_by_role("link", name=f"{again}-").wait_for()
        await page.page.get_by_label(f"Choose {away}").check()
        await page.page.get_by_role("button", name="Discard 1").click()
        await page.page.get_by_role("dialog").get_by_role("button", name="Discard").click()
        await page.see("1 discarded")
        await page.page.get_by_label(f"Choose {away}").wait_for(state="detached")
        await expect(page.page.get_by_label(f"Choose {stays}")).to_have_count(1)
        assert page.errors == []

    async def discarded() -> bool:
        dead = await caller.api("dead")
        return away not in json.dumps(dead) and stays in json.dumps(dead)

    await eventually(discarded)


async def test_who_only_looks_has_no_buttons_that_change_anything(browser: Browser, portal: PortalHere):
    """
    The server refuses them too; the page says who may.
    """
    async with open_page(browser, portal) as page:
        await page.sign_in("viewer")
        await page.go("routes/policy")
        await page.see("An admin may change it here")
        assert await page.page.get_by_role("button", name="Change it").count() == 0
        await page.go("dead")
        assert await page.page.get_by_role("checkbox").count() == 0


async def test_a_wrong_token_is_refused_in_words(browser: Browser, portal: PortalHere):
    """
    Nobody is signed in by it, and the page goes on.
    """
    async with open_page(browser, portal) as page:
        await page.page.goto(f"{portal.url}/#/sign-in")
        await page.page.get_by_label("Token").fill("no token of anybody, but long enough")
        await page.page.get_by_role("button", name="Sign in").click()
        await page.page.get_by_role("alert").wait_for()
        await page.go("overview")
        await page.page.locator("header").get_by_role("link", name="Sign in").wait_for()
        assert page.errors == []


async def test_what_is_granted_is_exactly_what_was_shown(browser: Browser, portal: PortalHere):
    """
    The whole payload stands there with its placeholders marked, and its digest goes along with the decision.
    """
    end = "[PERSON_1_KQXRT] <b>signs</b>"
    request = {
        "id": "r1",
        "scope": "default",
        "task": "t1",
        "capability": "synthesize",
        "data_class": "internal",
        "zones": ["cloud"],
        "submitted_by": "ingest",
        "digest": "ab" * 32,
        "status": "pending",
        "expires_unix_ms": 1,
        "payload": {"document": "word " * 20_000 + end},
    }
    decided: list[object] = []

    async def answer(route: Route) -> None:
        if route.request.method == "POST":
            decided.append(route.request.post_data_json)
        await route.fulfill(json=request if route.request.url.endswith("/r1") else {"approvals": [], "waiting": 0})

    async def as_approver(route: Route) -> None:
        said = await route.fetch()
        session = await said.json()
        await route.fulfill(response=said, json={**session, "can": {**session["can"], "decide": True}})

    async with open_page(browser, portal) as page:
        await page.page.route("**/api/approvals**", answer)
        await page.page.route("**/api/approvals/**", answer)
        await page.page.route("**/session", as_approver)
        await page.go("approvals/r1")
        shown = page.page.locator("pre.payload")
        assert (await shown.inner_text()).rstrip().endswith(end + '"\n}')
        assert await shown.locator("mark").all_inner_texts() == ["[PERSON_1_KQXRT]"]
        await page.page.get_by_label("Comment").fill("read it")
        await page.page.get_by_role("button", name="Grant").click()
        await page.page.get_by_role("dialog").get_by_role("button", name="Grant").click()
        await page.see("Nothing waits")
        assert page.errors == []

    assert decided == [{"decision": "grant", "comment": "read it", "digest": "ab" * 32}]


async def test_a_grant_lets_a_run_go_on(browser: Browser, portal: PortalHere, caller: PlainClient):
    """
    From the list of what waits to the story of the run, whose steps follow each other by an arrow.
    """
    task = new_task("gated")
    await caller.submit("reply", {"mail": "I was charged twice."}, task=task)
    async with open_page(browser, portal) as page:
        await page.sign_in("approver")
        await page.go("approvals")
        await page.page.get_by_role("link", name=task).click()
        payload = page.page.locator("pre.payload")
        await expect(payload).to_contain_text('"target": "de"')
        await page.page.get_by_label("Comment").fill("nothing of a person is in it")
        await page.page.get_by_role("button", name="Grant").click()
        await page.page.get_by_role("dialog").get_by_role("button", name="Grant").click()
        await page.page.get_by_role("link", name=f"Read and decide: translate of {task}").wait_for(state="detached")
        await page.see("Granted")
        await page.page.get_by_role("link", name=task, exact=True).wait_for()
        await caller.until_status(task, "ok")
        await page.go(f"tasks/default/{task}")
        german = page.page.locator(".step", has_text="german")
        await german.get_by_text("succeeded").wait_for()
        await expect(page.page.locator(".steps-edges path.tip")).to_have_count(1)
        assert page.errors == []
