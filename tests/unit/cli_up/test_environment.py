"""What each service is told, and what it is not."""

from pathlib import Path

import msgspec
import pytest

from cloud_inference.settings import CloudSettings
from flotilla.chassis.settings import load_settings
from flotilla.cli.supervisor.engines import Engines
from flotilla.cli.supervisor.environment import (
    Place,
    clean,
    of_orchestrator,
    of_redaction,
    of_sealed_orchestrator,
    of_worker,
)
from flotilla.cli.supervisor.options import UpOptions
from flotilla.contracts.subjects import ZONES
from local_inference.settings import LocalSettings
from orchestrator.settings import OrchestratorSettings

SHELL = {
    "PATH": "/usr/bin",
    "HOME": "/home/somebody",
    "OLLAMA_HOST": "gpu-1",
    "FLOTILLA_POOL": "somebody-elses",
    "FLOTILLA_MISSPELT": "1",
    "ANTHROPIC_API_KEY": "a-key",
    "ANTHROPIC_BASE_URL": "https://gateway.example",
    "OPENAI_API_KEY": "o-key",
    "OPENAI_BASE_URL": "https://gateway.example",
    "GEMINI_API_KEY": "g-key",
    "OTHER_API_KEY": "x-key",
}
PLACE = Place(nats_url="nats://127.0.0.1:4000", creds="/fleet/credentials/some.nk", instance="some-1")
EMBEDDED = Engines(local="embedded", cloud="embedded")
NOOP = Engines(local="noop", cloud="noop")


def keys_in(environ: dict[str, str]) -> set[str]:
    """The secrets among the values."""
    return {value for value in environ.values() if value.endswith("-key")}


def test_an_orchestrator_holds_no_key_and_reads_its_settings():
    """
    Its whole environment is one that the service accepts.
    """
    environ = of_orchestrator(UpOptions(grace_s=3.0), PLACE, SHELL)

    settings = load_settings(OrchestratorSettings, environ)
    assert not keys_in(environ)
    assert (settings.nats_url, settings.instance, settings.grace_s) == (PLACE.nats_url, "some-1", 3.0)
    assert (settings.scope_names(), settings.stream_replicas) == (("default",), 1)
    assert (environ["PATH"], environ["HOME"]) == ("/usr/bin", "/home/somebody")


def test_an_orchestrator_of_the_sealed_lane_serves_the_same_tenants_under_the_same_policy():
    """
    Which it is told as a file: no admin can set one there.
    """
    options = UpOptions(sealed=1, sealed_scopes="acme, beta", policy=Path("/somewhere/policy.toml"))
    sealed = load_settings(OrchestratorSettings, of_sealed_orchestrator(options, PLACE, SHELL))
    ordinary = load_settings(OrchestratorSettings, of_orchestrator(options, PLACE, SHELL))

    assert (True, False) == (sealed.sealed, ordinary.sealed)
    assert ("default", "acme", "beta") == sealed.scope_names() == ordinary.scope_names()
    assert (options.policy, None) == (sealed.policy_file, ordinary.policy_file)


def test_what_the_stores_may_hold_is_passed_on():
    """
    So that a store whose blackboard is larger than the default can be started with larger bounds.
    """
    environ = of_orchestrator(UpOptions(), PLACE, SHELL | {"FLOTILLA_BLACKBOARD_VALUES_MAX": "90000"})

    settings = load_settings(OrchestratorSettings, environ)
    assert settings.topology_limits().blackboard_values_max == 90_000


@pytest.mark.parametrize("engines", [EMBEDDED, NOOP, Engines(local="ollama", cloud="openai", local_models=("a", "b"))])
def test_a_local_worker_holds_no_key_and_reads_its_settings(engines: Engines):
    """
    Whatever serves the cloud, its keys are not for the local zone.
    """
    environ = of_worker("local", UpOptions(slots=7), engines, PLACE, SHELL)

    settings = load_settings(LocalSettings, environ)
    assert not keys_in(environ)
    assert (settings.zone, settings.pool, settings.provider) == ("local", "local", engines.local)
    assert (settings.slots, settings.models, settings.ollama_host) == (7, ",".join(engines.local_models), "gpu-1")


@pytest.mark.parametrize(
    ("provider", "keys"),
    [
        ("anthropic", {"a-key"}),
        ("openai", {"o-key"}),
        ("gemini", {"g-key"}),
        ("embedded", set[str]()),
        ("noop", set[str]()),
    ],
)
def test_a_cloud_worker_holds_its_own_key_alone(provider: str, keys: set[str]):
    """
    An engine that stands in holds none.
    """
    engines = Engines(local="embedded", cloud=provider, cloud_models=("some-model",))

    environ = of_worker("cloud", UpOptions(), engines, PLACE, SHELL)

    settings = load_settings(CloudSettings, environ)
    assert keys_in(environ) == keys
    assert (settings.zone, settings.pool, settings.provider) == ("cloud", "cloud", provider)
    assert settings.models == ("" if provider == "embedded" else "some-model")


