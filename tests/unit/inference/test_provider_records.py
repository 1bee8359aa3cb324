"""
Whatever depends on the provider is derived from its record, or stands in a file that is compared with it here.

A test that fails names the file in which the provider is missing.
"""

import ast
import re
import tomllib
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from flotilla.chassis.settings import environment_names
from flotilla.cli.supervisor.environment import clean
from flotilla.contracts.providers import ON_THIS_MACHINE, PROVIDERS, Provider, provider_named, providers_of
from flotilla.inference.adapters.access import Access, connect
from flotilla.inference.adapters.egress import Egress
from flotilla.inference.adapters.own_models import FetchesModels
from flotilla.inference.adapters.pricing import known_price
from flotilla.inference.engines.choice import ENGINES
from flotilla.inference.provider_settings import settings_of
from flotilla.provisioning.kubernetes import DEFAULT_POOLS, PROVIDER_KEYS
from flotilla.testkit.manifests import REPOSITORY

K8S: Final = REPOSITORY / "deploy" / "k8s"

each = pytest.mark.parametrize("provider", PROVIDERS, ids=lambda provider: provider.name)


def extras_of(project: str) -> set[str]:
    """The optional dependencies of one of the repository's packages."""
    text = (REPOSITORY / project / "pyproject.toml").read_text(encoding="utf-8")
    return set(tomllib.loads(text)["project"]["optional-dependencies"])


def pools_of(provider: Provider) -> list[tuple[Path, dict[str, Any]]]:
    """The containers of the manifests whose worker serves the provider, with their files."""
    found: list[tuple[Path, dict[str, Any]]] = []
    for path in K8S.glob("**/pool.yaml"):
        for document in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            for container in document["spec"]["template"]["spec"]["containers"]:
                environ = {variable["name"]: variable for variable in container["env"]}
                if environ.get("FLOTILLA_PROVIDER", {}).get("value") == provider.name:
                    found.append((path, environ))
    return found


