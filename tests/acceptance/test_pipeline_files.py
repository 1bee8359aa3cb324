"""Pipelines in the folder of capabilities, as a fleet's processes take them."""

from pathlib import Path

from flotilla.testkit.fleet import running_fleet
from flotilla.testkit.fleet_process import FleetProcess

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "pipelines"


async def test_a_wrong_file_ends_the_orchestrator_with_one_line_that_names_every_fault(tmp_path: Path):
    """
    Of every file, before anything is connected.
    """
    folder = tmp_path / "capabilities"
    folder.mkdir()
    head = '[input]\ntype = "object"\n[steps.one]\ncapability = "classify"\n'
    (folder / "a.toml").write_text(f'name = "a"\n{head}when = "1 +"\nneeds = ["nobody"]\n[output]\nx = 1\n')
    (folder / "b.toml").write_text(f'name = "b"\n{head}[output]\nx = "${{steps.gone}}"\n')
    environ = {"FLOTILLA_NATS_URL": "nats://127.0.0.1:1", "FLOTILLA_CAPABILITY_FILES": str(folder)}
    process = await FleetProcess.spawn("orchestrator", ("-m", "orchestrator"), environ, tmp_path / "log")

    code = await process.wait(60)
    text = process.log_text()
    assert code == 2, text
    assert text.count("\n") == 1
    for fault in ("a.toml:6: steps.one.when: ", "a.toml:7: steps.one.needs[0]: ", "b.toml:6: output: steps.gone: "):
        assert fault in text


async def test_a_pipeline_is_a_capability_whose_input_is_checked_and_workers_pass_it_over(tmp_path: Path):
    """
    A worker that is given the same folder starts, and announces no pipeline.
    """
    files = {"FLOTILLA_CAPABILITY_FILES": str(EXAMPLES)}
    async with running_fleet(tmp_path / "fleet", local=1, env=files) as fleet:
        client = await fleet.client()
        refused = await client.ask("process-document", {"document": 7})
        unknown = await client.ask("proces-document", {})
        cards = (await client.api("replicas"))["replicas"]

    assert refused.kind == "bad_request"
    assert refused.result["error"]["details"]["path"] == "$.document"
    assert {"process-document", "support-inbox", "translate-pages"} <= set(unknown.result["error"]["details"]["known"])
    assert cards
    assert "process-document" not in str(cards)
