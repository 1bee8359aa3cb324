"""What every pod must be: restricted, bounded, probed, and configured with settings that its service knows."""

import copy
import json
import re
from collections.abc import Iterator, Mapping
from operator import itemgetter
from typing import Any

import pytest

from cloud_inference.settings import CloudSettings
from flotilla.chassis.settings import ServiceSettings, environment_names, load_settings
from flotilla.contracts.names import OBSERVER, ORCHESTRATOR, SEALED_ORCHESTRATOR, is_replica
from flotilla.inference.settings import WorkerSettings
from flotilla.provisioning.kubernetes import secret_name
from flotilla.provisioning.roles import worker_user
from flotilla.provisioning.server_config import LAME_DUCK_GRACE_S, LAME_DUCK_S
from flotilla.testkit.manifests import (
    Fleet,
    Manifest,
    containers_of,
    environment_of,
    kind,
    labels_of,
    name_of,
    named,
    pod_of,
    workloads,
)
from local_inference.settings import LocalSettings
from orchestrator.settings import OrchestratorSettings
from portal.settings import PortalSettings

SETTINGS: dict[str, type[ServiceSettings]] = {
    "orchestrator": OrchestratorSettings,
    "orchestrator-sealed": OrchestratorSettings,
    "local-inference": LocalSettings,
    "cloud-inference": CloudSettings,
    "portal": PortalSettings,
}
POD_VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
"""Those that the restricted level allows."""
SUFFIX_LENGTH = len("-7c9f6d5b8f-x2xkq")
PINNED = re.compile(r"[a-z0-9./_-]+:(?:[A-Za-z0-9_-]+[.-])?b?\d[A-Za-z0-9_.-]*")
LEAVING_S = 10
"""What closing takes after the grace: handing back, acknowledgements, the connection."""


@pytest.fixture(scope="session")
def pods(fleets: Mapping[str, Fleet]) -> list[tuple[str, Manifest]]:
    """
    Every workload of every set, with a name for messages.
    """
    return [
        (f"{name}: {name_of(workload)}", workload) for name, fleet in fleets.items() for workload in workloads(fleet)
    ]


@pytest.fixture(scope="session")
def services(pods: list[tuple[str, Manifest]]) -> list[tuple[str, Manifest, Manifest]]:
    """
    Those that run Flotilla's own services, with their one container.
    """
    return [
        (name, workload, containers_of(workload)[0])
        for name, workload in pods
        if labels_of(workload)["app.kubernetes.io/name"] in SETTINGS
    ]


def test_every_pod_passes_the_restricted_level(pods: list[tuple[str, Manifest]]):
    """
    The namespace enforces it: a pod that fails is never made. (kubernetes.io/docs/concepts/security/pod-security-standards)
    """
    for name, workload in pods:
        pod = pod_of(workload)
        assert not pod.keys() & {"hostNetwork", "hostPID", "hostIPC"}, name
        context = pod["securityContext"]
        assert context["runAsNonRoot"] is True, name
        assert context["runAsUser"] > 0, name
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for volume in pod.get("volumes", []):
            assert volume.keys() - {"name"} <= POD_VOLUMES, name
        for container in containers_of(workload):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name
            assert all("hostPort" not in port for port in container.get("ports", [])), name


