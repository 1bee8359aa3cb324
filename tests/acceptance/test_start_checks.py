"""What a worker finds wrong with its provider at the start, before any task does."""

import json
from pathlib import Path
from typing import Any

from flotilla.testkit.fleet import running_fleet
from flotilla.testkit.fleet_process import FleetProcess
from flotilla.testkit.plain_client import eventually
from flotilla.testkit.provider_ollama import OllamaServer


def _said(worker: FleetProcess, event: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in worker.log_text().splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == event]


async def test_a_worker_says_at_its_start_which_model_is_not_installed(tmp_path: Path):
    """
    With the command that installs it; it serves all the same, since that may be done meanwhile.
    """
    async with OllamaServer(models=("other",)) as ollama, running_fleet(tmp_path, local=0) as fleet:
        models = "llama3.2,nomic-embed-text=embed"
        worker = await fleet.start_worker(engine="ollama", env={"OLLAMA_HOST": ollama.url, "FLOTILLA_MODELS": models})

        async def said_so() -> bool:
            return len(_said(worker, "check_failed")) >= 2

        await eventually(said_so)

    failed = {line["subject"]: line["mend"] for line in _said(worker, "check_failed")}
    assert {
        "model llama3.2": "ollama pull llama3.2",
        "model nomic-embed-text": "ollama pull nomic-embed-text",
    } == failed
