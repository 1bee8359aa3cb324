"""`flotilla doctor` as a process: what it finds, the line that mends it, and how it ends."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from msgspec import UNSET

from flotilla.cli.console.arguments import Where
from flotilla.cli.doctor import check_fleet
from flotilla.contracts.api import FleetStatus, PoolStatus
from flotilla.testkit.commands import WITH_SDKS, start_command
from flotilla.testkit.fleet_peer import Asked, FleetPeer
from flotilla.testkit.nats_server import RunningServer
from flotilla.testkit.ports import free_ports
from flotilla.testkit.provider_anthropic import AnthropicServer
from flotilla.testkit.provider_ollama import OllamaServer
from flotilla.testkit.provider_openai import OpenAIServer

POOL = PoolStatus(
    zone="local", pool="local", provider="ollama", replicas=1, slots=4, busy=0, models=["m"], capabilities=["chat"]
)
KEY = "sk-right"


async def doctor(*options: str, **environ: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """Its exit code, and what it found by subject."""
    known = {"OLLAMA_HOST": f"127.0.0.1:{free_ports(1)[0]}"} | environ
    process = await start_command("doctor", "--json", *options, environ=known, modules=WITH_SDKS)
    out, err = await process.communicate()
    assert process.returncode is not None
    assert not err, err.decode()
    return process.returncode, {found["subject"]: found for found in map(json.loads, out.decode().splitlines())}


def answering(peer: FleetPeer, *, clock_off_s: float = 0.0, stores_nothing: bool = False) -> None:
    async def status(asked: Asked) -> None:
        now_unix_ms = int((time.time() + clock_off_s) * 1000)
        answer = FleetStatus(
            scope="default",
            orchestrator="o",
            pools=[POOL],
            backlog=[],
            now_unix_ms=now_unix_ms,
            stores_nothing=True if stores_nothing else UNSET,
        )
        await peer.answer(asked, answer)

    peer.on_question["status"] = status


async def test_all_is_well(nats_server: RunningServer, peer: FleetPeer):
    """
    Exit code 0, and nothing to mend but what is left to taste.
    """
    answering(peer)
    async with (
        OllamaServer(models=("llama3.2:latest", "nomic-embed-text:latest")) as ollama,
        AnthropicServer(api_key=KEY, models=("claude-test-1",)) as anthropic,
    ):
        code, found = await doctor(
            *("--local-models", "llama3.2,nomic-embed-text=embed", "--cloud-models", "claude-test"),
            FLOTILLA_NATS_URL=nats_server.url,
            OLLAMA_HOST=ollama.url,
            ANTHROPIC_API_KEY=KEY,
            ANTHROPIC_BASE_URL=anthropic.url,
        )

    assert {"ok"} == {finding["state"] for finding in found.values()}
    assert {"nats", "clock", "ollama", "anthropic", "model llama3.2", "model claude-test"} <= found.keys()
    assert 0 == code


async def test_each_fault_comes_with_the_line_that_mends_it(nats_server: RunningServer, peer: FleetPeer):
    """
    A model that was not pulled, a key that is refused, a clock that is off; all in one run.
    """
    answering(peer, clock_off_s=60.0, stores_nothing=True)
    async with OllamaServer(models=("other",)) as ollama, AnthropicServer(api_key=KEY) as anthropic:
        code, found = await doctor(
            *("--local-models", "llama3.2,nomic-embed-text=embed"),
            FLOTILLA_NATS_URL=nats_server.url,
            OLLAMA_HOST=ollama.url,
            ANTHROPIC_API_KEY="sk-wrong",
            ANTHROPIC_BASE_URL=anthropic.url,
        )

    assert 1 == code
    wrong = {subject: finding["mend"] for subject, finding in found.items() if finding["state"] == "wrong"}
    assert "ollama pull llama3.2" == wrong["model llama3.2"]
    assert "ollama pull nomic-embed-text" == wrong["model nomic-embed-text"]
    assert "set a valid key in ANTHROPIC_API_KEY" == wrong["anthropic"]
    assert "timedatectl" in wrong["clock"]
    assert "restart nats-server" in wrong["store"]
    assert "sk-wrong" not in json.dumps(found)


async def test_a_machine_with_nothing_on_it_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch):
    """
    Nothing is wrong yet; everything has a next step. A fleet that was named should be there.
    """
    nowhere = f"nats://127.0.0.1:{free_ports(1)[0]}"
    code, found = await doctor(FLOTILLA_NATS_URL=nowhere)
    monkeypatch.setattr("flotilla.cli.doctor.DEFAULT_URL", nowhere)
    [unnamed] = await check_fleet(Where(url=nowhere))

    assert (1, ["nats"]) == (code, [subject for subject, finding in found.items() if finding["state"] == "wrong"])
    assert "ollama pull" in found["ollama"]["mend"]
    assert "ANTHROPIC_API_KEY" in found["keys"]["mend"]
    assert "flotilla up" in found["nats"]["mend"]
    assert ("note", found["nats"]["says"]) == (unnamed.state, unnamed.says)


async def test_a_server_without_orchestrators_is_a_fault_and_needs_no_other_server(nats_server: RunningServer):
    """
    As are credentials that may not ask: `flotilla up` would only find its port in use.
    """
    code, found = await doctor(FLOTILLA_NATS_URL=nats_server.url)

    assert (1, "wrong") == (code, found["nats"]["state"])
    assert "no orchestrator answers" in found["nats"]["says"]
    assert "kubectl -n flotilla get pods" in found["nats"]["mend"]


@pytest.mark.parametrize("content", [None, "no seed"])
async def test_credentials_that_cannot_be_used_are_named(tmp_path: Path, content: str | None):
    """
    The file, and which option names another.
    """
    creds = tmp_path / "me.nk"
    if content is not None:
        creds.write_text(content)

    code, found = await doctor(FLOTILLA_NATS_CREDS=str(creds))

    assert 1 == code
    assert "me.nk" in found["credentials"]["says"]
    assert "FLOTILLA_NATS_CREDS" in found["credentials"]["mend"]


async def test_a_server_of_ones_own_is_looked_at():
    """
    VLLM or llama.cpp, where it is named without a key; it need not list a model by its name.
    """
    async with OpenAIServer(models=("m",)) as server:
        code, found = await doctor(OPENAI_BASE_URL=server.url)
    gone, lost = await doctor(OPENAI_BASE_URL=server.url)

    assert (0, "ok") == (code, found["openai-compatible"]["state"])
    assert (1, "wrong") == (gone, lost["openai-compatible"]["state"])
    assert "OPENAI_BASE_URL" in lost["openai-compatible"]["mend"]


async def test_people_read_lines():
    """
    The state, what was found, and below it what to do.
    """
    environ = {
        "OLLAMA_HOST": f"127.0.0.1:{free_ports(1)[0]}",
        "FLOTILLA_NATS_URL": f"nats://127.0.0.1:{free_ports(1)[0]}",
    }
    process = await start_command("doctor", environ=environ, modules=WITH_SDKS)
    out, _ = await process.communicate()

    assert "note  keys: no API key is set\n      -> for a frontier API: set one of ANTHROPIC_API_KEY" in out.decode()


async def test_a_gateways_headers_go_to_the_provider_that_serves_and_to_no_other(tmp_path: Path):
    """
    Another provider, asked in the same breath, must not be sent the gateway's secret; what is no header is said.
    """
    file = tmp_path / "headers"
    file.write_text("api-key: 5ecre7\n")
    url = f"nats://127.0.0.1:{free_ports(1)[0]}"
    async with AnthropicServer(api_key=KEY) as anthropic, OpenAIServer(api_key=KEY) as openai:
        environ = {
            "FLOTILLA_NATS_URL": url,
            "FLOTILLA_PROVIDER_HEADERS_FILE": str(file),
            "ANTHROPIC_API_KEY": KEY,
            "ANTHROPIC_BASE_URL": anthropic.url,
            "OPENAI_API_KEY": KEY,
            "OPENAI_BASE_URL": openai.url,
        }
        await doctor(**environ)
        asked = {request.headers.get("api-key") for request in anthropic.requests}
        others = {request.headers.get("api-key") for request in openai.requests}
        file.write_text("Host: 5ecre7\n")
        _, found = await doctor(**environ)

    assert ({"5ecre7"}, {None}) == (asked, others)
    assert "wrong" == found["anthropic"]["state"]
    assert "FLOTILLA_PROVIDER_HEADERS_FILE" in found["anthropic"]["says"]
    assert "5ecre7" not in found["anthropic"]["says"]
