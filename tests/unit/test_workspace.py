"""A package that is new is bound like the others: it stands in the import contracts, and a service has an image."""

import ast
import re
import tomllib
from collections import Counter
from typing import Any, Final

import pytest

from flotilla.testkit.manifests import REPOSITORY

WORKSPACE: Final[dict[str, Any]] = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
CONTRACTS: Final[list[dict[str, Any]]] = WORKSPACE["tool"]["importlinter"]["contracts"]
SERVICES: Final = {path.parent.name for path in REPOSITORY.glob("services/*/pyproject.toml")}
PACKAGES: Final = {f"flotilla.{path.parent.name}" for path in REPOSITORY.glob("libs/*/pyproject.toml")} | {
    service.replace("-", "_") for service in SERVICES
}
LINES_MAX: Final = 400


def test_every_package_is_known_to_the_import_contracts():
    """
    Redaction is in no layer: it knows nothing of Flotilla, by a contract of its own.
    """
    layers = next(each["layers"] for each in CONTRACTS if "containers" not in each and each["type"] == "layers")

    assert PACKAGES == set(WORKSPACE["tool"]["importlinter"]["root_packages"])
    assert PACKAGES - {"flotilla.privacy"} == {name for layer in layers for name in layer.split(" | ")}


@pytest.mark.parametrize(("module", "may"), [("nats", "flotilla.fabric"), ("openai", "flotilla.inference")])
def test_no_package_may_import_what_is_anothers(module: str, may: str):
    """
    NATS is spoken by the fabric, models by the worker kit; the test kit has real ones of both.
    """
    bound = {
        source for each in CONTRACTS if module in each.get("forbidden_modules", ()) for source in each["source_modules"]
    }

    assert PACKAGES - {may, "flotilla.testkit"} == bound & PACKAGES


def test_every_service_has_an_image():
    """
    A stage of the Dockerfile, and a name in the Makefile.
    """
    stages = re.findall(
        r"^FROM runtime AS (\S+)$", (REPOSITORY / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE
    )
    images = re.search(r"^IMAGES \?= (.+)$", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)

    assert SERVICES == set(stages)
    assert images is not None
    assert SERVICES == {image.partition("+")[0] for image in images[1].split()}


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_a_service_has_each_name_once(service: str):
    """
    Its classes, over all rooms: who searches for one finds one.
    """
    names = [
        node.name
        for path in REPOSITORY.glob(f"services/{service}/src/**/*.py")
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    ]

    assert not [name for name, times in Counter(names).items() if times > 1]


def test_no_file_is_longer_than_one_job():
    """
    Of what runs and of its tests' kit.
    """
    lengths = {
        path.relative_to(REPOSITORY).as_posix(): path.read_text(encoding="utf-8").count("\n")
        for folder in ("libs", "services")
        for path in REPOSITORY.glob(f"{folder}/*/src/**/*.py")
    }

    assert lengths
    assert not {name: lines for name, lines in lengths.items() if lines > LINES_MAX}


def test_no_cancellation_is_lost():
    """
    `asyncio.wait_for` of Python 3.11 forgets one that comes with what is waited for; `asyncio.timeout` does not.
    """
    waiting = [
        path.relative_to(REPOSITORY).as_posix()
        for folder in ("libs", "services")
        for path in REPOSITORY.glob(f"{folder}/*/src/**/*.py")
        if "testkit" not in path.parts
        and "wait_for(" in path.read_text(encoding="utf-8").replace("locator.wait_for(", "")
    ]

    assert not waiting
