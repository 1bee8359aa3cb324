"""The routing policies that overlays ship: valid, about pools that they run, and put in force by their orchestrators."""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import pytest
import yaml

from flotilla.chassis.policy_toml import read_policy
from flotilla.contracts.capabilities import BUILT_IN
from flotilla.contracts.policy import Policy, RouteEntry
from flotilla.contracts.policy_rules import rules_for
from flotilla.contracts.subjects import PRIORITIES, consumer
from flotilla.routing.policy_check import parse_policy, warnings
from flotilla.testkit.manifests import (
    K8S,
    Fleet,
    Manifest,
    containers_of,
    environment_of,
    kind,
    labels_of,
    name_of,
    named,
    pod_of,
    render,
    workloads,
)

FILES = sorted(K8S.rglob("policy*.toml"))


def config_of(fleet: Fleet) -> Manifest:
    """The one ConfigMap with the policy."""
    [found] = [config for config in kind(fleet, "ConfigMap") if name_of(config).startswith("policy-")]
    return found


def policy_of(fleet: Fleet) -> Policy:
    """What its orchestrators put in force."""
    return parse_policy(config_of(fleet)["data"]["policy.toml"])


def pools_of(fleet: Fleet) -> dict[str, set[str]]:
    """The models of each pool that runs."""
    pools: dict[str, set[str]] = {}
    for workload in kind(fleet, "Deployment"):
        if "pool" in labels_of(workload):
            environment = environment_of(containers_of(workload)[0])
            models = (environment.get("FLOTILLA_MODELS") or "").split(",")
            pools[labels_of(workload)["pool"]] = {model.partition("=")[0] for model in models if model}
    return pools


def routes_of(policy: Policy) -> list[RouteEntry]:
    """All that it names."""
    entries = [policy.default, *policy.capabilities.values()]
    return [route for entry in entries if entry is not None for route in entry.routes or ()]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(K8S)))
def test_every_policy_file_is_a_policy(file: Path):
    """
    As `flotilla policy check` finds it; an orchestrator would not start with another.
    """
    assert read_policy(file)


def test_no_policy_file_is_forgotten_by_its_overlay(dev: Fleet, prod: Fleet):
    """
    Each is the content of a ConfigMap.
    """
    assert FILES
    assert {file.read_text(encoding="utf-8") for file in FILES} == {
        config_of(fleet)["data"]["policy.toml"] for fleet in (dev, prod)
    }


def test_a_policy_names_pools_and_models_that_its_overlay_runs(dev: Fleet, prod: Fleet):
    """
    And capabilities that there are; another would be a route that no task ever takes.
    """
    for fleet in (dev, prod):
        policy, pools = policy_of(fleet), pools_of(fleet)
        assert [] == warnings(policy, pools.keys(), BUILT_IN.keys())
        for route in routes_of(policy):
            assert route.model is None or route.model in pools[route.pool], route
    assert {route.pool for route in routes_of(policy_of(prod))} == pools_of(prod).keys()


def test_restricted_tasks_have_a_local_route_wherever_a_capability_is_listed(prod: Fleet):
    """
    Routing keeps them from the cloud whatever stands here; an entry without a local pool would refuse them all.
    """
    local = {labels_of(each)["pool"] for each in kind(prod, "Deployment") if labels_of(each).get("zone") == "local"}
    policy = policy_of(prod)
    for capability in BUILT_IN:
        rules = rules_for(policy, capability)
        assert rules is not None
        assert local & {route.pool for route in rules.routes or ()}, capability


def test_orchestrators_read_the_file_that_the_config_map_has(fleets: Mapping[str, Fleet]):
    """
    Mounted where the setting says, read-only, and for no one else.
    """
    for name, fleet in fleets.items():
        config = name_of(config_of(fleet))
        for workload in workloads(fleet):
            container = pod_of(workload)["containers"][0]
            volumes = [
                each["name"] for each in pod_of(workload)["volumes"] if each.get("configMap") == {"name": config}
            ]
            if name_of(workload) not in {"orchestrator", "orchestrator-sealed"}:
                assert [] == volumes, name
                continue
            [mount] = [mount for mount in container["volumeMounts"] if mount["name"] in volumes]
            file = PurePosixPath(environment_of(container)["FLOTILLA_POLICY_FILE"] or "")
            assert (mount["mountPath"], file.name) == (str(file.parent), "policy.toml"), name
            assert mount["readOnly"] is True


def test_a_changed_policy_rolls_the_orchestrators_and_nobody_else(
    prod: Fleet, tmp_path: Path, kustomize: tuple[str, ...]
):
    """
    By the hash in the ConfigMap's name: a policy of one's own is an overlay with one file.
    """
    place = (tmp_path / "mine").resolve()
    place.mkdir()
    back = Path(*[".."] * len(place.parts[1:]))
    (place / "policy.toml").write_text("format = 1\n")
    generator = {"name": "policy", "behavior": "merge", "files": ["policy.toml"]}
    kustomization = {
        "resources": [str(back / (K8S / "overlays" / "prod").relative_to("/"))],
        "configMapGenerator": [generator],
    }
    (place / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))

    mine = render(place, kustomize)

    assert {"policy.toml": "format = 1\n"} == config_of(mine)["data"]
    assert ["orchestrator"] == [
        name_of(workload)
        for workload in workloads(mine)
        if workload["spec"]["template"] != named(prod, name_of(workload), workload["kind"])["spec"]["template"]
    ]


def test_pools_are_scaled_by_the_lines_of_what_they_are_the_first_choice_for(fleets: Mapping[str, Fleet]):
    """
    A scaler that follows another pool's work adds replicas which get none of it.
    """
    fleet = fleets["prod+autoscaling-keda"]
    policy = policy_of(fleet)
    for scaler in kind(fleet, "ScaledObject"):
        pool = labels_of(named(fleet, scaler["spec"]["scaleTargetRef"]["name"], "Deployment"))["pool"]
        first = {
            capability
            for capability in BUILT_IN
            if (rules := rules_for(policy, capability)) is not None and rules.routes and rules.routes[0].pool == pool
        }
        lines = {consumer(capability, priority) for capability in first for priority in PRIORITIES}
        assert {trigger["metadata"]["consumer"] for trigger in scaler["spec"]["triggers"]} <= lines, pool
