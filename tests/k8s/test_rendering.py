"""What the API server would say to the manifests."""

import random
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import jsonschema.protocols
import kubernetes_validate.utils as schemas  # pyright: ignore[reportMissingTypeStubs]
import pytest
import referencing

from flotilla.testkit.component_sets import COMPONENTS, Renderer, all_sets, name_of_set
from flotilla.testkit.custom_resources import schemas_in
from flotilla.testkit.manifests import (
    K8S,
    Fleet,
    Manifest,
    containers_of,
    kind,
    name_of,
    named,
    pod_of,
    workloads,
)

NEWEST_VERSIONS = sorted(
    {schemas.major_minor(version) for version in schemas.all_versions()},
    key=lambda version: int(version.partition(".")[2]),
)[-3:]
CUSTOM = {"Certificate", "Issuer", "PodMonitor", "PrometheusRule", "ScaledObject"}
"""Kinds that an operator brings; Kubernetes has no schema for them."""
FETCHED = Path(sys.prefix) / "crds"
"""Where `make k8s-check` puts the operators' own."""
CLUSTER_WIDE = {"Namespace"}
SAMPLES = 4
APPLIED_APART = {
    *(f"nats-config-{layout}" for layout in ("single", "cluster", "single-tls", "cluster-tls")),
    *(f"nats-local-{pool}" for pool in ("ollama", "embedded", "vllm", "llamacpp", "redaction")),
    *(f"nats-cloud-{pool}" for pool in ("anthropic", "openai")),
    "nats-observer",
    "nats-orchestrator",
    "nats-orchestrator-sealed",
    "nats-tls",
    "provider-anthropic",
    "portal-people",
    "provider-openai",
    "vault-key",
}  # fmt: skip
"""By `make k8s-secrets`, cert-manager, or whoever keeps the secrets."""


def every(fleets: Mapping[str, Fleet]) -> Iterator[tuple[str, Manifest]]:
    """Each different object once, with the name of a set that has it."""
    seen: set[int] = set()
    for name, fleet in fleets.items():
        for manifest in fleet:
            if id(manifest) not in seen:
                seen.add(id(manifest))
                yield name, manifest


@cache
def validator(version: str, file: str) -> jsonschema.protocols.Validator:
    """The check of one kind, as strict as `kubectl apply` is about unknown fields."""
    directory = f"kubernetes-json-schema/v{version}.0-local-strict"
    schema, definitions = (
        referencing.Resource[Any].from_contents(schemas.schema_contents(f"{directory}/{name}.json", version))
        for name in (file, "_definitions")
    )
    registry: referencing.Registry[Any] = schema @ (definitions @ referencing.Registry[Any]())
    return jsonschema.Draft202012Validator(schema.contents, registry=registry)


@pytest.mark.parametrize("version", NEWEST_VERSIONS)
def test_kubernetes_accepts_every_object(version: str, fleets: Mapping[str, Fleet]):
    """
    The three newest minor versions, unknown fields refused.
    """
    faults = [
        f"{name}: {manifest['kind']} {name_of(manifest)}: {fault.json_path}: {fault.message}"
        for name, manifest in every(fleets)
        if manifest["kind"] not in CUSTOM
        for fault in validator(version, schema_file(manifest)).iter_errors(manifest)
    ]

    assert [] == faults


def test_operators_accept_what_is_meant_for_them(fleets: Mapping[str, Fleet]):
    """
    By their own definitions, unknown fields refused.
    """
    schemas = schemas_in(FETCHED)
    if schemas is None:
        pytest.skip("the operators' schemas are not there: `make k8s-check` fetches them, with Go and a network")
    checks: dict[tuple[str, str], jsonschema.protocols.Validator] = {
        of: jsonschema.Draft202012Validator(schema) for of, schema in schemas.items()
    }
    objects = [(name, manifest) for name, manifest in every(fleets) if manifest["kind"] in CUSTOM]
    faults = [
        f"{name}: {manifest['kind']} {name_of(manifest)}: {fault.json_path}: {fault.message}"
        for name, manifest in objects
        for fault in checks[manifest["apiVersion"], manifest["kind"]].iter_errors(manifest)
    ]

    assert CUSTOM == {manifest["kind"] for _, manifest in objects}
    assert [] == faults


def schema_file(manifest: Manifest) -> str:
    """Such as `deployment-apps-v1`."""
    group, _, version = str(manifest["apiVersion"]).rpartition("/")
    return "-".join(part for part in (manifest["kind"].lower(), group.partition(".")[0], version) if part)


def test_no_object_stands_twice_and_all_are_in_their_namespace(fleets: Mapping[str, Fleet]):
    """
    A second object of a name would silently replace the first.
    """
    for name, fleet in fleets.items():
        count = Counter(
            (manifest["kind"], manifest["metadata"].get("namespace"), name_of(manifest)) for manifest in fleet
        )

        assert {1} == set(count.values()), name
        assert {"flotilla"} == {space for kind_, space, _ in count if kind_ not in CLUSTER_WIDE}, name


def test_what_a_pod_mounts_is_there_or_made_by_the_secrets_command(fleets: Mapping[str, Fleet]):
    """
    A misspelt name would leave the pod waiting for ever.
    """
    for name, fleet in fleets.items():
        present = {(manifest["kind"], name_of(manifest)) for manifest in fleet}
        for workload in workloads(fleet):
            assert ("ServiceAccount", pod_of(workload)["serviceAccountName"]) in present, name
            for kind_, wanted in references(workload):
                assert (kind_, wanted) in present or wanted in APPLIED_APART, f"{name}: {name_of(workload)}: {wanted}"


