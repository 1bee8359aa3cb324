"""A setting that is unknown or malformed stops a service at its start, with one line that names it, and exit code 2."""

from pathlib import Path

import pytest

from flotilla.testkit.fleet_process import FleetProcess

WORKER = {
    "FLOTILLA_NATS_URL": "nats://127.0.0.1:1",
    "FLOTILLA_POOL": "p",
    "FLOTILLA_PROVIDER": "noop",
}
LOCAL = {**WORKER, "FLOTILLA_ZONE": "local"}
CLOUD = {**WORKER, "FLOTILLA_ZONE": "cloud"}
ORCHESTRATOR = {"FLOTILLA_NATS_URL": "nats://127.0.0.1:1"}
SECRET = "sk-never-to-be-shown"


@pytest.mark.parametrize(
    ("module", "environ", "named"),
    [
        ("orchestrator", {**ORCHESTRATOR, "FLOTILLA_SLOTS": "4"}, "FLOTILLA_SLOTS"),
        ("orchestrator", {**ORCHESTRATOR, "FLOTILLA_BACKLOG_MAX": "many"}, "FLOTILLA_BACKLOG_MAX"),
        ("orchestrator", {**ORCHESTRATOR, "FLOTILLA_BACKLOG_MAX": "0"}, "FLOTILLA_BACKLOG_MAX"),
        ("orchestrator", {**ORCHESTRATOR, "FLOTILLA_SCOPES": "a.b"}, "FLOTILLA_SCOPES"),
        ("orchestrator", {**ORCHESTRATOR, "FLOTILLA_SCOPES": ","}, "FLOTILLA_SCOPES"),
        ("orchestrator", {**ORCHESTRATOR, "FLOTILLA_GRACE_S": "-1"}, "FLOTILLA_GRACE_S"),
        ("orchestrator", {**ORCHESTRATOR, "FLOTILLA_INSTANCE": "a b"}, "FLOTILLA_INSTANCE"),
        ("orchestrator", {**ORCHESTRATOR, "FLOTILLA_LOG_LEVEL": "loud"}, "FLOTILLA_LOG_LEVEL"),
        ("orchestrator", {**ORCHESTRATOR, "FLOTILLA_HTTP_PORT": "99999"}, "FLOTILLA_HTTP_PORT"),
        ("local_inference", {**LOCAL, "FLOTILLA_SLOT": "4"}, "FLOTILLA_SLOT"),
        ("local_inference", {**LOCAL, "FLOTILLA_SLOTS": "0"}, "FLOTILLA_SLOTS"),
        ("local_inference", {**LOCAL, "FLOTILLA_SLOTS": "4.5"}, "FLOTILLA_SLOTS"),
        ("local_inference", {**LOCAL, "FLOTILLA_ZONE": "moon"}, "FLOTILLA_ZONE"),
        ("local_inference", {**LOCAL, "FLOTILLA_ZONE": "cloud"}, "FLOTILLA_ZONE"),
        ("local_inference", {**LOCAL, "FLOTILLA_POOL": "Upper.Case"}, "FLOTILLA_POOL"),
        ("local_inference", {**LOCAL, "FLOTILLA_PROVIDER": "gpt"}, "FLOTILLA_PROVIDER"),
        ("local_inference", {**LOCAL, "FLOTILLA_PROVIDER": "vllm"}, "OPENAI_BASE_URL"),
        ("local_inference", {**LOCAL, "FLOTILLA_CAPABILITIES": "a b"}, "FLOTILLA_CAPABILITIES"),
        ("local_inference", {**LOCAL, "FLOTILLA_CAPABILITIES": "fly"}, "FLOTILLA_CAPABILITIES"),
        ("local_inference", {**LOCAL, "FLOTILLA_MODELS": "a,a"}, "FLOTILLA_MODELS"),
        ("local_inference", {**LOCAL, "FLOTILLA_ENGINE_JITTER": "2"}, "FLOTILLA_ENGINE_JITTER"),
        ("local_inference", {"FLOTILLA_ZONE": "local", "FLOTILLA_PROVIDER": "noop"}, "FLOTILLA_POOL"),
        ("cloud_inference", {**CLOUD, "FLOTILLA_ZONE": "local"}, "FLOTILLA_ZONE"),
        ("cloud_inference", {**CLOUD, "FLOTILLA_PROVIDER": "anthropic"}, "ANTHROPIC_API_KEY"),
        ("cloud_inference", {**CLOUD, "FLOTILLA_API_KEY": SECRET}, "FLOTILLA_API_KEY"),
        ("cloud_inference", {**CLOUD, "FLOTILLA_NATS_PASSWORD": SECRET, "FLOTILLA_SLOTS": SECRET}, "FLOTILLA_SLOTS"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_wrong_setting_is_refused_in_one_line(
    tmp_path: Path, module: str, environ: dict[str, str], named: str
):
    """
    Before anything is connected; the line names the setting and never repeats its value.
    """
    process = await FleetProcess.spawn(module, ("-m", module), environ, tmp_path / "log")

    code = await process.wait(20)
    text = process.log_text()
    assert code == 2, text
    assert text.count("\n") == 1
    assert named in text
    assert SECRET not in text
