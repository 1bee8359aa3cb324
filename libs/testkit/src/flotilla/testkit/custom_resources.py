"""
The schemas of kinds that operators bring, from the operators' own source, as the API server would apply them.

`python -m flotilla.testkit.custom_resources .venv/crds` fetches them by Go's module proxy, each module once, and checks
what it got against the sums below. Without Go, or without a network, it says so and fetches nothing.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast

from msgspec import Struct

from flotilla.testkit.manifests import documents

FETCH_TIMEOUT_S: Final = 300
Schema = dict[str, Any]


class Operator(Struct, frozen=True, kw_only=True):
    """
    A Go module that has the definitions of an operator's kinds.

    Attributes:
        sum: What `go mod download` says of the module, as it would stand in a go.sum.
        files: Within it.
    """

    module: str
    version: str
    sum: str
    files: tuple[str, ...]


OPERATORS: Final = (
    # The oldest that the component autoscaling-keda works with.
    Operator(
        module="github.com/kedacore/keda/v2",
        version="v2.20.0",
        sum="h1:nPKQL9iKsPpoyq7BftlBzJiQzb2LdKHiqBIEG6ju3bk=",
        files=("config/crd/bases/keda.sh_scaledobjects.yaml",),
    ),
    Operator(
        module="github.com/prometheus-operator/prometheus-operator",
        version="v0.92.1",
        sum="h1:rHWuFo6SVya4FBSCNg2DCzyc4xAv54zk3eDTzp5mQZc=",
        files=(
            "example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml",
            "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
        ),
    ),
    Operator(
        module="github.com/cert-manager/cert-manager",
        version="v1.21.2",
        sum="h1:UWgoYM+KLNtRlqmoWOKjKBOBUPVHeepQ6/ac3ERJW68=",
        files=("deploy/crds/cert-manager.io_certificates.yaml", "deploy/crds/cert-manager.io_issuers.yaml"),
    ),
)


def fetch(directory: Path) -> None:
    """
    Put the definitions of every operator into a folder; those that are there already stay.

    Raises:
        RuntimeError: They could not be fetched, or are not those that were looked at.
    """
    for operator in OPERATORS:
        place = _place(directory, operator)
        if not place.is_dir():
            source = _downloaded(operator)
            unfinished = place.with_name(place.name + ".part")
            unfinished.mkdir(parents=True, exist_ok=True)
            for file in operator.files:
                shutil.copyfile(source / file, unfinished / Path(file).name)
            unfinished.rename(place)


def _downloaded(operator: Operator) -> Path:
    wanted = f"{operator.module}@{operator.version}"
    # Outside of any module, so that none is asked for or changed.
    with tempfile.TemporaryDirectory() as nowhere:
        done = subprocess.run(  # noqa: S603  (names from above)
            ["go", "mod", "download", "-json", wanted],  # noqa: S607  (whichever is on the PATH)
            cwd=nowhere,
            capture_output=True,
            text=True,
            timeout=FETCH_TIMEOUT_S,
            check=False,
        )
    told: dict[str, str] = json.loads(done.stdout or "{}")
    if done.returncode != 0:
        raise RuntimeError(f"{wanted}: {told.get('Error') or done.stderr.strip()}")
    if told["Sum"] != operator.sum:
        raise RuntimeError(f"{wanted}: expected {operator.sum}, got {told['Sum']}")
    return Path(told["Dir"])


def schemas_in(directory: Path) -> Mapping[tuple[str, str], Schema] | None:
    """What was fetched, by apiVersion and kind, with unknown fields refused; None when something is missing."""
    found: dict[tuple[str, str], Schema] = {}
    for operator in OPERATORS:
        place = _place(directory, operator)
        if not place.is_dir():
            return None
        for file in sorted(place.iterdir()):
            for definition in documents(file.read_text(encoding="utf-8")):
                spec = definition["spec"]
                for version in spec["versions"]:
                    schema = _strict(version["schema"]["openAPIV3Schema"])
                    # The API server's own part, which a definition leaves open.
                    schema["properties"]["metadata"] = {"type": "object"}
                    found[f"{spec['group']}/{version['name']}", spec["names"]["kind"]] = schema
    return found


def _place(directory: Path, operator: Operator) -> Path:
    return directory / f"{operator.module.replace('/', '_')}@{operator.version}"


def _strict(schema: Schema) -> Schema:
    """The same, refusing the fields that the server would drop."""
    strict = {key: _strict_within(value) for key, value in schema.items()}
    if "properties" in strict and not strict.get("x-kubernetes-preserve-unknown-fields"):
        strict.setdefault("additionalProperties", False)
    return strict


def _strict_within(value: Any) -> Any:
    if isinstance(value, dict):
        return _strict(cast("Schema", value))
    if isinstance(value, list):
        return [_strict_within(item) for item in cast("list[Any]", value)]
    return value


def main(directory: str) -> int:
    """Fetch, or say why not; a check that cannot be made must not stop those that can."""
    if shutil.which("go") is None:
        sys.stdout.write("There is no go: the kinds of operators are not validated\n")
        return 0
    try:
        fetch(Path(directory))
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        sys.stdout.write(f"The kinds of operators are not validated: {error}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
