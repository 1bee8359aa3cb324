"""A setting that is unknown or malformed stops a service at its start, with one line that names it, and exit code 2."""

from pathlib import Path
from typing import Any

import pytest

from cloud_inference.backends import serving_for as serving_in_the_cloud
from cloud_inference.settings import CloudSettings
from flotilla.chassis.settings import ServiceSettings, load_settings
from flotilla.contracts.errors import SettingsError
from flotilla.inference.redaction.vault_keys import new_key
from flotilla.testkit.fleet_process import FleetProcess
from local_inference.backends import serving_for as serving_locally
from local_inference.settings import LocalSettings
from orchestrator.settings import OrchestratorSettings

WORKER = {
    "FLOTILLA_NATS_URL": "nats://127.0.0.1:1",
    "FLOTILLA_POOL": "p",
    "FLOTILLA_PROVIDER": "noop",
}
LOCAL = {**WORKER, "FLOTILLA_ZONE": "local"}
CLOUD = {**WORKER, "FLOTILLA_ZONE": "cloud"}
VLLM = {**LOCAL, "FLOTILLA_PROVIDER": "vllm", "OPENAI_BASE_URL": "http://127.0.0.1:1/v1", "FLOTILLA_MODELS": "m"}
REDACTION = {**LOCAL, "FLOTILLA_PROVIDER": "redaction", "FLOTILLA_VAULT_KEY": new_key()}
ORCHESTRATOR = {"FLOTILLA_NATS_URL": "nats://127.0.0.1:1"}
SECRET = "sk-never-to-be-shown"  # noqa: S105  (it is none)
KINDS: dict[str, type[ServiceSettings]] = {
    "orchestrator": OrchestratorSettings,
    "local_inference": LocalSettings,
    "cloud_inference": CloudSettings,
}


def _named(value: Any) -> str:
    return value if isinstance(value, str) else ""


@pytest.mark.parametrize(
    ("module", "environ", "named"),
    [
        ("orchestrator", {**ORCHESTRATOR, "FLOTILLA_SLOTS": "4"}, "FLOTILLA_SLOTS"),
        ("orchestrator", {**ORCHESTRATOR, "FLOTILLA_BACKLOG_MAX": "many"}, "FLOTILLA_BACKLOG_MAX"),
        ("orchestrator", {**ORCHESTRATOR, "FLOTILLA_NATS_CREDS": "/nofile"}, "FLOTILLA_NATS_CREDS"),
        ("orchestrator", {"FLOTILLA_NATS_URL": SECRET}, "FLOTILLA_NATS_URL"),
        ("local_inference", {**LOCAL, "FLOTILLA_NATS_CREDS": "/nofile"}, "FLOTILLA_NATS_CREDS"),
        ("local_inference", {**LOCAL, "FLOTILLA_NATS_URL": SECRET}, "FLOTILLA_NATS_URL"),
        ("local_inference", {**LOCAL, "FLOTILLA_SLOT": "4"}, "FLOTILLA_SLOT"),
        ("local_inference", {**LOCAL, "FLOTILLA_SLOTS": "4.5"}, "FLOTILLA_SLOTS"),
        ("local_inference", {**LOCAL, "FLOTILLA_PROVIDER": "gpt"}, "FLOTILLA_PROVIDER"),
        ("local_inference", {**VLLM, "OPENAI_BASE_URL": "https://api.openai.com/v1"}, "FLOTILLA_LOCAL_HOSTS"),
        ("local_inference", {**REDACTION, "FLOTILLA_REDACTION_LAYERS": "no.module:find"}, "FLOTILLA_REDACTION_LAYERS"),
        ("cloud_inference", {**CLOUD, "FLOTILLA_PROVIDER": "anthropic"}, "ANTHROPIC_API_KEY"),
        ("cloud_inference", {**CLOUD, "FLOTILLA_API_KEY": SECRET}, "FLOTILLA_API_KEY"),
    ],
    ids=_named,
)
async def test_a_wrong_setting_ends_the_service_with_one_line(
    tmp_path: Path, module: str, environ: dict[str, str], named: str
):
    """
    Before anything is connected; the line names the setting and never repeats its value.
    """
    process = await FleetProcess.spawn(module, ("-m", module), environ, tmp_path / "log")

    code = await process.wait()
    text = process.log_text()
    assert code == 2, text
    assert text.count("\n") == 1
    assert named in text
    assert SECRET not in text


