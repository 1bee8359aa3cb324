"""A pool with a model, from end to end: what the model finds is replaced too, and when it fails nothing comes out."""

import json
from collections.abc import AsyncIterator
from typing import Any, Final, NamedTuple

import pytest
import pytest_asyncio

from flotilla.contracts.subjects import Zone
from flotilla.inference.redaction.vault_keys import new_key
from flotilla.testkit.fleet import RunningFleet, running_fleet
from flotilla.testkit.plain_client import PlainClient
from flotilla.testkit.provider_ollama import OllamaServer
from flotilla.testkit.provider_steps import Cuts, Fails, Garbage, Says, Stalls, Step

pytestmark = pytest.mark.asyncio(loop_scope="module")

POOLS: tuple[tuple[Zone, str], ...] = (("local", "redaction"),)
MAIL: Final = "ann.smith@example.com"
SECRET: Final = "the lamp of the north"  # noqa: S105  (no pattern and no list knows it)
DOCUMENT: Final = f"We send {SECRET} to {MAIL} today, and {SECRET} again."
FOUND: Final = Says(json.dumps({"entities": [{"type": "identifier", "text": SECRET}]}))


PATIENT: Final = """
[default]
guards = { min_samples = 10000 }
[breaker]
failures_in_a_row = 10000
"""
"""A policy under which no failure of one test closes the route of the next."""


class Place(NamedTuple):
    """
    A fleet, and its model's server.
    """

    fleet: RunningFleet
    ollama: OllamaServer
    client: PlainClient


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    """
    One worker, with a key of the vaults and an Ollama server.
    """
    async with (
        OllamaServer(models=("m",)) as ollama,
        running_fleet(
            tmp_path_factory.mktemp("redaction"), local=0, cloud=0, pools=POOLS, vault_pools=("redaction",)
        ) as fleet,
    ):
        env = {"OLLAMA_HOST": ollama.url, "FLOTILLA_MODELS": "m", "FLOTILLA_VAULT_KEY": new_key()}
        await fleet.start_worker("local", "redaction", engine="ollama", env={**env, "FLOTILLA_LOG_LEVEL": "debug"})
        client = await fleet.client()
        await client.api("policy", {"verb": "set", "toml": PATIENT})
        yield Place(fleet, ollama, client)


async def vaults(place: Place) -> list[Any]:
    """
    Those that the scope has.
    """
    return (await place.client.ask("vault", {"action": "list"})).result["output"]["vaults"]


async def test_what_the_model_finds_is_replaced_and_restored(place: Place):
    """
    Beside what patterns and lists find; the model is asked for entities, with what is in the document.
    """
    place.ollama.otherwise = FOUND
    before = len(place.ollama.requests)

    redacted = (await place.client.ask("redact", {"document": DOCUMENT})).result["output"]
    given = {"document": redacted["document"], "vault": redacted["vault"]}
    restored = (await place.client.ask("restore", given)).result["output"]

    assert {"ID": 2, "EMAIL": 1} == {found["type"]: found["count"] for found in redacted["found"]}
    assert SECRET not in redacted["document"]
    assert DOCUMENT == restored["document"]
    [asked] = list(place.ollama.requests)[before:]
    assert SECRET in json.dumps(asked.body["messages"])


@pytest.mark.parametrize(
    "step",
    [
        Fails(500, message=f"cannot read {SECRET}"),
        Fails(404, message=f"no model for {SECRET}"),
        Says(f"I see {SECRET}, and no reason to answer in JSON."),
        Says(json.dumps({"entities": f"{SECRET}"})),
        Says(json.dumps({"entities": [{"type": "person"}]})),
        Says(json.dumps({"entities": [{"type": "person", "text": "Zaphod"}]})),
        Says("{", end="limit"),
        Says(SECRET, end="refused"),
        Garbage(body=SECRET.encode()),
        Cuts(pieces=(SECRET,)),
        Stalls(),
    ],
    ids=[
        "500",
        "404",
        "prose",
        "no list",
        "no text",
        "invention",
        "cut short",
        "refused",
        "no protocol",
        "broken off",
        "hangs",
    ],
)
async def test_a_model_that_fails_fails_the_task(place: Place, step: Step):
    """
    Nothing is stored, nothing comes out, and neither the error nor the log has anything of the text.
    """
    place.ollama.otherwise = step
    before = await vaults(place)

    headers = {"Flotilla-Deadline-Ms": "3000" if isinstance(step, Stalls) else "120000"}
    result = (await place.client.ask("redact", {"document": DOCUMENT}, headers=headers)).result
    place.ollama.otherwise = FOUND

    assert "failed" == result["status"]
    assert "output" not in result
    assert SECRET not in json.dumps(result)
    assert MAIL not in json.dumps(result)
    if not isinstance(step, Stalls):
        assert "'model'" in result["attempts"][-1]["message"]
    assert before == await vaults(place)
    for process in place.fleet.processes:
        text = process.log_text()
        assert SECRET not in text
        assert MAIL not in text


async def test_an_invention_among_what_is_there_is_left_out(place: Place):
    """
    A model that invents everything fails the task; one that slips once does not.
    """
    words = ["We", "send", SECRET, "today", "again", "Zaphod"]
    place.ollama.otherwise = Says(json.dumps({"entities": [{"type": "identifier", "text": word} for word in words]}))

    result = (await place.client.ask("redact", {"document": DOCUMENT})).result
    place.ollama.otherwise = FOUND

    assert "ok" == result["status"], result
    assert not any(word in result["output"]["document"] for word in (SECRET, MAIL, "today"))
