"""What a browser reads and changes, each with the credentials of who asks."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from flotilla.testkit.fleet import RunningFleet
from flotilla.testkit.plain_client import BODIES, PlainClient, eventually, new_task
from flotilla.testkit.portal import PortalHere, people_file, start_portal

pytestmark = pytest.mark.asyncio(loop_scope="session")

HOSTILE = "<script>alert(1)</script>\"'&\u2028</style><img src=x onerror=alert(1)>"
HOSTILE_WORD = "<b onload=alert(1)>"
POLICY = '[capabilities.translate]\nroutes = [{ pool = "local" }]\n\n[capabilities.translate.guards]\np95_ms = 1234.0\n'


async def story_when(browser: httpx.AsyncClient, task: str, state: str) -> dict[str, Any]:
    """The story of a task, once it is in a state."""
    found: dict[str, Any] = {}

    async def there() -> bool:
        answer = await browser.get(f"/api/tasks/default/{task}")
        found.update(answer.json())
        return answer.status_code == 200 and found["state"] == state

    await eventually(there)
    return found


async def dead_task(caller: PlainClient, task: str) -> None:
    """A durable task that ends as a dead letter."""
    await caller.submit("classify", b"no JSON", task=task)

    async def dead() -> bool:
        return task in {one["task"] for one in (await caller.api("dead", {"verb": "list"}))["dead"]}

    await eventually(dead)


async def test_tasks_are_listed_filtered_and_paged(portal: PortalHere, caller: PlainClient):
    """
    A hundred a page, newest first; each once.
    """
    tasks = [new_task("page") for _ in range(120)]
    await asyncio.gather(
        *(
            caller.submit("classify", BODIES["classify"], task=one, headers={"Flotilla-Label-Run": "paged"})
            for one in tasks
        )
    )
    async with portal.browser() as browser:
        query: dict[str, str] = {"label": "Run=paged", "state": "ok", "capability": "classify", "pool": "local"}

        async def all_there() -> bool:
            first = (await browser.get("/api/tasks", params=query)).json()
            second = (await browser.get("/api/tasks", params={**query, "cursor": first["cursor"] or ""})).json()
            return first["cursor"] and len(first["tasks"]) + len(second["tasks"]) == 120

        await eventually(all_there)
        first = (await browser.get("/api/tasks", params=query)).json()
        second = (await browser.get("/api/tasks", params={**query, "cursor": first["cursor"]})).json()
        none = (await browser.get("/api/tasks", params={**query, "pool": "cloud"})).json()

    assert 100 == len(first["tasks"])
    assert second["cursor"] is None
    assert set(tasks) == {one["task"] for page in (first, second) for one in page["tasks"]}
    assert {"tasks": [], "cursor": None} == none
    assert {("local", "noop-1", "ok", "local")} == {
        (one["pool"], one["model"], one["state"], one["zone"]) for one in first["tasks"]
    }


async def test_a_story_tells_more_to_who_may_ask_for_the_result_and_documents_to_none(
    portal: PortalHere, caller: PlainClient
):
    """
    Events for everybody; the reason of each attempt for who has signed in; the result for those alone who may read documents.
    """
    task = new_task()
    await caller.submit("classify", BODIES["classify"], task=task)
    async with portal.browser() as anybody, portal.signed_in("viewer") as viewer, portal.signed_in("admin") as admin:
        plain = await story_when(anybody, task, "ok")
        told = (await viewer.get(f"/api/tasks/default/{task}")).json()
        refused = [await one.get(f"/api/tasks/default/{task}/result") for one in (anybody, viewer)]
        result = (await admin.get(f"/api/tasks/default/{task}/result")).json()
        elsewhere = await admin.get(f"/api/tasks/acme/{task}/result")
        unknown = await anybody.get("/api/tasks/default/nothing-of-the-kind")

    assert [("local", "ok", "")] == [(one["pool"], one["status"], one.get("reason", "")) for one in plain["attempts"]]
    assert ["queued", "dispatched", "finished"] == [one["kind"] for one in plain["events"]]
    assert told["attempts"][0]["reason"]
    assert told["has_result"]
    assert not {"output", "input", "result"} & (told.keys() | plain.keys())
    assert [403, 403] == [answer.status_code for answer in refused]
    assert ("ok", "billing") == (result["status"], result["output"]["label"])
    assert 403 == elsewhere.status_code
    assert 404 == unknown.status_code


async def test_texts_of_callers_arrive_as_data(portal: PortalHere, caller: PlainClient):
    """
    In labels, keys, errors and parameters: nothing of them is anything but a JSON string, in the stream and in answers.
    """
    task = new_task()
    async with portal.signed_in("admin") as browser, portal.stream(browser) as stream:
        await stream.until(lambda stream: stream.last_id)
        label = {"Flotilla-Label-Note": HOSTILE_WORD}
        await caller.submit("classify", BODIES["classify"], task=task, headers=label)
        await stream.until(lambda stream: [one for one in stream.events if one["task"] == task][2:])
        told = [one for one in stream.events if one["task"] == task]
        await caller.api("blackboard", {"verb": "set", "key": "hostile.key", "value": {HOSTILE: HOSTILE}})
        kept = (await browser.get("/api/blackboard", params={"prefix": "hostile"})).json()["entries"]
        answers = [
            await browser.get(
                path, params={"capability": HOSTILE, "cursor": HOSTILE, "label": HOSTILE, "state": HOSTILE}
            )
            for path in ("/api/tasks", "/api/explain", "/api/history", "/api/dead", "/api/blackboard")
        ]
        listed = (await browser.get("/api/tasks", params={"label": f"Note={HOSTILE_WORD}"})).json()["tasks"]

    assert {HOSTILE_WORD} == {one["labels"]["Note"] for one in told}
    assert [task] == [one["task"] for one in listed]
    assert [{HOSTILE: HOSTILE}] == [one["value"] for one in kept]
    assert {"application/json"} == {answer.headers["content-type"] for answer in answers}
    assert not [answer.text for answer in answers if "<script" in answer.text]


@pytest.mark.parametrize(
    "path",
    [
        "/api/tasks?state=gone",
        "/api/tasks?capability=A%20B",
        "/api/tasks?cursor=x",
        "/api/tasks?label=" + "x" * 1000,
        "/api/tasks/*/x",
        "/api/tasks/default/a.b",
        "/api/explain",
        "/api/explain?capability=classify&data_class=secret",
        "/api/explain?capability=no-such-thing",
        "/api/history?pool=..%2F",
        "/api/dead?cursor=-1",
        "/api/dead?cursor=99999999999999999999",
        "/api/blackboard?prefix=*",
        "/api/blackboard?cursor=a%20b",
    ],
)
async def test_parameters_that_are_none_are_refused(portal: PortalHere, path: str):
    """
    In words, before the fleet is asked where that can be known.
    """
    async with portal.signed_in("admin") as browser:
        answer = await browser.get(path)

    assert 400 == answer.status_code, answer.text
    assert answer.json()["error"]["message"]


async def test_an_explanation_and_the_hour_are_for_everybody_who_may_look(portal: PortalHere, caller: PlainClient):
    """
    As the orchestrators see it now; and a point for each ten seconds in which a route was used.
    """
    await asyncio.gather(*(caller.ask("summarize", BODIES["summarize"]) for _ in range(5)))
    async with portal.browser() as browser:
        found = (
            await browser.get("/api/explain", params={"capability": "summarize", "data_class": "restricted"})
        ).json()

        async def sampled() -> bool:
            points = (await browser.get("/api/history", params={"capability": "summarize"})).json()["points"]
            return sum(point["tasks"] for point in points) >= 5

        await eventually(sampled)
        points = (await browser.get("/api/history", params={"capability": "summarize", "pool": "local"})).json()[
            "points"
        ]

    assert ["local"] == [route["pool"] for route in found["routes"]]
    assert ["cloud"] == [route["pool"] for route in found["excluded"]]
    assert all(0 < point["p50_ms"] <= point["p95_ms"] and point["error_rate"] == 0.0 for point in points)
    assert all(point["at_unix_s"] % 10 == 0 for point in points)


async def test_the_policy_is_read_by_all_checked_by_people_and_changed_by_admins(
    portal: PortalHere, caller: PlainClient
):
    """
    With the name of who did it, and only over the revision that they saw.
    """
    async with (
        portal.browser() as anybody,
        portal.signed_in("approver") as approver,
        portal.signed_in("admin") as admin,
    ):
        before = (await anybody.get("/api/policy")).json()
        checked = (await approver.post("/api/policy/check", json={"toml": POLICY})).json()
        wrong = await approver.post(
            "/api/policy/check", json={"toml": "[capabilities.x]\nstrategy = 'none'\nrouts = 1\n"}
        )
        change = {"toml": POLICY, "revision": before["revision"]}
        refused = [await one.put("/api/policy", json=change) for one in (anybody, approver)]
        changed = await admin.put("/api/policy", json=change)
        late = await admin.put("/api/policy", json=change)
        after = (await anybody.get("/api/policy")).json()
        async with portal.stream(anybody) as stream:
            await stream.until(lambda stream: stream.state and stream.state["policy_revision"] == after["revision"])
        await caller.api("policy", {"verb": "unset"})

    assert checked["ok"]
    assert (400, "bad_policy") == (wrong.status_code, wrong.json()["error"]["kind"])
    assert 2 <= len(wrong.json()["error"]["faults"])
    assert [403, 403] == [answer.status_code for answer in refused]
    assert 200 == changed.status_code, changed.text
    assert (409, "conflict") == (late.status_code, late.json()["error"]["kind"])
    assert (POLICY, "admin <b>", changed.json()["revision"]) == (after["toml"], after["author"], after["revision"])
    assert after["revision"] == after["history"][0]["revision"]


async def test_dead_letters_are_retried_and_discarded_by_who_may(portal: PortalHere, caller: PlainClient):
    """
    One or many; a viewer sees them, and nobody who has not signed in does.
    """
    tasks = [new_task("dead") for _ in range(2)]
    for task in tasks:
        await dead_task(caller, task)
    async with (
        portal.browser() as anybody,
        portal.signed_in("viewer") as viewer,
        portal.signed_in("approver") as approver,
    ):
        hidden = await anybody.get("/api/dead")
        listed = (await viewer.get("/api/dead")).json()["dead"]
        ids = [{"scope": "default", "task": task} for task in (*tasks, "no-such-task")]
        refused = [await one.post("/api/dead/retry", json={"ids": ids}) for one in (anybody, viewer)]
        retried = (await approver.post("/api/dead/retry", json={"ids": ids})).json()["results"]
        others = await approver.post("/api/dead/retry", json={"ids": [{"scope": "acme", "task": "x"}]})
        discard = {"ids": ids[1:]}
        kept = await viewer.post("/api/dead/discard", json=discard)
        discarded = (await approver.post("/api/dead/discard", json=discard)).json()["results"]
        left = {one["task"] for one in (await viewer.get("/api/dead")).json()["dead"]}
        many = await approver.post("/api/dead/retry", json={"ids": ids[:1] * 101})

    assert 403 == hidden.status_code
    assert set(tasks) <= {one["task"] for one in listed}
    assert {"bad_request"} == {one["error"]["kind"] for one in listed if one["task"] in tasks}
    assert [403, 403] == [answer.status_code for answer in refused]
    assert [True, True, False] == ["retried_as" in one for one in retried]
    assert "not_found" == retried[2]["error"]["kind"]
    assert 403 == others.status_code
    assert 403 == kept.status_code
    assert [True, False] == [one.get("discarded", False) for one in discarded]
    assert (True, False) == (tasks[0] in left, tasks[1] in left)
    assert 400 == many.status_code


async def test_the_blackboard_is_read_by_people_and_its_values_by_those_who_may_read_documents(
    portal: PortalHere, caller: PlainClient
):
    """
    A hundred keys a page; long values are left out.
    """
    for number in range(105):
        await caller.api("blackboard", {"verb": "set", "key": f"paged.k{number:03}", "value": number})
    await caller.api("blackboard", {"verb": "set", "key": "paged.long", "value": "x" * 20_000})
    async with portal.browser() as anybody, portal.signed_in("viewer") as viewer, portal.signed_in("admin") as admin:
        hidden = await anybody.get("/api/blackboard")
        keys = (await viewer.get("/api/blackboard", params={"prefix": "paged"})).json()["entries"]
        first = (await admin.get("/api/blackboard", params={"prefix": "paged"})).json()
        second = (await admin.get("/api/blackboard", params={"prefix": "paged", "cursor": first["cursor"]})).json()

    assert 403 == hidden.status_code
    assert 100 == len(keys)
    assert not [one for one in keys if "value" in one]
    assert [*range(105)] == [one["value"] for one in (*first["entries"], *second["entries"]) if "value" in one]
    assert ("paged.long", 20_002, None) == (
        second["entries"][-1]["key"],
        second["entries"][-1]["size_bytes"],
        second["cursor"],
    )


async def test_spend_and_experiments_are_read_with_ones_own_credentials(portal: PortalHere, caller: PlainClient):
    """
    The ledger by what is asked for; the arms of a split with what they have done.
    """
    split = """[capabilities.classify]