@pytest.mark.parametrize(
    ("module", "environ", "named"),
    [
        ("orchestrator", {**ORCHESTRATOR, "FLOTILLA_BACKLOG_MAX": "0"}, "FLOTILLA_BACKLOG_MAX"),
        ("orchestrator", {**ORCHESTRATOR, "FLOTILLA_SCOPES": "a.b"}, "FLOTILLA_SCOPES"),
        ("orchestrator", {**ORCHESTRATOR, "FLOTILLA_SCOPES": ","}, "FLOTILLA_SCOPES"),
        ("orchestrator", {**ORCHESTRATOR, "FLOTILLA_SCOPE_WEIGHTS": "default"}, "FLOTILLA_SCOPE_WEIGHTS"),
        ("orchestrator", {**ORCHESTRATOR, "FLOTILLA_SCOPE_WEIGHTS": "default=0"}, "FLOTILLA_SCOPE_WEIGHTS"),
        ("orchestrator", {**ORCHESTRATOR, "FLOTILLA_SCOPE_WEIGHTS": "default=1000"}, "FLOTILLA_SCOPE_WEIGHTS"),
        ("orchestrator", {**ORCHESTRATOR, "FLOTILLA_SCOPE_WEIGHTS": "default=1,default=2"}, "FLOTILLA_SCOPE_WEIGHTS"),
        ("orchestrator", {**ORCHESTRATOR, "FLOTILLA_SCOPE_WEIGHTS": "nobody=3"}, "FLOTILLA_SCOPE_WEIGHTS"),
        ("orchestrator", {**ORCHESTRATOR, "FLOTILLA_SCOPE_SHARE_MAX": "0"}, "FLOTILLA_SCOPE_SHARE_MAX"),
        ("orchestrator", {**ORCHESTRATOR, "FLOTILLA_ASKS_BYTES_MAX": "8"}, "FLOTILLA_ASKS_BYTES_MAX"),
        ("orchestrator", {**ORCHESTRATOR, "FLOTILLA_GRACE_S": "-1"}, "FLOTILLA_GRACE_S"),
        ("orchestrator", {**ORCHESTRATOR, "FLOTILLA_INSTANCE": "a b"}, "FLOTILLA_INSTANCE"),
        ("orchestrator", {**ORCHESTRATOR, "FLOTILLA_LOG_LEVEL": "loud"}, "FLOTILLA_LOG_LEVEL"),
        ("orchestrator", {**ORCHESTRATOR, "FLOTILLA_HTTP_PORT": "99999"}, "FLOTILLA_HTTP_PORT"),
        ("local_inference", {**LOCAL, "FLOTILLA_SLOTS": "0"}, "FLOTILLA_SLOTS"),
        ("local_inference", {**LOCAL, "FLOTILLA_ZONE": "moon"}, "FLOTILLA_ZONE"),
        ("local_inference", {**LOCAL, "FLOTILLA_ZONE": "cloud"}, "FLOTILLA_ZONE"),
        ("local_inference", {**LOCAL, "FLOTILLA_POOL": "Upper.Case"}, "FLOTILLA_POOL"),
        ("local_inference", {**LOCAL, "FLOTILLA_PROVIDER": "vllm"}, "OPENAI_BASE_URL"),
        ("local_inference", {**LOCAL, "FLOTILLA_CAPABILITIES": "a b"}, "FLOTILLA_CAPABILITIES"),
        ("local_inference", {**LOCAL, "FLOTILLA_CAPABILITIES": "fly"}, "FLOTILLA_CAPABILITIES"),
        ("local_inference", {**LOCAL, "FLOTILLA_MODELS": "a,a"}, "FLOTILLA_MODELS"),
        ("local_inference", {**VLLM, "FLOTILLA_OUTPUT_TOKENS_MAX": "many"}, "FLOTILLA_OUTPUT_TOKENS_MAX"),
        ("local_inference", {**VLLM, "FLOTILLA_OUTPUT_TOKENS_MAX": "100,m=0"}, "FLOTILLA_OUTPUT_TOKENS_MAX"),
        ("local_inference", {**VLLM, "FLOTILLA_OUTPUT_TOKENS_MAX": "100,200"}, "FLOTILLA_OUTPUT_TOKENS_MAX"),
        ("local_inference", {**LOCAL, "FLOTILLA_ENGINE_JITTER": "2"}, "FLOTILLA_ENGINE_JITTER"),
        ("local_inference", {"FLOTILLA_ZONE": "local", "FLOTILLA_PROVIDER": "noop"}, "FLOTILLA_POOL"),
        ("local_inference", {**VLLM, "OPENAI_BASE_URL": "http://203.0.113.7:8000"}, "FLOTILLA_LOCAL_HOSTS"),
        ("local_inference", {**VLLM, "OPENAI_BASE_URL": f"http://{SECRET}:{SECRET}@8.8.8.8"}, "FLOTILLA_LOCAL_HOSTS"),
        ("local_inference", {**VLLM, "FLOTILLA_PROXY_URL": f"http://{SECRET}@8.8.8.8:3128"}, "FLOTILLA_PROXY_URL"),
        ("local_inference", {**VLLM, "FLOTILLA_PROXY_URL": SECRET + "://"}, "FLOTILLA_PROXY_URL"),
        ("local_inference", {**VLLM, "FLOTILLA_PROVIDER_HEADERS": f"Host: {SECRET}"}, "FLOTILLA_PROVIDER_HEADERS"),
        ("local_inference", {**VLLM, "FLOTILLA_PROVIDER_HEADERS": SECRET}, "FLOTILLA_PROVIDER_HEADERS"),
        ("local_inference", {**VLLM, "FLOTILLA_PROVIDER_HEADERS_FILE": "/nofile"}, "FLOTILLA_PROVIDER_HEADERS_FILE"),
        ("local_inference", {**VLLM, "FLOTILLA_LOCAL_HOSTS": "http://gpu"}, "FLOTILLA_LOCAL_HOSTS"),
        ("local_inference", {**LOCAL, "FLOTILLA_PROVIDER": "ollama", "OLLAMA_HOST": "8.8.8.8"}, "FLOTILLA_LOCAL_HOSTS"),
        (
            "local_inference",
            {**LOCAL, "FLOTILLA_PROVIDER": "ollama", "OLLAMA_HOST": "ollama.com"},
            "FLOTILLA_LOCAL_HOSTS",
        ),
        ("local_inference", {**REDACTION, "FLOTILLA_VAULT_KEY": SECRET}, "FLOTILLA_VAULT_KEY"),
        ("local_inference", {**REDACTION, "FLOTILLA_REDACTION_TYPES": "/nofile"}, "FLOTILLA_REDACTION_TYPES"),
        ("local_inference", {**REDACTION, "FLOTILLA_REDACTION_LAYERS": "no.module:find"}, "FLOTILLA_REDACTION_LAYERS"),
        ("local_inference", {**REDACTION, "FLOTILLA_REDACTION_SPACY": "no_pipeline"}, "FLOTILLA_REDACTION_SPACY"),
        ("local_inference", {**LOCAL, "FLOTILLA_REDACTION_LAYERS": "json:loads"}, "FLOTILLA_VAULT_KEY"),
        ("cloud_inference", {**CLOUD, "FLOTILLA_ZONE": "local"}, "FLOTILLA_ZONE"),
        ("cloud_inference", {**CLOUD, "FLOTILLA_NATS_PASSWORD": SECRET, "FLOTILLA_SLOTS": SECRET}, "FLOTILLA_SLOTS"),
    ],
    ids=_named,
)
def test_a_wrong_setting_is_named_in_one_line(module: str, environ: dict[str, str], named: str):
    """
    The same, without the cost of a process for each.
    """
    with pytest.raises(SettingsError) as refused:
        _prepare(load_settings(KINDS[module], environ))

    assert named in str(refused.value)
    assert "\n" not in str(refused.value)
    assert SECRET not in str(refused.value)


def _prepare(settings: ServiceSettings) -> None:
    """What a service does with its settings before it connects."""
    if isinstance(settings, OrchestratorSettings):
        settings.scope_names()
        settings.scope_weights_by_name()
    elif isinstance(settings, LocalSettings):
        settings.checked_pool()
        serving_locally(settings)
    elif isinstance(settings, CloudSettings):
        settings.checked_pool()
        serving_in_the_cloud(settings)