def test_models_that_are_named_are_used():
    """
    Options rule over what was found.
    """
    engines = Engines(local="ollama", cloud="openai", local_models=("found",), cloud_models=("usual",))
    options = UpOptions(local_models="mine", cloud_models="theirs")

    assert of_worker("local", options, engines, PLACE, {})["FLOTILLA_MODELS"] == "mine"
    assert of_worker("cloud", options, engines, PLACE, {})["FLOTILLA_MODELS"] == "theirs"


def test_the_workers_are_told_what_holds_for_every_fleet_of_the_machine():
    """
    Its proxy, its hosts, and how much a model may write; the orchestrator is not.
    """
    own = {"FLOTILLA_PROXY_URL": "http://p:1", "FLOTILLA_LOCAL_HOSTS": "gpu", "FLOTILLA_OUTPUT_TOKENS_MAX": "2000"}

    for zone in ZONES:
        assert own.items() <= of_worker(zone, UpOptions(), NOOP, PLACE, own).items()
    assert not own.keys() & of_orchestrator(UpOptions(), PLACE, own).keys()


def test_a_gateways_headers_are_told_to_the_worker_of_the_cloud_zone_alone():
    """
    They may be secrets; a file is named by its whole path, wherever the worker runs.
    """
    given = {"FLOTILLA_PROVIDER_HEADERS_FILE": "headers"}

    told = of_worker("cloud", UpOptions(), NOOP, PLACE, given)
    assert str(Path("headers").absolute()) == told["FLOTILLA_PROVIDER_HEADERS_FILE"]
    assert (
        "a: b"
        == of_worker("cloud", UpOptions(), NOOP, PLACE, {"FLOTILLA_PROVIDER_HEADERS": "a: b"})[
            "FLOTILLA_PROVIDER_HEADERS"
        ]
    )
    assert not given.keys() & of_worker("local", UpOptions(), NOOP, PLACE, given).keys()
    assert not given.keys() & of_orchestrator(UpOptions(), PLACE, given).keys()


def test_the_noop_engine_is_told_how_to_behave_and_no_other_engine_is():
    """
    Latency, jitter and failures are for measurements.
    """
    options = UpOptions(engine_latency_ms=20.0, engine_jitter=0.5, engine_failure_rate=0.1)

    settings = load_settings(LocalSettings, of_worker("local", options, NOOP, PLACE, {}))
    assert (settings.engine_latency_ms, settings.engine_jitter, settings.engine_failure_rate) == (20.0, 0.5, 0.1)
    assert not [name for name in of_worker("local", options, EMBEDDED, PLACE, {}) if "ENGINE" in name]


def test_every_service_gets_the_users_capability_files(tmp_path_factory: pytest.TempPathFactory):
    """
    As an absolute path, since a service may run elsewhere.
    """
    folder = tmp_path_factory.mktemp("capabilities")
    options = msgspec.structs.replace(UpOptions(), capabilities=folder)

    for environ in (of_orchestrator(options, PLACE, {}), of_worker("cloud", options, NOOP, PLACE, {})):
        assert environ["FLOTILLA_CAPABILITY_FILES"] == str(folder)


def test_a_settings_variable_of_the_shell_goes_nowhere():
    """
    Services refuse names that they do not know, and take those that they do.
    """
    assert not [name for name in clean(SHELL, provider="anthropic") if name.startswith("FLOTILLA_")]


def test_a_worker_that_redacts_is_told_where_the_key_is_and_nobody_else_is():
    """
    Its whole environment is one that the service accepts; no provider's key is in it.
    """
    key_file = Path("/fleet/vault.key")
    environ = of_redaction(UpOptions(slots=3), PLACE, key_file, SHELL)
    others = [of_orchestrator(UpOptions(), PLACE, SHELL)]
    others += [of_worker(zone, UpOptions(), NOOP, PLACE, SHELL) for zone in ZONES]

    settings = load_settings(LocalSettings, environ)
    assert ("local", "redaction", "redaction", 3) == (
        settings.zone,
        settings.pool,
        settings.provider,
        settings.slots,
    )
    assert key_file == settings.vault_key_file
    assert not keys_in(environ)
    assert not [name for other in others for name in other if "VAULT" in name]