def texts_in(path: Path) -> list[tuple[int, str]]:
    """The string constants of a module and their lines, without docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    return [
        (node.lineno, node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose
    ]


def test_a_name_means_one_provider_and_no_engine():
    """
    It stands in results, in metrics and in `FLOTILLA_PROVIDER`.
    """
    names = [provider.name for provider in PROVIDERS]

    assert sorted(set(names)) == sorted(names)
    assert not set(ENGINES) & set(names)
    assert provider_named("nobody") is None


@each
def test_its_adapter_is_made_by_its_record(provider: Provider):
    """
    By the module that the record names; no address but its own is needed where the API is public.
    """
    access = Access(
        provider=provider,
        api_key="a-key" if provider.needs_key else None,
        base_url="http://127.0.0.1:1" if provider.needs_address else None,
        egress=Egress(zone=provider.zone),
    )

    assert provider.name == connect(access).provider


@each
def test_what_its_adapter_needs_can_be_installed_and_is_in_an_image(provider: Provider):
    """
    By an extra of the worker kit and of its service; `make images` builds one image for each.
    """
    workspace = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    images = next(line for line in makefile.splitlines() if line.startswith("IMAGES ?="))

    service = f"services/{provider.service}"
    assert provider.extra in extras_of("libs/inference"), "libs/inference/pyproject.toml: add the extra"
    assert provider.extra in extras_of(service), f"{service}/pyproject.toml: add the extra"
    installed = next(each for each in tomllib.loads(workspace)["project"]["dependencies"] if provider.service in each)
    assert provider.extra in installed, "pyproject.toml: add the extra to the workspace's dependencies"
    assert f"{provider.service}+{provider.extra}" in images.split(), "Makefile: add it to IMAGES"


@each
def test_a_worker_reads_its_variables_and_no_other_service_of_the_machine_gets_its_key(provider: Provider):
    """
    `flotilla up` hands a key to the worker that serves the provider.
    """
    names = {name for name in (provider.key, provider.address) if name}
    variables = dict.fromkeys(name for one in PROVIDERS for name in (one.key, one.address) if name.endswith("_KEY"))

    assert names <= environment_names(settings_of(provider.zone))
    kept = clean(dict.fromkeys(variables, "a-key"), provider=provider.name if provider.zone == "cloud" else "")
    assert ({provider.key} if provider.zone == "cloud" else set()) == set(kept)


@each
def test_its_pool_and_its_secret_are_those_of_the_record(provider: Provider):
    """
    `make k8s-secrets` makes credentials for the pools of the manifests, and a Secret for each key.
    """
    pools = pools_of(provider)

    assert provider.has_pool == bool(pools), f"deploy/k8s: a pool.yaml of {provider.name}, or has_pool in its record"
    assert provider.has_pool == ((provider.zone, provider.name) in DEFAULT_POOLS)
    assert (provider.zone == "cloud") == (provider.secret in PROVIDER_KEYS)
    for path, environ in pools:
        images = yaml.safe_load((path.parent / "kustomization.yaml").read_text(encoding="utf-8"))["images"]
        assert [f"flotilla/{provider.image}"] == [image["newName"] for image in images], f"{path.parent}: the image"
        if provider.needs_key:
            wanted = {"name": provider.secret, "key": provider.key}
            assert wanted == environ[provider.key]["valueFrom"]["secretKeyRef"], f"{path}: the key"
        if provider.default_model:
            assert provider.default_model == environ["FLOTILLA_MODELS"]["value"], f"{path}: the model"


@each
def test_what_its_default_model_costs_is_known(provider: Provider):
    """
    Of the cloud zone: budgets reserve it, and reports say it.
    """
    if provider.zone == "cloud" and provider.default_model:
        price = known_price(provider.name, provider.default_model)
        assert price is not None, (
            f"providers.py: genai-prices has no price of {provider.name}'s {provider.default_model}"
        )


@each
def test_people_are_told_how_to_use_it(provider: Provider):
    """
    In the README's table of models.
    """
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    table = readme.partition("### Your models")[2].partition("\n### ")[0].lower()

    told = provider.key if provider.zone == "cloud" else provider.name
    assert told.lower() in table, f"README.md, Your models: a row with {told}"


def test_no_module_knows_a_provider_but_its_record_and_its_adapter():
    """
    What a service, the command or the worker kit does with a provider it takes from the record.
    """
    named = re.compile("|".join(re.escape(provider.name) for provider in PROVIDERS), re.IGNORECASE)
    # Habits are models', whoever serves them; what personal data looks like has keys of providers in it.
    own = ("contracts/providers.py", "inference/adapters", "inference/model_habits.py", "testkit", "privacy")
    modules = [path for folder in ("libs", "services") for path in REPOSITORY.glob(f"{folder}/*/src/**/*.py")]
    found = [
        f"{path.relative_to(REPOSITORY)}:{line}: {text}"
        for path in modules
        if not any(f"flotilla/{place}" in path.as_posix() for place in own)
        and named.search(path.read_text(encoding="utf-8"))  # before its tree is walked, which takes long
        for line, text in texts_in(path)
        if named.search(text)
    ]

    assert len(modules) > 300
    assert [] == found


def test_what_is_looked_for_on_this_machine_has_an_adapter_that_fetches_models():
    """
    `flotilla up --pull` and `flotilla doctor` speak to it by that port.
    """
    adapter = connect(Access(provider=ON_THIS_MACHINE, api_key=None, base_url=None, egress=Egress(zone="local")))

    assert isinstance(adapter, FetchesModels)
    assert [ON_THIS_MACHINE] == [provider for provider in PROVIDERS if provider.own_models is not None]


def test_every_api_has_a_model_that_is_served_when_nobody_named_one():
    """
    And an address and a key, without which there is no calling it.
    """
    for provider in providers_of("cloud"):
        assert provider.default_model
        assert provider.url
        assert provider.needs_key