strategy = "split"
routes = [{ pool = "local", weight = 1.0 }, { pool = "cloud", weight = 1.0 }]
"""
    assert "error" not in await caller.api("policy", {"verb": "set", "toml": split})
    async with portal.browser() as anybody, portal.signed_in("viewer") as viewer:
        hidden = [await anybody.get(path) for path in ("/api/spend", "/api/experiments")]
        await asyncio.gather(*(caller.ask("classify", BODIES["classify"]) for _ in range(20)))
        found: list[dict[str, Any]] = []

        async def counted() -> bool:
            found[:] = (await viewer.get("/api/experiments")).raise_for_status().json()["experiments"]
            return bool(found) and sum(arm["tasks"] for arm in found[0]["arms"]) >= 20

        await eventually(counted)
        spend = [await viewer.get("/api/spend", params={"by": by}) for by in ("pool", "day", "capability")]
        wrong = await viewer.get("/api/spend", params={"by": "label.x"})
    await caller.api("policy", {"verb": "unset"})

    assert [403, 403] == [answer.status_code for answer in hidden]
    assert ["classify"] == [one["capability"] for one in found]
    assert ["local", "cloud"] == [arm["pool"] for arm in found[0]["arms"]]
    assert {1.0} == {arm["ok_share"] for arm in found[0]["arms"] if arm["tasks"]}
    assert [200, 200, 200] == [answer.status_code for answer in spend], [answer.text for answer in spend]
    assert ["pool", "day", "capability"] == [answer.json()["by"] for answer in spend]
    assert 400 == wrong.status_code


async def test_what_waits_for_an_approval_needs_an_approvers_credentials(portal: PortalHere):
    """
    Whatever the role says: an admin without them sees nothing of it, and decides nothing.
    """
    async with portal.browser() as anybody, portal.signed_in("viewer") as viewer, portal.signed_in("admin") as admin:
        hidden = [await one.get("/api/approvals") for one in (anybody, viewer, admin)]
        decision = {"decision": "grant", "comment": "", "digest": "0" * 64}
        decided = [await one.post(f"/api/approvals/{'0' * 32}", json=decision) for one in (anybody, viewer, admin)]

    assert [403] * 3 == [answer.status_code for answer in hidden]
    assert [403] * 3 == [answer.status_code for answer in decided]
    assert "approver_creds" in hidden[2].json()["error"]["message"]


@pytest.mark.parametrize(("role", "wanted"), [("observer", 503), ("tenant", 200), ("admin", 200)])
async def test_people_act_with_their_own_credentials(
    portal_fleet: RunningFleet, caller: PlainClient, tmp_path: Path, role: str, wanted: int
):
    """
    An observer's read no dead letters and change nothing, whatever the role of the person says: NATS decides.
    """
    path, server = people_file(tmp_path), portal_fleet.server
    settings = {"observer": server.observer, "tenant": server.tenant, "admin": server.admin}[role]()
    own = f'role = "admin"\ncreds = "{settings.creds}"\nadmin_creds = {"true" if role == "admin" else "false"}'
    path.write_text(path.read_text().replace('role = "admin"', own))
    portal = await start_portal(portal_fleet, f"acts-as-{role}", people=path)
    task = new_task("dead")
    await dead_task(caller, task)
    async with portal.signed_in("admin") as browser:
        before = (await browser.get("/api/policy")).json()
        dead, changed, blackboard = await asyncio.gather(
            browser.get("/api/dead"),
            browser.put("/api/policy", json={"toml": POLICY, "revision": before["revision"]}),
            browser.get("/api/blackboard"),
        )
        after = (await browser.get("/api/policy")).json()
    portal.process.kill()
    await caller.api("policy", {"verb": "unset"})

    assert [wanted] * 3 == [answer.status_code for answer in (dead, changed, blackboard)]
    if wanted == 200:
        assert task in {one["task"] for one in dead.json()["dead"]}
        assert (POLICY, "admin <b>") == (after["toml"], after["author"])
    else:
        assert before["toml"] == after["toml"]
