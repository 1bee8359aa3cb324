"""The commands in the documents name what is there."""

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from cloud_inference.settings import CloudSettings
from flotilla.capabilities.catalogue import Catalogue
from flotilla.chassis.settings import load_settings
from flotilla.cli.command import build
from flotilla.pipelines.pipeline_files import load_pipelines
from flotilla.provisioning.kubernetes import KubernetesSpec, secret_name
from flotilla.provisioning.server_spec import users
from flotilla.testkit.manifests import (
    K8S,
    REPOSITORY,
    Fleet,
    Manifest,
    containers_of,
    environment_of,
    kind,
    labels_of,
    name_of,
    named,
    render,
    workloads,
)

DEPLOY = REPOSITORY / "docs" / "deploy.md"
DOCUMENTS = (DEPLOY, *sorted((K8S / "components").glob("**/README.md")))
MADE_BY_THE_COMMAND = "deploy/k8s/secrets"
YOURS = "deploy/k8s/overlays/mine"
"""An overlay that the text tells the reader to write."""
SCOPES = ("default", "acme")


def commands() -> Iterator[tuple[Path, list[str]]]:
    """Every command line of every `sh` fence, in words, without the variables before it."""
    for document in DOCUMENTS:
        for fence in re.findall(r"^```sh\n(.*?)^```", document.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE):
            for line in fence.splitlines():
                words = shlex.split(line.split(" | ")[0].removesuffix("&"))
                while "=" in words[0]:
                    words.pop(0)
                yield document, words


def arguments(words: list[str], option: str) -> list[str]:
    """What follows each occurrence of an option."""
    return [after for word, after in pairwise(words) if word == option]


def test_there_are_ten_commands_to_a_first_task():
    """
    No more than the text promises to a reader with nothing.
    """
    text = DEPLOY.read_text(encoding="utf-8")
    first = re.search(r"## From nothing to a first task.*?```sh\n(.*?)```", text, re.DOTALL)

    assert first is not None
    assert 10 == len(first[1].strip().splitlines())


def test_the_first_commands_build_and_load_every_image_that_they_wait_for(dev: Fleet):
    """
    A Deployment whose image is nowhere is never available.
    """
    text = DEPLOY.read_text(encoding="utf-8")
    fence = re.search(r"## From nothing to a first task.*?```sh\n(.*?)```", text, re.DOTALL)
    assert fence is not None
    lines = [shlex.split(line) for line in fence[1].splitlines()]
    [built] = [words[2].removeprefix("IMAGES=").split() for words in lines if words[:2] == ["make", "images"]]
    [loaded] = [words[3:] for words in lines if words[:3] == ["kind", "load", "docker-image"]]

    images = {container["image"] for each in workloads(dev) for container in containers_of(each)}

    own = {image for image in images if image.startswith("flotilla/")}
    assert own == set(loaded)
    assert own == {f"flotilla/{image}:0.1.0" for image in built}


def test_the_smallest_machines_are_those_that_the_pods_ask_for(dev: Fleet, prod: Fleet):
    """
    The table's sums of requests, of all replicas.
    """
    rows = dict(
        re.findall(r"^\| ([^|]+) \| ([\d.]+ \| [\d.]+ [MG]iB) \|", DEPLOY.read_text(encoding="utf-8"), re.MULTILINE)
    )
    ollama = [named(prod, "ollama", "StatefulSet", "Deployment")]
    others = [each for each in workloads(prod) if each not in ollama]

    assert rows["dev"] == asked_for(workloads(dev))
    assert rows["prod without Ollama"] == asked_for(others)
    assert rows["Ollama of prod"] == asked_for(ollama)


def asked_for(pods: list[Manifest]) -> str:
    """CPU and memory as the table writes them."""
    cpu_m = memory_mib = 0
    for each in pods:
        for container in each["spec"]["template"]["spec"]["containers"]:
            requests = container["resources"]["requests"]
            cpu, memory = str(requests["cpu"]), str(requests["memory"])
            replicas = each["spec"].get("replicas", 1)
            cpu_m += replicas * (int(cpu[:-1]) if cpu.endswith("m") else int(cpu) * 1000)
            memory_mib += replicas * int(memory[:-2]) * (1024 if memory.endswith("Gi") else 1)
    memory_text = f"{memory_mib} MiB" if memory_mib < 1024 else f"{round(memory_mib / 1024, 1):g} GiB"
    return f"{cpu_m / 1000:g} | {memory_text}"


