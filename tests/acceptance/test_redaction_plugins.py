"""A function of somebody's own as a layer of a real worker: it adds what it finds, and when it fails nothing comes out."""

import json
from collections.abc import AsyncIterator
from typing import Final

import pytest
import pytest_asyncio

from flotilla.contracts.subjects import Zone
from flotilla.inference.redaction.vault_keys import new_key
from flotilla.testkit.fleet import RunningFleet, running_fleet

pytestmark = pytest.mark.asyncio(loop_scope="module")

POOLS: tuple[tuple[Zone, str], ...] = (("local", "redaction"),)
PLUGIN: Final = """
import time
def find(text):
    if "capsize" in text:
        raise ValueError(text)
    if "drift" in text:
        time.sleep(5)
    at = text.find("Nautilus")
    return [(at, at + 8, "SHIP")] if at >= 0 else []
"""
DOCUMENT: Final = "They sail on the Nautilus today."
PATIENT: Final = "[default]\nguards = { min_samples = 10000 }\n[breaker]\nfailures_in_a_row = 10000\n"
"""No failure of one test closes the route of the next."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fleet(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningFleet]:
    """
    One worker that redacts, with a function that its settings name.
    """
    folder = tmp_path_factory.mktemp("plugins")
    (folder / "sea_plugins.py").write_text(PLUGIN)
    env = {
        "FLOTILLA_VAULT_KEY": new_key(),
        "FLOTILLA_REDACTION_LAYERS": "sea_plugins:find",
        "FLOTILLA_REDACTION_LAYER_TIMEOUT_S": "1",
        "FLOTILLA_LOG_LEVEL": "debug",
        "PYTHONPATH": str(folder),
    }
    with pytest.MonkeyPatch.context() as patch:
        # A process of its own: where Python looks for modules is known at its start.
        patch.setenv("FLEET_FORKS", "0")
        async with running_fleet(folder, local=0, cloud=0, pools=POOLS, vault_pools=("redaction",)) as fleet:
            await fleet.start_worker("local", "redaction", engine="redaction", env=env)
            await (await fleet.client()).api("policy", {"verb": "set", "toml": PATIENT})
            yield fleet


async def test_what_a_function_finds_is_replaced_and_restored(fleet: RunningFleet):
    """
    Under its own type, beside what is built in.
    """
    client = await fleet.client()
    redacted = (await client.ask("redact", {"document": DOCUMENT})).result["output"]
    given = {"document": redacted["document"], "vault": redacted["vault"]}

    assert {"SHIP"} == {found["type"] for found in redacted["found"]}
    assert "Nautilus" not in json.dumps(redacted)
    assert DOCUMENT == (await client.ask("restore", given)).result["output"]["document"]


@pytest.mark.parametrize("word", ["capsize", "drift"])
async def test_a_function_that_raises_or_hangs_fails_the_task(fleet: RunningFleet, word: str):
    """
    The error names the function, and neither it nor a log has anything of the text.
    """
    answer = await (await fleet.client()).ask("redact", {"document": f"{DOCUMENT} They {word}."})

    assert "failed" == answer.result["status"]
    told = json.dumps(answer.result)
    assert "sea_plugins:find" in told
    assert "Nautilus" not in told
    for process in fleet.processes:
        assert "Nautilus" not in process.log.read_text(errors="replace")
