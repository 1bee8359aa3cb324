"""What the logs of every process may never hold: the text of a document, good or bad, whatever happens to it."""

import asyncio
import json
from pathlib import Path

from flotilla.testkit.fleet import running_fleet
from flotilla.testkit.plain_client import new_task

MARK = "Zaphod-4711-Beeblebrox"
GOOD = {"document": f"Dear {MARK}, your invoice.", "labels": [MARK, "other"]}


async def test_no_text_of_a_document_is_in_any_log(tmp_path: Path):
    """
    Served, refused, failed, cancelled, lost and dead: at the level `debug`, and in the server's log as well.
    """
    env = {"FLOTILLA_LOG_LEVEL": "debug"}
    async with running_fleet(tmp_path, orchestrators=1, local=2, env=env, worker_env=env, failure_rate=0.3) as fleet:
        client = await fleet.client()
        bad = [
            MARK.encode(),
            json.dumps({"document": MARK, "labels": MARK}).encode(),
            json.dumps({"document": [MARK]}).encode(),
            json.dumps({"document": MARK, "labels": [MARK, {"name": MARK, "description": [MARK]}]}).encode(),
            b'{"document":"' + MARK.encode() + b"\xff",
        ]
        async with client.hearing("results.>") as results:
            for body in bad:
                await client.ask("classify", body)
                await client.submit("classify", body)
            tasks = [new_task() for _ in range(20)]
            await client.submit_many("classify", GOOD, tasks)
            await client.submit("summarize", {"document": MARK}, headers={"Flotilla-Data-Class": MARK})
            await asyncio.gather(*(client.ask("classify", GOOD) for _ in range(20)))
            await client.ask("classify", GOOD, headers={"Flotilla-Stream": "true"})
            await client.ask(f"no-{MARK.lower()}", GOOD)
            fleet.workers[0].kill()
            await results.until(lambda heard: len(heard.messages) >= len(bad) + len(tasks) + 1, 20)
            await client.api("cancel", {"task": MARK})
        for process in fleet.processes:
            process.terminate()
            await process.wait()
        written = _written(tmp_path)

    assert {"o1.log", "local-w1.log", "local-w2.log", "nats.log"} <= set(written)
    assert all('"event": "ready"' in written[name] for name in ("o1.log", "local-w1.log", "local-w2.log"))
    assert [name for name, text in written.items() if "Zaphod" in text or "Beeblebrox" in text] == []


def _written(directory: Path) -> dict[str, str]:
    logs = [*directory.glob("*.log"), *(directory / "nats").glob("*.log")]
    return {log.name: log.read_text(errors="replace") for log in logs}