def test_every_make_target_is_one():
    """
    And has a line in `make help`.
    """
    targets = set(
        re.findall(r"^([a-z0-9-]+):.* ## ", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    )
    used = {words[1] for _, words in commands() if words[0] == "make"}

    assert {"images", "k8s-secrets"} <= used <= targets


def test_what_is_applied_exists_and_renders(kustomize: tuple[str, ...]):
    """
    Paths of `-k`, and files of `-f`.
    """
    secrets = {
        f"{MADE_BY_THE_COMMAND}/clients/{secret_name(user)}.yaml" for user in users(SCOPES, KubernetesSpec().pools)
    }
    for document, words in commands():
        for path in arguments(words, "-k"):
            if path not in {MADE_BY_THE_COMMAND, YOURS}:
                assert render(REPOSITORY / path, kustomize), f"{document}: {path}"
        for path in arguments(words, "-f"):
            assert path in secrets or (REPOSITORY / path).is_file(), f"{document}: {path}"


def test_the_overlay_that_the_text_tells_to_write_renders(tmp_path: Path, kustomize: tuple[str, ...]):
    """
    With every image of the prod overlay named.
    """
    text = DEPLOY.read_text(encoding="utf-8")
    overlay = re.search(r"```yaml\n# deploy/k8s/overlays/mine/kustomization.yaml\n(.*?)```", text, re.DOTALL)
    assert overlay is not None
    place = tmp_path / "mine"
    place.mkdir()
    prod = str(from_here(place, K8S / "overlays" / "prod"))
    (place / "kustomization.yaml").write_text(overlay[1].replace("../prod", prod))

    images = {container["image"] for each in workloads(render(place, kustomize)) for container in containers_of(each)}

    own = {image for image in images if "flotilla/" in image}
    assert 5 == len(own)
    assert all(image.startswith("registry.example/") for image in own)


def test_images_are_pinned_by_digest_as_the_text_says(prod: Fleet, tmp_path: Path, kustomize: tuple[str, ...]):
    """
    Those of others that prod runs, in the versions that it runs.
    """
    text = DEPLOY.read_text(encoding="utf-8")
    fence = re.search(r"```yaml\n(images:\n.*?)```", text, re.DOTALL)
    assert fence is not None
    digest = "0123456789abcdef" * 4
    given = f"resources: [{from_here(tmp_path, K8S / 'overlays/prod')}]\n{fence[1]}"
    (tmp_path / "kustomization.yaml").write_text(given.replace("<64 hexadecimal digits>", digest))
    tags = dict(re.findall(r"name: (\S+), digest: .* # (\S+)", fence[1]))

    def others(fleet: Fleet) -> set[str]:
        images = {container["image"] for each in workloads(fleet) for container in containers_of(each)}
        return {image for image in images if not image.startswith("flotilla/")}

    assert {f"{name}:{tag}" for name, tag in tags.items()} == others(prod)
    assert {f"{name}@sha256:{digest}" for name in tags} == others(render(tmp_path, kustomize))


def test_objects_that_commands_name_are_in_the_manifests(fleets: Mapping[str, Fleet]):
    """
    Such as `deployment/orchestrator`, `pod nats-1`, `pvc data-nats-1`.
    """
    present = {f"{manifest['kind'].lower()}/{name_of(manifest)}" for fleet in fleets.values() for manifest in fleet}
    for document, words in commands():
        if words[0] == "kubectl":
            for word in words:
                if re.fullmatch(r"(deployment|statefulset|service)/[a-z0-9-]+", word):
                    assert word in present, f"{document}: {word}"


def test_seeds_that_commands_use_are_made():
    """
    By the command before them.
    """
    seeds = {f"{MADE_BY_THE_COMMAND}/seeds/{user}.nk" for user in users(SCOPES, KubernetesSpec().pools)}
    named = {word for _, words in commands() for word in words if word.endswith(".nk")}

    assert named
    assert named <= seeds


def test_every_flotilla_command_is_one():
    """
    With options that it has, and files that are in the repository or the reader's own.
    """
    app = build()
    used = [(document, words) for document, words in commands() if words[0].endswith("/flotilla")]
    assert used
    for document, words in used:
        app.parse_args(words[1:], exit_on_error=False, print_error=False)
        for word in words[2:]:
            if "/" in word and not word.startswith((MADE_BY_THE_COMMAND, YOURS)):
                assert (REPOSITORY / word).is_file(), f"{document}: {word}"


def test_config_maps_that_the_text_tells_to_write_come_out_of_an_overlay(tmp_path: Path, kustomize: tuple[str, ...]):
    """
    Of files of the reader's own, beside what prod brings; whoever mounts them rolls over.
    """
    text = DEPLOY.read_text(encoding="utf-8")
    files: dict[str, list[str]] = {}
    for fence in re.findall(r"```yaml\n(configMapGenerator:\n.*?)```", text, re.DOTALL):
        [generator] = yaml.safe_load(fence)["configMapGenerator"]
        files[generator["name"]] = generator["files"]
        place = tmp_path / generator["name"]
        place.mkdir()
        texts = {file: _example(file) for file in generator["files"]}
        for file, text_of_file in texts.items():
            (place / file).write_text(text_of_file)
        (place / "kustomization.yaml").write_text(f"resources: [{from_here(place, K8S / 'overlays/prod')}]\n{fence}")
        rendered = render(place, kustomize)

        [config] = [each for each in kind(rendered, "ConfigMap") if name_of(each).startswith(generator["name"] + "-")]
        assert texts == config["data"]
        assert name_of(config) in str(named(rendered, "orchestrator", "Deployment"))
    assert {"capabilities", "policy"} == files.keys()
    assert ["policy.toml"] == files["policy"]
    # As an orchestrator reads what is mounted.
    mounted = tmp_path / "capabilities"
    assert {"process-document"} == load_pipelines(mounted, Catalogue.load(mounted)).keys()


def _example(name: str) -> str:
    """The file of that name among the examples; something of the reader's own where there is none."""
    found = [*(REPOSITORY / "examples").glob(f"*/{name}")]
    return found[0].read_text(encoding="utf-8") if found else "# Mine.\n"


@pytest.mark.parametrize("component", ["llamacpp", "vllm"])
def test_patches_that_a_component_suggests_change_what_they_name(
    component: str, tmp_path: Path, kustomize: tuple[str, ...]
):
    """
    In an overlay that has taken on the component.
    """
    home = K8S / "components" / component
    fences = re.findall(r"```yaml\n(patches:\n.*?)```", (home / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert fences
    text = f"resources: [{from_here(tmp_path, K8S / 'overlays/prod')}]\ncomponents: [{from_here(tmp_path, home)}]\n"
    (tmp_path / "kustomization.yaml").write_text(text)
    before = render(tmp_path, kustomize)
    for fence in fences:
        (tmp_path / "kustomization.yaml").write_text(text + fence)
        after = render(tmp_path, kustomize)

        assert [component] == [name_of(new) for old, new in zip(before, after, strict=True) if old != new]


def test_a_pool_that_is_added_by_the_commands_is_one(tmp_path: Path, kustomize: tuple[str, ...]):
    """
    Its name, provider, key and labels changed, and nothing of the pool that was copied left.
    """
    shutil.copytree(K8S / "base", tmp_path / K8S.relative_to(REPOSITORY) / "base")
    for document, words in commands():
        if document == DEPLOY and words[0] in {"cp", "perl"}:
            subprocess.run(words, cwd=tmp_path, check=True, timeout=30)
    rendered = render(tmp_path / K8S.relative_to(REPOSITORY) / "base" / "cloud-inference-gemini", kustomize)

    deployment = named(rendered, "cloud-inference-gemini", "Deployment")
    [container] = containers_of(deployment)
    environment = environment_of(container)
    settings = load_settings(CloudSettings, {name: value or "a-key" for name, value in environment.items()})
    assert ("gemini", "gemini", "a-key") == (settings.pool, settings.provider, settings.gemini_api_key)
    assert all(model.startswith("gemini-") for model, _ in settings.model_names())
    assert {"zone": "cloud", "pool": "gemini"}.items() <= labels_of(deployment).items()
    assert {"nats-cloud-gemini", "provider-gemini"} <= set(re.findall(r"[\w-]+-gemini", str(deployment)))
    assert "openai" not in str(rendered).replace(container["image"], "")
    assert "flotilla/cloud-inference-openai:0.1.0" == container["image"]


def from_here(place: Path, target: Path) -> Path:
    """A path that kustomize takes: it wants relative ones."""
    return Path(*[".."] * len(place.resolve().parts[1:])) / target.relative_to("/")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_links_lead_somewhere(document: Path):
    """
    Those within the repository.
    """
    for target in re.findall(r"\]\(([^)#]+)\)", document.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (document.parent / target).exists(), target


def test_every_component_has_a_readme_and_is_listed():
    """
    So that its reader knows what it needs.
    """
    listed = (K8S / "components" / "README.md").read_text(encoding="utf-8")
    for component in (K8S / "components").iterdir():
        if component.is_dir():
            assert (component / "README.md").is_file()
            assert f"[{component.name}]({component.name}/README.md)" in listed
