"""What `flotilla up` serves with: models where there are some, and nothing in their place."""

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from flotilla.cli.supervisor.supervisor import FleetFacts
from flotilla.client.fleet import Fleet
from flotilla.contracts.errors import TaskError
from flotilla.contracts.failures import ErrorKind
from flotilla.testkit.commands import WITH_SDKS, RunningCommand, start_command
from flotilla.testkit.fleet_process import FleetProcess
from flotilla.testkit.ports import free_ports
from flotilla.testkit.provider_anthropic import AnthropicServer
from flotilla.testkit.provider_ollama import OllamaServer
from flotilla.testkit.provider_openai import OpenAIServer

READY_TIMEOUT_S = 90.0
END_TIMEOUT_S = 60.0
JOIN_TIMEOUT_S = 60.0
TASKS = 20
BODY = {"document": "The invoice is wrong."}
KEYS = ("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "GEMINI_API_KEY", "OLLAMA_HOST", "ANTHROPIC_BASE_URL", "OPENAI_BASE_URL")


class Up:
    """A running `flotilla up`."""

    def __init__(self, process: RunningCommand, facts: FleetFacts) -> None:
        self.process = process
        self.facts = facts

    async def end(self) -> str:
        """Drain it; gives what it has said."""
        self.process.terminate()
        _, said = await asyncio.wait_for(self.process.communicate(), END_TIMEOUT_S)
        return said.decode()


@asynccontextmanager
async def up(directory: Path, *options: str, **environ: str) -> AsyncGenerator[Up]:
    """`flotilla up` with the models that `environ` names and no others."""
    known = {name: value for name, value in os.environ.items() if name not in KEYS}
    known |= {"OLLAMA_HOST": f"127.0.0.1:{free_ports(1)[0]}"} | environ
    command = ("up", "--dir", str(directory), "--port", "0", "--redaction", "0", "--json")
    command += ("--no-portal", *options)
    process = await start_command(*command, environ=known, modules=WITH_SDKS)
    line = await asyncio.wait_for(process.stdout.readline(), READY_TIMEOUT_S)
    assert line, (await process.stderr.read()).decode()
    try:
        yield Up(process, msgspec.json.decode(line, type=FleetFacts))
    finally:
        if process.returncode is None:
            process.terminate()
            await asyncio.wait_for(process.communicate(), END_TIMEOUT_S)


async def providers_of(fleet: Fleet, count: int = TASKS) -> set[str]:
    """Who answers so many summaries, asked all at once."""
    answers = await asyncio.gather(*(fleet.ask("summarize", BODY) for _ in range(count)))
    return {answer.provider for answer in answers}


async def test_models_that_the_ollama_server_lacks_are_pulled_first(tmp_path: Path):
    """
    Those that it has are not; a pull is told of.
    """
    async with OllamaServer(models=("llama3.2",)) as server:
        server.pullable = frozenset({"nomic-embed-text"})
        options = ("--cloud", "0", "--pull", "--local-models", "llama3.2,nomic-embed-text=embed")
        async with up(tmp_path, *options, OLLAMA_HOST=server.url) as running:
            said = await running.end()

        pulled = [asked.body["model"] for asked in server.requests if asked.path == "/api/pull"]
        assert ["nomic-embed-text"] == pulled
        assert "pulling nomic-embed-text" in said
        assert "not installed" not in said


async def test_a_model_that_cannot_be_pulled_ends_it_before_anything_is_started(tmp_path: Path):
    """
    With the model and what the server said of it.
    """
    async with OllamaServer(models=("llama3.2",)) as server:
        command = (
            "up",
            "--dir",
            str(tmp_path),
            "--port",
            "0",
            "--pull",
            "--local-models",
            "none",
        )
        environ = os.environ | {"OLLAMA_HOST": server.url}
        process = await start_command(*command, environ=environ)
        _, said = await asyncio.wait_for(process.communicate(), END_TIMEOUT_S)

    assert 1 == process.returncode
    assert "pulling none: ollama: error in the stream" in said.decode()
    assert "nats-server listens" not in said.decode()


async def test_with_ollama_alone_every_task_is_its_own(tmp_path: Path):
    """
    Nothing runs in the cloud zone, and a model that is not installed is told with what installs it.
    """
    async with OllamaServer(models=("llama3.2",)) as ollama:
        options = ("--local-models", "llama3.2,nomic-embed-text=embed")
        async with up(tmp_path, *options, OLLAMA_HOST=ollama.url) as running:
            assert [] == running.facts.pids["cloud"]
            async with Fleet.connect(running.facts.url) as fleet:
                assert {"ollama"} == await providers_of(fleet)
            said = await running.end()

    assert "cloud: no API key is set; nothing runs there" in said
    assert "model nomic-embed-text: not installed; ollama pull nomic-embed-text" in said


async def test_with_a_key_alone_restricted_data_has_no_route(tmp_path: Path):
    """
    And no engine that would look like a model to it.
    """
    async with AnthropicServer(models=("claude-haiku-5-5",)) as anthropic:
        environ = {"ANTHROPIC_API_KEY": "sk-right", "ANTHROPIC_BASE_URL": anthropic.url}
        async with up(tmp_path, **environ) as running, Fleet.connect(running.facts.url) as fleet:
            assert [] == running.facts.pids["local"]
            assert {"anthropic"} == await providers_of(fleet)
            with pytest.raises(TaskError) as refused:
                await fleet.ask("summarize", BODY, data_class="restricted", deadline_s=20)
            assert ErrorKind.NO_ROUTE is refused.value.kind
            said = await running.end()
    assert "restricted data has no route" in said


async def test_a_pool_of_models_beside_the_engine_gets_every_task(tmp_path: Path):
    """
    As soon as it is live: vLLM started by hand, as the README has it.
    """
    async with (
        OpenAIServer(models=("m",)) as vllm,
        up(tmp_path, "--engine", "embedded", "--pool", "vllm") as running,
        Fleet.connect(running.facts.url) as fleet,
    ):
        assert {"embedded"} == await providers_of(fleet, 4)
        environ = {
            "FLOTILLA_NATS_URL": running.facts.url,
            "FLOTILLA_NATS_CREDS": running.facts.credentials["vllm"],
            "FLOTILLA_ZONE": "local",
            "FLOTILLA_POOL": "vllm",
            "FLOTILLA_PROVIDER": "vllm",
            "FLOTILLA_MODELS": "m",
            "OPENAI_BASE_URL": f"{vllm.url}/v1",
        }
        worker = await FleetProcess.spawn("vllm", ("-m", "local_inference"), environ, tmp_path / "vllm.log")
        try:
            async with asyncio.timeout(JOIN_TIMEOUT_S):
                while not any(pool.pool == "vllm" and not pool.draining for pool in (await fleet.status()).pools):
                    await asyncio.sleep(0.1)
            standing_in = {pool.pool: pool.stand_in for pool in (await fleet.status()).pools}
            assert {"local": True, "cloud": True, "vllm": False} == standing_in
            await until_served_by(fleet, "vllm")
            assert {"vllm"} == await providers_of(fleet)
        finally:
            worker.terminate()
            await worker.wait()


async def until_served_by(fleet: Fleet, provider: str) -> None:
    """Return when one task was: its pool was announced as one that takes nothing before it did."""
    async with asyncio.timeout(JOIN_TIMEOUT_S):
        while (await fleet.ask("summarize", BODY)).provider != provider:
            await asyncio.sleep(0.05)
