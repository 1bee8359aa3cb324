"""`flotilla privacy prove` against a fleet of real processes: what it proves, and what it must find."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest
import pytest_asyncio
from msgspec import Struct

from flotilla.contracts.subjects import Zone
from flotilla.inference.redaction.vault_keys import new_key
from flotilla.testkit.commands import start_command
from flotilla.testkit.fleet import RunningFleet, running_fleet
from flotilla.testkit.patient_client import WAIT_S

pytestmark = pytest.mark.asyncio(loop_scope="module")

POOLS: tuple[tuple[Zone, str], ...] = (("local", "local"), ("local", "redaction"), ("cloud", "cloud"))
DOCUMENTS: Final = 30
"""Enough for every way that needs neither cache nor sealed lane."""
TO_THE_CLOUD: Final = """
[default]
strategy = "failover"
routes = [{ pool = "cloud" }, { pool = "local" }, { pool = "redaction" }]
"""
HIDDEN: Final = "@example.com"
"""In every letter, and never to be told."""
UNVEILED: Final = """
name = "unveiled"
[input]
type = "object"
[steps.hide]
capability = "redact"
input = { document = "${input.document}" }
[steps.show]
capability = "restore"
input = { document = "${steps.hide.document}", vault = "${steps.hide.vault}" }
[steps.sum]
capability = "summarize"
input = { document = "${steps.show.document}" }
[output]
summary = "${steps.sum.summary}"
"""

GATED: Final = """
name = "gated"
[input]
type = "object"
[steps.sort]
capability = "classify"
input = { document = "${input.document}", labels = ["a", "b"] }
approval = { expires_s = 1 }
[output]
label = "${steps.sort.label}"
"""


class Ended(Struct, frozen=True):
    """How the command ended."""

    code: int
    out: str
    err: str

    @property
    def told(self) -> dict[str, Any]:
        """What it says as JSON."""
        return json.loads(self.out)

    @property
    def leaks(self) -> dict[str, int]:
        """How many canaries came to light, by place."""
        return {sight["place"]: sight["leaks"] for sight in self.told["run"]["sights"] if sight["leaks"]}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fleet(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningFleet]:
    """
    A local, a cloud and a redacting worker, and a pipeline that restores before it summarizes.
    """
    folder = tmp_path_factory.mktemp("prove")
    (folder / "capabilities").mkdir()
    (folder / "capabilities" / "unveiled.toml").write_text(UNVEILED)
    (folder / "capabilities" / "gated.toml").write_text(GATED)
    async with running_fleet(
        folder,
        local=1,
        cloud=1,
        pools=POOLS,
        vault_pools=("redaction",),
        sealed=True,
        env={"FLOTILLA_CAPABILITY_FILES": str(folder / "capabilities")},
    ) as fleet:
        env = {"FLOTILLA_VAULT_KEY": new_key()}
        await fleet.start_worker("local", "redaction", "redaction-w1", engine="redaction", env=env)
        yield fleet


async def prove(fleet: RunningFleet, *options: str, creds: str | None = None, tasks: int = DOCUMENTS) -> Ended:
    """Run the command as the fleet's admin."""
    given = ("--creds", creds or str(fleet.server.admin().creds), "--url", fleet.url, "--tasks", str(tasks))
    process = await start_command("privacy", "prove", *given, *options, environ={})
    out, err = await asyncio.wait_for(process.communicate(), 2 * WAIT_S)
    ended = Ended(process.returncode or 0, out.decode(), err.decode())
    assert "Traceback" not in ended.err, ended.err
    assert HIDDEN not in ended.out + ended.err
    return ended


async def in_force(fleet: RunningFleet, policy: str) -> None:
    """Put a policy in force, known to the orchestrator that has set it."""
    answer = await (await fleet.client()).api("policy", {"verb": "set", "toml": policy, "force": True})
    assert answer.get("revision"), answer


