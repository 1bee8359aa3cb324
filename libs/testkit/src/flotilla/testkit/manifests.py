"""
The Kubernetes manifests as a cluster would get them: an overlay rendered, and what one asks of its objects.

Rendering needs `kustomize` beside this Python or on the PATH, or a `kubectl` that has it built in.
"""

import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, cast

import yaml

REPOSITORY: Final = Path(__file__).resolve().parents[5]
K8S: Final = REPOSITORY / "deploy" / "k8s"
RENDER_TIMEOUT_S: Final = 120

Manifest = dict[str, Any]
Fleet = list[Manifest]


def find_kustomize() -> tuple[str, ...] | None:
    """The command that renders a directory; None when there is none."""
    beside = Path(sys.executable).parent / "kustomize"
    if beside.exists():
        return (str(beside), "build")
    if (kustomize := shutil.which("kustomize")) is not None:
        return (kustomize, "build")
    if (kubectl := shutil.which("kubectl")) is not None:
        return (kubectl, "kustomize")
    return None


def render(directory: Path, kustomize: Sequence[str]) -> Fleet:
    """
    What `kubectl apply -k` would send.

    Raises:
        RuntimeError: See `render_text`.
    """
    return list(documents(render_text(directory, kustomize)))


def render_text(directory: Path, kustomize: Sequence[str]) -> str:
    """
    The same, as YAML.

    Raises:
        RuntimeError: It cannot be rendered; the text is the tool's.
    """
    done = subprocess.run(  # noqa: S603  (our own directory)
        [*kustomize, str(directory)], capture_output=True, text=True, timeout=RENDER_TIMEOUT_S, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"{directory}: {done.stderr.strip()}")
    return done.stdout


def documents(text: str) -> Iterator[Manifest]:
    """The objects of a YAML stream."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    yield from (cast("Manifest", found) for found in yaml.load_all(text, Loader=loader) if found)


def kind(fleet: Iterable[Manifest], *kinds: str) -> list[Manifest]:
    """The objects of these kinds."""
    return [manifest for manifest in fleet if manifest["kind"] in kinds]


def workloads(fleet: Iterable[Manifest]) -> list[Manifest]:
    """Whatever makes pods."""
    return kind(fleet, "Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob", "ReplicaSet", "Pod")


def name_of(manifest: Manifest) -> str:
    """Its name."""
    return str(manifest["metadata"]["name"])


def named(fleet: Iterable[Manifest], name: str, *kinds: str) -> Manifest:
    """
    The one object of this name and these kinds.

    Raises:
        LookupError: There is none, or more.
    """
    found = [manifest for manifest in kind(fleet, *kinds) if name_of(manifest) == name]
    if len(found) != 1:
        raise LookupError(f"{len(found)} of {name} among {kinds}")
    return found[0]


def pod_of(workload: Manifest) -> Manifest:
    """The pod's spec."""
    return cast("Manifest", workload["spec"]["template"]["spec"])


def labels_of(workload: Manifest) -> dict[str, str]:
    """The pod's labels."""
    return cast("dict[str, str]", workload["spec"]["template"]["metadata"]["labels"])


def containers_of(workload: Manifest) -> list[Manifest]:
    """The pod's containers, those that run first included."""
    pod = pod_of(workload)
    return [*pod.get("initContainers", []), *pod["containers"]]


def environment_of(container: Manifest) -> dict[str, str | None]:
    """The variables; None where the value comes from elsewhere, and empty where there is none."""
    return {
        variable["name"]: None if "valueFrom" in variable else variable.get("value", "")
        for variable in container.get("env", [])
    }