def references(workload: Manifest) -> Iterator[tuple[str, str]]:
    """The ConfigMaps, Secrets and claims that a pod needs to start."""
    volumes: list[Manifest] = pod_of(workload).get("volumes", [])
    for source in (*volumes, *(part for volume in volumes for part in volume.get("projected", {}).get("sources", []))):
        if "configMap" in source:
            yield "ConfigMap", source["configMap"]["name"]
        if "secret" in source:
            yield "Secret", source["secret"].get("secretName") or source["secret"]["name"]
        if "persistentVolumeClaim" in source:
            yield "PersistentVolumeClaim", source["persistentVolumeClaim"]["claimName"]
    for container in containers_of(workload):
        for variable in container.get("env", []):
            if "secretKeyRef" in variable.get("valueFrom", {}):
                yield "Secret", variable["valueFrom"]["secretKeyRef"]["name"]


def test_selectors_find_the_pods_of_their_own_workload_and_no_others(fleets: Mapping[str, Fleet]):
    """
    Two Deployments with one selector would adopt each other's pods.
    """
    for name, fleet in fleets.items():
        pods = [
            (name_of(workload), workload["spec"]["template"]["metadata"]["labels"]) for workload in workloads(fleet)
        ]
        for workload in workloads(fleet):
            assert [name_of(workload)] == found(workload["spec"]["selector"]["matchLabels"], pods), name
        for service in kind(fleet, "Service"):
            assert 1 == len(found(service["spec"]["selector"], pods)), f"{name}: {name_of(service)}"


def found(selector: Mapping[str, str], pods: Iterable[tuple[str, Mapping[str, str]]]) -> list[str]:
    """The workloads whose pods a selector selects; an empty one selects all."""
    return [name for name, labels in pods if selector.items() <= labels.items()]


def test_every_workload_has_a_disruption_budget(fleets: Mapping[str, Fleet]):
    """
    So that a drained machine takes one replica at a time, and a single replica does not hold the drain up for ever.
    """
    for name, fleet in fleets.items():
        pods = [
            (name_of(workload), workload["spec"]["template"]["metadata"]["labels"]) for workload in workloads(fleet)
        ]
        guarded = [
            workload
            for budget in kind(fleet, "PodDisruptionBudget")
            for workload in found(budget["spec"]["selector"]["matchLabels"], pods)
        ]
        assert sorted(workload for workload, _ in pods) == sorted(guarded), name
        for budget in kind(fleet, "PodDisruptionBudget"):
            # Whoever never becomes ready must not hold up a drain; but a NATS node that is not ready is catching up.
            unready = "IfHealthyBudget" if name_of(budget) == "nats" else "AlwaysAllow"
            assert (1, unready) == (budget["spec"]["maxUnavailable"], budget["spec"]["unhealthyPodEvictionPolicy"])


def test_scalers_own_the_count_of_what_they_scale(fleets: Mapping[str, Fleet]):
    """
    A count in the manifest would undo the scaler's with every apply; and what is scaled must exist.
    """
    for name, fleet in fleets.items():
        for scaler in kind(fleet, "HorizontalPodAutoscaler", "ScaledObject"):
            target = named(fleet, scaler["spec"]["scaleTargetRef"]["name"], "Deployment")
            assert "replicas" not in target["spec"], f"{name}: {name_of(scaler)}"


def test_no_scaler_leaves_a_pool_with_one_replica(fleets: Mapping[str, Fleet]):
    """
    A drained machine would take the only one, before another is there.
    """
    for scaler in kind(fleets["prod+autoscaling-hpa"], "HorizontalPodAutoscaler"):
        assert 2 <= scaler["spec"]["minReplicas"] < scaler["spec"]["maxReplicas"], name_of(scaler)
    for scaler in kind(fleets["prod+autoscaling-keda"], "ScaledObject"):
        assert 2 <= scaler["spec"]["minReplicaCount"] < scaler["spec"]["maxReplicaCount"], name_of(scaler)


def test_every_component_and_overlay_is_among_those_rendered(fleets: Mapping[str, Fleet]):
    """
    A new one must not be forgotten here. Autoscalers are for the pools of prod, and never two of them.
    """
    tried = {part for name in fleets for part in name.split("+")}
    for place in ("components", "overlays"):
        assert {path.name for path in (K8S / place).iterdir() if path.is_dir()} <= tried
    assert 2**10 + 3 * 2**10 == len(fleets)


@pytest.mark.parametrize("overlay", list(COMPONENTS))
def test_a_set_that_was_put_together_is_what_the_tool_renders(
    overlay: str, fleets: Mapping[str, Fleet], tmp_path: Path, kustomize: tuple[str, ...]
):
    """
    The largest sets, and some of those in between.
    """
    sets = all_sets(overlay)
    largest = [chosen for chosen in sets if len(chosen) == max(map(len, sets))]
    tried = dict.fromkeys([*largest, *random.Random(overlay).sample(sets, SAMPLES)])
    renderer = Renderer(tmp_path, kustomize)
    renderer.render(overlay, tried)
    for chosen in tried:
        rendered = renderer.objects(overlay, chosen)
        name = name_of_set(overlay, chosen)
        assert [rendered[key] for key in sorted(rendered)] == fleets[name], name
