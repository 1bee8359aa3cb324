"""
The Kubernetes manifests as a cluster would get them: overlays rendered with their components.

Rendering needs `kustomize` beside this Python or on the PATH, or a `kubectl` that has it built in.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any, Final, cast

import yaml

REPOSITORY: Final = Path(__file__).resolve().parents[5]
K8S: Final = REPOSITORY / "deploy" / "k8s"
OVERLAYS: Final = ("dev", "prod")
AUTOSCALERS: Final = ("autoscaling-hpa", "autoscaling-keda")
"""Two that would fight over the same counts: never both."""
ADDING: Final = ("llamacpp", "monitoring", "tenant", "tls-cert-manager", "vllm")
CHANGING: Final = ("gpu-nvidia", "model-pull", "tls")
"""Components that change what others bring, and stand after them."""
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
        RuntimeError: It cannot be rendered; the text is the tool's.
    """
    done = subprocess.run(  # noqa: S603  (our own directory)
        [*kustomize, str(directory)], capture_output=True, text=True, timeout=RENDER_TIMEOUT_S, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"{directory}: {done.stderr.strip()}")
    return list(documents(done.stdout))


def documents(text: str) -> Iterator[Manifest]:
    """The objects of a YAML stream."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    yield from (cast("Manifest", found) for found in yaml.load_all(text, Loader=loader) if found)


def component_sets(overlay: str) -> list[tuple[str, ...]]:
    """
    None, each one, and all that go together, in the order in which they should be listed; of prod each pair as well.
    """
    prod = overlay == "prod"
    ordered = [*ADDING, *(AUTOSCALERS if prod else ()), *CHANGING]
    few = [names for size in range(3 if prod else 2) for names in combinations(ordered, size) if names != AUTOSCALERS]
    left_out = AUTOSCALERS if prod else AUTOSCALERS[:1]
    return [*few, *(tuple(name for name in ordered if name != without) for without in left_out)]


def render_sets(directory: Path, kustomize: Sequence[str]) -> Mapping[str, Fleet]:
    """Every overlay with every set of its components, by a name such as `prod+tls+vllm`; several at a time."""
    names = [(overlay, chosen) for overlay in OVERLAYS for chosen in component_sets(overlay)]
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        fleets = pool.map(partial(_render_set, directory, kustomize), names)
        return {"+".join((overlay, *chosen)): fleet for (overlay, chosen), fleet in zip(names, fleets, strict=True)}


def _render_set(directory: Path, kustomize: Sequence[str], named: tuple[str, tuple[str, ...]]) -> Fleet:
    overlay, chosen = named
    if not chosen:
        return render(K8S / "overlays" / overlay, kustomize)
    place = (directory / "+".join((overlay, *chosen))).resolve()
    place.mkdir()

    def listed(paths: Iterable[Path]) -> list[str]:
        return [os.path.relpath(path, place) for path in paths]

    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": listed([K8S / "overlays" / overlay]),
        "components": listed(K8S / "components" / name for name in chosen),
    }
    (place / "kustomization.yaml").write_text(yaml.safe_dump(kustomization), encoding="utf-8")
    return render(place, kustomize)


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
    """The variables; None where the value comes from elsewhere."""
    return {variable["name"]: variable.get("value") for variable in container.get("env", [])}