async def test_it_proves_what_holds_and_leaves_nothing_behind(fleet: RunningFleet):
    """
    Although the policy prefers the cloud, and the cloud was heard to get what may go there.
    """
    await in_force(fleet, TO_THE_CLOUD)
    sealed = str(fleet.server.sealed_orchestrator().creds)
    named = ("--sealed-creds", sealed, "--vault-store", str(fleet.server.server.directory / "jetstream"))
    ended = await prove(fleet, "--json", "--capability", "unveiled", "--capability", "gated", *named, tasks=44)

    assert (0, {}, []) == (ended.code, ended.leaks, ended.told["faults"]), ended
    run = ended.told["run"]
    sights = {sight["place"]: sight for sight in run["sights"]}
    assert 44 == run["documents"]
    assert {"ok"} == set(run["ends"]["sealed"]) == set(run["ends"]["asked twice, with the cache"])
    # Whatever a run can be stored as was stored, and looked at.
    for place in ("suspended", "inputs of approvals", "audit", "stores", "sealed lane", "vaults on disk"):
        assert sights[place]["messages"] > 0, place
    assert sights["suspended"]["at_home"] > 0
    assert run["decoys_heard"] >= run["decoys_served"] > 0
    assert sights["cloud lanes"]["messages"] > run["decoys_heard"]
    assert sights["task stream"]["at_home"] > 0
    assert sights["dead letters"]["messages"] > 0
    assert {"no_route"} == set(run["ends"]["asked of the cloud"]) == set(run["ends"]["retried of the cloud"])
    assert {"bad_request"} == set(run["ends"]["refused"])
    assert {"ok"} == set(run["ends"]["redacted and restored"]) == set(run["ends"]["redact.document sent on"])
    admin, client = await fleet.admin(), await fleet.client()
    assert [0, 0] == [await admin.messages_in(stream) for stream in ("RESULTS_default", "DEAD_default")]
    # Of the pipeline's own vaults nobody but its runs knew: one asked, one submitted.
    assert 2 == len((await client.ask("vault", {"action": "list"})).result["output"]["vaults"])


async def test_a_type_that_is_not_replaced_is_found(fleet: RunningFleet):
    """
    Exit code 1, and the place by name; the text is told nowhere.
    """
    await in_force(fleet, TO_THE_CLOUD + '[redaction]\noff = ["EMAIL"]\n')
    ended = await prove(fleet, "--json")

    assert 1 == ended.code
    assert ended.leaks["cloud lanes"] > 0, ended
    assert any(fault.startswith("leak: cloud lanes: ") for fault in ended.told["faults"])


async def test_a_pipeline_that_lets_personal_data_out_is_found(fleet: RunningFleet):
    """
    What the steps of one that is named send is heard, and told in eighty columns.
    """
    await in_force(fleet, TO_THE_CLOUD + '[declassify]\nrestore = { document = "public" }\n')
    ended = await prove(fleet, "--capability", "unveiled")

    assert 1 == ended.code
    assert ended.err.startswith("leak: cloud lanes: ")
    assert "proven" not in ended.out
    assert max(map(len, ended.out.expandtabs(1).splitlines())) <= 80


async def test_what_could_not_be_seen_is_not_proven(fleet: RunningFleet):
    """
    Neither before its time was over, nor by somebody who hears nothing.
    """
    await in_force(fleet, TO_THE_CLOUD)
    hurried = await prove(fleet, "--timeout-s", "0.001")
    assert 1 == hurried.code
    assert "unfinished: " in hurried.err
    unserved = await prove(fleet, "--capability", "nobodys", tasks=44)
    assert 1 == unserved.code
    assert "not tried: no document of nobodys went anywhere (unknown_capability: " in unserved.err
    few = await prove(fleet, "--capability", "unveiled", tasks=1)
    assert "not tried: no document of unveiled went anywhere (there were too few documents" in few.err
    stranger = await prove(fleet, creds=str(fleet.server.observer().creds))
    assert stranger.code != 0
    assert "proven" not in stranger.out
    nobody = await prove(fleet, "--tasks", "0")
    assert (2, "") == (nobody.code, nobody.out)
