"""A provider is added by its record: the worker's settings, its backend and its results follow from it."""

from pathlib import Path
from typing import Final

from flotilla.testkit.fleet import running_fleet
from flotilla.testkit.provider_openai import OpenAIServer
from flotilla.testkit.provider_steps import Says

KEY: Final = "toy-key"
WITH_A_RECORD: Final = """
import runpy

from flotilla.contracts import providers

providers.PROVIDERS = (
    *providers.PROVIDERS,
    providers.Provider(
        name="toy",
        zone="cloud",
        adapter="openai_chat",
        extra="openai",
        key="TOY_API_KEY",
        needs_key=True,
        address="TOY_BASE_URL",
        url="https://toy.example/v1",
        default_model="toy-1",
        variables=("TOY_",),
    ),
)
runpy.run_module("cloud_inference", run_name="__main__")
"""


async def test_a_record_is_all_that_a_worker_of_a_new_provider_takes(tmp_path: Path):
    """
    Where the provider speaks a protocol that there is an adapter for.
    """
    async with OpenAIServer(api_key=KEY) as server, running_fleet(tmp_path, local=0) as fleet:
        server.otherwise = Says("A calm summary.")
        environ = {"TOY_API_KEY": KEY, "TOY_BASE_URL": f"{server.url}/v1", "FLOTILLA_MODELS": "toy-1"}

        await fleet.start_worker("cloud", engine="toy", env=environ, command=("-c", WITH_A_RECORD), fork=False)
        client = await fleet.client()
        result = (await client.ask("chat", {"messages": [{"role": "user", "content": "Is it calm?"}]})).result

    assert ("ok", "toy") == (result["status"], result["provider"])
    assert "toy-1" == server.requests[-1].body["model"]


async def test_a_worker_of_it_without_its_key_says_which_variable_it_needs(tmp_path: Path):
    """
    As one of every other provider does.
    """
    async with running_fleet(tmp_path, local=0) as fleet:
        worker = await fleet.start_worker(
            "cloud",
            engine="toy",
            env={"FLOTILLA_MODELS": "toy-1"},
            command=("-c", WITH_A_RECORD),
            fork=False,
            wait=False,
        )

        assert 2 == await worker.wait()
        assert "setting TOY_API_KEY is missing" in worker.log_text()