def test_the_namespace_enforces_it(dev: Fleet, prod: Fleet):
    """
    In every overlay.
    """
    for fleet in (dev, prod):
        assert (
            named(fleet, "flotilla", "Namespace")["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]
            == "restricted"
        )


def test_no_pod_can_speak_to_kubernetes(fleets: Mapping[str, Fleet], pods: list[tuple[str, Manifest]]):
    """
    No token in any pod, and no rights for any account.
    """
    for name, workload in pods:
        assert pod_of(workload)["automountServiceAccountToken"] is False, name
    for fleet in fleets.values():
        assert all(account["automountServiceAccountToken"] is False for account in kind(fleet, "ServiceAccount"))
        assert [] == kind(fleet, "Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding")


def test_every_image_is_pinned(pods: list[tuple[str, Manifest]]):
    """
    A tag that names a version; `latest` would change under a running fleet.
    """
    for name, workload in pods:
        for container in containers_of(workload):
            assert PINNED.fullmatch(container["image"]), f"{name}: {container['image']}"
            assert "latest" not in container["image"], name


def test_every_container_has_requests_and_limits(pods: list[tuple[str, Manifest]]):
    """
    Memory and CPU of both kinds, and no request over its limit.
    """
    for name, workload in pods:
        for container in containers_of(workload):
            requests, limits = container["resources"]["requests"], container["resources"]["limits"]
            assert {"cpu", "memory"} <= requests.keys() & limits.keys(), name
            assert all(quantity(requests[resource]) <= quantity(limits[resource]) for resource in requests), name


def quantity(text: str) -> float:
    """Such as `250m` or `4Gi`."""
    number, unit = re.fullmatch(r"(\d+)(m|Mi|Gi)?", text).groups()  # pyright: ignore[reportOptionalMemberAccess]  # else it fails
    return float(number) * {"m": 0.001, "Mi": 2.0**20, "Gi": 2.0**30, None: 1.0}[unit]


def test_every_container_is_probed_on_a_port_that_it_has(pods: list[tuple[str, Manifest]]):
    """
    Startup, readiness and liveness; a service's on /readyz and /livez, at the port it is told to listen on.
    """
    for name, workload in pods:
        for container in workload["spec"]["template"]["spec"]["containers"]:
            ports = {port["name"]: port["containerPort"] for port in container["ports"]}
            probes = {which: container[f"{which}Probe"]["httpGet"] for which in ("startup", "readiness", "liveness")}
            assert all(probe["port"] in ports for probe in probes.values()), name
            environment = environment_of(container)
            if "FLOTILLA_HTTP_PORT" in environment:
                assert environment["FLOTILLA_HTTP_PORT"] == str(ports["http"]), name
                assert [("/readyz"), ("/readyz"), ("/livez")] == [probe["path"] for probe in probes.values()], name


def test_what_is_frozen_is_killed_within_half_a_minute(services: list[tuple[str, Manifest, Manifest]]):
    """
    A frozen member swallows what it is sent: the long grace is for those that finish something.
    """
    for name, _, container in services:
        probe = container["livenessProbe"]
        noticed_s = probe["periodSeconds"] * probe["failureThreshold"] + probe["timeoutSeconds"]
        assert noticed_s + probe["terminationGracePeriodSeconds"] <= 30, name


def test_a_hung_server_is_not_waited_for_as_one_that_leaves(pods: list[tuple[str, Manifest]]):
    """
    Of other people's servers too; and the last lines of whatever ended are kept where `kubectl describe pod` shows them.
    """
    for name, workload in pods:
        for container in containers_of(workload):
            grace_s = container["livenessProbe"]["terminationGracePeriodSeconds"]
            assert grace_s < pod_of(workload)["terminationGracePeriodSeconds"], name
            assert "FallbackToLogsOnError" == container["terminationMessagePolicy"], name


def test_applying_again_changes_nothing(pods: list[tuple[str, Manifest]], fleets: Mapping[str, Fleet]):
    """
    What the server would drop or fill in is written as it keeps it: else `kubectl apply` reports a change every time.
    """
    for name, workload in pods:
        if workload["kind"] == "Deployment":
            assert "RollingUpdate" == workload["spec"]["strategy"]["type"], name
        for claim in workload["spec"].get("volumeClaimTemplates", []):
            kept = (claim["apiVersion"], claim["kind"], claim["spec"]["volumeMode"], claim["status"])
            assert ("v1", "PersistentVolumeClaim", "Filesystem", {"phase": "Pending"}) == kept, name
        for container in containers_of(workload):
            assert all(variable.get("value") != "" for variable in container.get("env", [])), name
    for name, fleet in fleets.items():
        for policy in kind(fleet, "NetworkPolicy"):
            assert [] not in (policy["spec"].get("egress"), policy["spec"].get("ingress")), f"{name}: {name_of(policy)}"


def test_a_rollout_takes_nothing_away_before_the_new_replica_is_ready(pods: list[tuple[str, Manifest]]):
    """
    Thousands of refusals during a rollout are what others' users complain of.
    """
    for name, workload in pods:
        if workload["kind"] == "Deployment":
            rolling = workload["spec"]["strategy"]["rollingUpdate"]
            assert (rolling["maxUnavailable"], rolling["maxSurge"] > 0) == (0, True), name


def test_a_pod_may_end_in_peace(services: list[tuple[str, Manifest, Manifest]]):
    """
    Kubernetes kills what is still there when its own grace is over.
    """
    for name, workload, container in services:
        grace_s = float(environment_of(container)["FLOTILLA_GRACE_S"] or "nan")
        assert pod_of(workload)["terminationGracePeriodSeconds"] >= grace_s + LEAVING_S, name


def test_a_nats_node_hands_its_clients_over_before_it_ends(prod: Fleet):
    """
    Lame duck mode takes its time, and the pod has it.
    """
    nats = named(prod, "nats", "StatefulSet")
    container = containers_of(nats)[0]

    assert container["lifecycle"]["preStop"]["exec"]["command"] == ["nats-server", "--signal", "ldm=1"]
    assert pod_of(nats)["terminationGracePeriodSeconds"] > LAME_DUCK_S + LAME_DUCK_GRACE_S


def test_replicas_are_spread(pods: list[tuple[str, Manifest]]):
    """
    Over machines, by the pods' own labels; two NATS nodes never share a machine.
    """
    for name, workload in pods:
        constraints: list[dict[str, Any]] = pod_of(workload)["topologySpreadConstraints"]
        selector = workload["spec"]["selector"]
        assert all(constraint["labelSelector"] == selector for constraint in constraints), name
        keys = {constraint["topologyKey"] for constraint in constraints}
        if labels_of(workload)["app.kubernetes.io/name"] in SETTINGS:
            # Else those that a rollout is about to take away decide where the new ones go.
            assert all(constraint["matchLabelKeys"] == ["pod-template-hash"] for constraint in constraints), name
        if name_of(workload) == "nats":
            required = pod_of(workload)["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
            assert [("kubernetes.io/hostname", selector)] == [
                (rule["topologyKey"], rule["labelSelector"]) for rule in required
            ], name
        else:
            assert "kubernetes.io/hostname" in keys, name


def settings_of(workload: Manifest, container: Manifest) -> ServiceSettings:
    """What the service would make of its environment; variables from Secrets get a stand-in."""
    environ = {name: "from-a-secret" if value is None else value for name, value in environment_of(container).items()}
    return load_settings(SETTINGS[labels_of(workload)["app.kubernetes.io/name"]], environ)


def test_every_variable_is_one_that_the_service_knows(services: list[tuple[str, Manifest, Manifest]]):
    """
    It would refuse to start with an unknown one; and the providers' own names are checked here too.
    """
    for name, workload, container in services:
        known = environment_names(SETTINGS[labels_of(workload)["app.kubernetes.io/name"]])
        assert environment_of(container).keys() <= known, name
        assert settings_of(workload, container), name


def test_kubernetes_adds_no_variables_of_its_own(pods: list[tuple[str, Manifest]]):
    """
    A Service called `flotilla` would become FLOTILLA_PORT, which the services refuse.
    """
    for name, workload in pods:
        assert pod_of(workload)["enableServiceLinks"] is False, name


def test_a_pool_is_what_its_labels_and_its_zone_say(services: list[tuple[str, Manifest, Manifest]]):
    """
    Its name stands in the Deployment, the labels that policies select by, and the settings.
    """
    for name, workload, container in services:
        settings = settings_of(workload, container)
        if isinstance(settings, WorkerSettings):
            labels = labels_of(workload)
            assert (settings.zone, settings.checked_pool()) == (labels["zone"], labels["pool"]), name
            assert name_of(workload) == f"{labels['app.kubernetes.io/name']}-{settings.pool}", name
            assert settings.model_names() or settings.provider in ("embedded", "redaction"), name


def test_a_pods_name_can_name_a_replica(services: list[tuple[str, Manifest, Manifest]]):
    """
    Replicas are called after their pods.
    """
    for name, workload, _ in services:
        assert is_replica(name_of(workload) + "x" * SUFFIX_LENGTH), name


def seeds_in(workload: Manifest) -> Iterator[tuple[str, int]]:
    """The Secrets with seeds that a pod mounts, and the files' mode."""
    for volume in pod_of(workload).get("volumes", []):
        secret = volume.get("secret", {})
        if secret.get("secretName", "").startswith("nats-") and secret["secretName"] != "nats-tls":
            assert secret["items"] == [{"key": "seed.nk", "path": "seed.nk"}]
            yield secret["secretName"], secret["defaultMode"]


def test_a_pod_has_its_own_credentials_and_no_others(pods: list[tuple[str, Manifest]]):
    """
    One seed, of its own role, which no other user can read.
    """
    for name, workload in pods:
        labels = labels_of(workload)
        match labels["app.kubernetes.io/name"]:
            case "orchestrator":
                expected = [secret_name(ORCHESTRATOR)]
            case "portal":
                expected = [secret_name(OBSERVER)]
            case "orchestrator-sealed":
                expected = [secret_name(SEALED_ORCHESTRATOR)]
            case "local-inference":
                expected = [secret_name(worker_user("local", labels["pool"]))]
            case "cloud-inference":
                expected = [secret_name(worker_user("cloud", labels["pool"]))]
            case _:
                expected = []
        assert [(secret, 0o440) for secret in expected] == list(seeds_in(workload)), name


def test_provider_keys_reach_their_own_pool_only(services: list[tuple[str, Manifest, Manifest]]):
    """
    And only in the cloud zone; nothing secret stands in a manifest.
    """
    for name, workload, container in services:
        keys = {
            variable["valueFrom"]["secretKeyRef"]["name"]
            for variable in container["env"]
            if "secretKeyRef" in variable.get("valueFrom", {})
        }
        labels = labels_of(workload)
        cloud = labels["app.kubernetes.io/name"] == "cloud-inference"
        assert ({f"provider-{labels['pool']}"} if cloud else set()) == keys, name
        assert all("valueFrom" in variable for variable in container["env"] if variable["name"].endswith("_KEY")), name


def test_capabilities_of_ones_own_reach_orchestrators_and_workers_alike(services: list[tuple[str, Manifest, Manifest]]):
    """
    From the same ConfigMap, whose name changes with its contents.
    """
    for name, workload, container in services:
        if labels_of(workload)["app.kubernetes.io/name"] == "portal":
            continue  # it knows none
        mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        volumes = {volume["name"]: volume for volume in pod_of(workload)["volumes"]}
        assert mounted["capabilities"] == environment_of(container)["FLOTILLA_CAPABILITY_FILES"], name
        assert re.fullmatch(r"capabilities-[a-z0-9]{10}", volumes["capabilities"]["configMap"]["name"]), name


def test_streams_have_as_many_copies_as_there_are_nodes(dev: Fleet, prod: Fleet):
    """
    Three on a cluster of three; a single node can hold one.
    """
    for fleet, nodes, layout in ((dev, 1, "single"), (prod, 3, "cluster")):
        nats = named(fleet, "nats", "StatefulSet")
        settings = settings_of(
            named(fleet, "orchestrator", "Deployment"), containers_of(named(fleet, "orchestrator", "Deployment"))[0]
        )
        assert isinstance(settings, OrchestratorSettings)
        assert (nodes, nodes) == (settings.stream_replicas, nats["spec"]["replicas"])
        assert environment_of(containers_of(nats)[0])["NATS_TOPOLOGY"] == layout


def test_an_orchestrator_of_the_sealed_lane_is_as_the_others(fleets: Mapping[str, Fleet]):
    """
    In every set that has one, TLS, tenants and copies included; but for the lane, its seed, its name, and how many there are.
    """
    with_it = {name: fleet for name, fleet in fleets.items() if "sealed" in name.split("+")}
    assert with_it
    for name, fleet in with_it.items():
        ordinary, sealed = (
            copy.deepcopy(named(fleet, each, "Deployment")) for each in ("orchestrator", "orchestrator-sealed")
        )
        lane, seed = {"name": "FLOTILLA_LANE", "value": "sealed"}, secret_name(SEALED_ORCHESTRATOR)
        [container] = containers_of(sealed)
        container["env"].remove(lane)
        for workload in (ordinary, sealed):
            workload["spec"].pop("replicas", None)
            containers_of(workload)[0]["env"].sort(key=itemgetter("name"))
            # A smaller request of the dev overlay.
            containers_of(workload)[0].pop("resources")
        assert seed in str(sealed), name
        assert ordinary == json.loads(json.dumps(sealed).replace("orchestrator-sealed", "orchestrator")), name


def test_with_tls_everybody_speaks_it_and_only_the_servers_have_the_key(fleets: Mapping[str, Fleet]):
    """
    A service that kept its plain address would be refused.
    """
    for name, fleet in fleets.items():
        tls = "tls" in name.split("+")
        nats = named(fleet, "nats", "StatefulSet")
        assert environment_of(containers_of(nats)[0])["NATS_TRANSPORT"] == ("-tls" if tls else ""), name
        for workload in kind(fleet, "Deployment"):
            environment = environment_of(containers_of(workload)[0])
            if "FLOTILLA_NATS_URL" in environment:
                assert environment["FLOTILLA_NATS_URL"] == ("tls://nats:4222" if tls else "nats://nats:4222"), name
                mounted = [volume for volume in pod_of(workload)["volumes"] if volume["name"] == "nats-ca"]
                assert tls == bool(mounted), name
                for volume in mounted:
                    assert volume["secret"]["items"] == [{"key": "ca.crt", "path": "ca.crt"}], name


def test_a_gpu_is_asked_for_where_it_is_wanted(fleets: Mapping[str, Fleet]):
    """
    By the model servers, never by the workers.
    """
    for name, fleet in fleets.items():
        wanted = {"vllm"} | ({"ollama", "llamacpp"} if "gpu-nvidia" in name.split("+") else set[str]())
        for workload in workloads(fleet):
            limits = containers_of(workload)[0]["resources"]["limits"]
            assert ("nvidia.com/gpu" in limits) == (name_of(workload) in wanted), f"{name}: {name_of(workload)}"
