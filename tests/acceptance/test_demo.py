"""`make demo`'s program as a user runs it."""

import asyncio
import os
import shutil
from pathlib import Path

import msgspec

from flotilla.testkit.commands import start_command

SAMPLES = Path(__file__).parents[2] / "examples" / "documents"
TIMEOUT_S = 120.0
PERSONAL = ("Wiesenthau", "h.wiesenthau@postfach-beispiel.example", "+49 30 23125 067", "Lindenblütenweg 27")


async def demo(*options: str) -> tuple[int, str]:
    """Run it, with keys around that it must not use; gives the exit code and what it showed."""
    environ = os.environ | {"ANTHROPIC_API_KEY": "sk-must-not-be-used", "COLUMNS": "100"}
    process = await start_command(*options, environ=environ, module="flotilla.cli.demo")
    out, err = await asyncio.wait_for(process.communicate(), TIMEOUT_S)
    assert not err, err.decode()
    return await process.wait(), out.decode()


async def test_it_runs_documents_through_both_zones_and_leaves_its_outputs(tmp_path: Path):
    """
    Every task goes well on the embedded engine, restricted data stays home, and the tables say so.
    """
    documents = tmp_path / "documents"
    documents.mkdir()
    for name in ("clinical-note", "support-kuendigung-de"):
        shutil.copy(SAMPLES / f"{name}.md", documents)
    output = tmp_path / "output"

    code, shown = await demo("--documents", str(documents), "--output", str(output))

    assert code == 0, shown
    assert "The embedded engine stands in for the models" in shown
    assert "the fleet refused: no_route" in shown
    assert " | 100% ok | avg " in shown
    tasks = msgspec.json.decode((output / "tasks.json").read_bytes())
    assert {task["provider"] for task in tasks} == {"embedded"}
    assert {task["zone"] for task in tasks if task["document"] == "clinical-note"} == {"local"}
    assert {task["zone"] for task in tasks if task["capability"] in ("summarize", "synthesize")} == {"local", "cloud"}
    assert {task["way"] for task in tasks} == {"interactive", "durable"}
    letter = msgspec.json.decode((output / "support-kuendigung-de.json").read_bytes())
    assert letter["class"]["label"] == "cancellation"
    assert letter["summary"]
    assert (output / "report.md").read_text().strip()
    runs = msgspec.json.decode((output / "pipeline.json").read_bytes())
    zones = {step["name"]: step["zone"] for step in runs["support-kuendigung-de"]}
    assert {"local": {"classify", "entities", "redact", "final"}, "cloud": {"summary", "report"}} == {
        zone: {name for name, where in zones.items() if where == zone} for zone in ("local", "cloud")
    }
    assert "report of clinical-note leaves when somebody has said so" in shown
    assert "meanwhile no process holds it" in shown
    audit = msgspec.json.decode((output / "approvals.json").read_bytes())
    assert [("pending", "default"), ("granted", "demo"), ("consumed", "demo")] == [
        (line["status"], line["who"]) for line in audit
    ]
    assert {"succeeded"} == {step["status"] for step in runs["clinical-note"]}
    assert "What the cloud saw" in shown
    seen = (output / "reports" / "support-kuendigung-de.as-the-cloud-saw-it.md").read_text()
    original = (documents / "support-kuendigung-de.md").read_text()
    for value in PERSONAL:
        assert value in original
        assert value not in seen
    assert "[EMAIL_" in seen
    assert "[EMAIL_" not in (output / "reports" / "support-kuendigung-de.md").read_text()


async def test_a_folder_without_documents_is_refused_before_anything_is_started(tmp_path: Path):
    """
    Exit code 2, with the folder's name.
    """
    code, shown = await demo("--documents", str(tmp_path))

    assert code == 2
    assert "no documents" in shown
