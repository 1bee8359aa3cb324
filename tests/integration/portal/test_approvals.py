"""An approver opens a gate from the portal, and the run goes on."""

from hashlib import sha256
from pathlib import Path

from flotilla.testkit.fleet import running_fleet
from flotilla.testkit.plain_client import Json, eventually, new_task
from flotilla.testkit.portal import TOKENS, start_portal

REPLY = """
name = "reply"
[input]
type = "object"
[steps.short]
capability = "summarize"
input = { document = "${input.mail}" }
[steps.answer]
capability = "synthesize"
input = { sources = ["${steps.short.summary}"], instruction = "Answer." }
approval = { group = "desk", expires_s = 600 }
[output]
answer = "${steps.answer.report}"
"""
PERSON = """
[[person]]
name = "Ada"
role = "approver"
token_sha256 = "{digest}"
documents = true
approver_creds = "{creds}"
"""


async def test_a_grant_from_the_portal_lets_the_run_go_on_and_its_name_stands_in_the_audit(tmp_path: Path):
    """
    What is shown is what leaves: the digest goes along with the decision, and without one nothing is decided.
    """
    files = tmp_path / "capabilities"
    files.mkdir()
    (files / "reply.toml").write_text(REPLY)
    env = {"FLOTILLA_CAPABILITY_FILES": str(files)}
    async with running_fleet(tmp_path / "fleet", local=1, env=env) as fleet:
        people = tmp_path / "people.toml"
        digest = sha256(TOKENS["approver"].encode()).hexdigest()
        people.write_text(PERSON.format(digest=digest, creds=fleet.server.approver().creds))
        portal, client, task = await start_portal(fleet, people=people), await fleet.client(), new_task()
        async with client.hearing("results.>") as results, portal.signed_in("approver") as browser:
            await client.submit("reply", {"mail": "I was charged twice."}, task=task)
            waiting: list[Json] = []

            async def is_listed() -> bool:
                waiting[:] = (await browser.get("/api/approvals")).raise_for_status().json()["approvals"]
                return bool(waiting)

            await eventually(is_listed)
            where = f"/api/approvals/{waiting[0]['id']}"
            shown = (await browser.get(where)).raise_for_status().json()
            blind = await browser.post(where, json={"decision": "grant", "comment": ""})
            stale = await browser.post(where, json={"decision": "grant", "comment": "", "digest": "0" * 64})
            decision = {"decision": "grant", "comment": "no names are left", "digest": shown["digest"]}
            decided = (await browser.post(where, json=decision)).raise_for_status().json()
            result = await results.result(task)

    assert {"instruction": "Answer.", "sources": ["This text was made by the noop engine."]} == shown["payload"]
    assert (400, "bad_request") == (blind.status_code, blind.json()["error"]["kind"])
    assert stale.is_client_error
    assert ("granted", "Ada", "no names are left") == tuple(decided[key] for key in ("status", "decided_by", "comment"))
    assert "ok" == result["status"]
