"""
Who can reach whom, as the network policies say it.

A connection needs the sender's leave and the receiver's; a pod that no policy selects for a direction is open in it,
and policies add up (kubernetes.io/docs/concepts/services-networking/network-policies).
"""

import ipaddress
from collections.abc import Mapping
from typing import Any, Final, cast

import pytest

from flotilla.testkit.manifests import Fleet, Manifest, kind, labels_of, name_of, workloads

INSIDE: Final = (
    "10.0.0.1",
    "172.20.3.4",
    "192.168.7.7",
    "100.64.1.1",
    "169.254.169.254",
    "127.0.0.1",
    "fd00::1",
    "fe80::1",
)
OUTSIDE: Final = ("160.79.104.10", "2606:4700::1", "8.8.8.8")
DNS: Final = {"namespace": "kube-system", "k8s-app": "kube-dns"}
Pod = Mapping[str, str]
"""Labels, and the namespace under that name."""


POLICIES: Final[dict[int, list[Manifest]]] = {}
"""Of each fleet: these live as long as the session."""
ANSWERS: Final[dict[tuple[Any, ...], bool]] = {}


def pod_named(fleet: Fleet, name: str) -> Pod:
    """The pods of a workload."""
    return next(
        {**labels_of(workload), "namespace": "flotilla"} for workload in workloads(fleet) if name_of(workload) == name
    )


def selects(selector: Manifest, labels: Mapping[str, str]) -> bool:
    """A label selector; an empty one selects everything."""
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items()) and all(
        fulfils(rule, labels) for rule in selector.get("matchExpressions", [])
    )


def fulfils(rule: Manifest, labels: Mapping[str, str]) -> bool:
    """The one operator that is used."""
    assert rule["operator"] == "In"
    return labels.get(rule["key"]) in rule["values"]


def is_peer(peer: Manifest, other: Pod | str, namespaces: Mapping[str, Mapping[str, str]]) -> bool:
    """Whether a rule's peer is a pod, or covers an address."""
    if isinstance(other, str):
        block = cast("dict[str, Any] | None", peer.get("ipBlock"))
        address = ipaddress.ip_address(other)
        return (
            block is not None
            and address in ipaddress.ip_network(block["cidr"])
            and not any(address in ipaddress.ip_network(part) for part in block.get("except", []))
        )
    if "ipBlock" in peer:
        return False
    there = (
        selects(peer["namespaceSelector"], namespaces[other["namespace"]])
        if "namespaceSelector" in peer
        else other["namespace"] == "flotilla"
    )
    return there and selects(peer.get("podSelector", {}), other)


def allowed(fleet: Fleet, direction: str, pod: Pod, other: Pod | str, port: int) -> bool:
    """One side's leave, for a TCP port; asked once for all the fleets that have the same policies."""
    policies = POLICIES.get(id(fleet))
    if policies is None:
        policies = POLICIES[id(fleet)] = kind(fleet, "NetworkPolicy")
    asked = (frozenset(pod.items()), other if isinstance(other, str) else frozenset(other.items()))
    key = (tuple(map(id, policies)), direction, *asked, port)
    if key not in ANSWERS:
        ANSWERS[key] = permitted(policies, direction, pod, other, port)
    return ANSWERS[key]


def permitted(found: list[Manifest], direction: str, pod: Pod, other: Pod | str, port: int) -> bool:
    """What these policies say."""
    if pod["namespace"] != "flotilla":
        return True
    namespaces = {
        "flotilla": {"kubernetes.io/metadata.name": "flotilla"},
        "kube-system": {"kubernetes.io/metadata.name": "kube-system"},
        "keda": {"kubernetes.io/metadata.name": "keda"},
        "monitoring": {"kubernetes.io/metadata.name": "monitoring"},
        "ingress": {"kubernetes.io/metadata.name": "ingress", "flotilla-portal": "true"},
        "shop": {"kubernetes.io/metadata.name": "shop", "flotilla-client": "true"},
        "stranger": {"kubernetes.io/metadata.name": "stranger"},
    }
    policies = [
        policy["spec"]
        for policy in found
        if direction.capitalize() in policy["spec"]["policyTypes"] and selects(policy["spec"]["podSelector"], pod)
    ]
    side = "to" if direction == "egress" else "from"
    return not policies or any(
        any(is_peer(peer, other, namespaces) for peer in rule.get(side, []))
        and any(entry["port"] == port and entry["protocol"] == "TCP" for entry in rule["ports"])
        for policy in policies
        for rule in policy.get(direction, [])
    )


def reaches(fleet: Fleet, sender: Pod, receiver: Pod | str, port: int) -> bool:
    """Whether a connection can be made."""
    out = allowed(fleet, "egress", sender, receiver, port)
    return out and (isinstance(receiver, str) or allowed(fleet, "ingress", receiver, sender, port))


def test_each_pod_reaches_what_it_needs_and_nothing_else(fleets: Mapping[str, Fleet]):
    """
    The whole matrix of pods and ports, in every set.
    """
    ports = {
        "nats": (4222, 6222, 8222),
        "orchestrator": (8080,),
        "portal": (8080, 8642),
        "ollama": (11434,),
        "vllm": (8000,),
        "llamacpp": (8080,),
    }
    for name, fleet in fleets.items():
        parts = name.split("+")
        pods = {name_of(workload): pod_named(fleet, name_of(workload)) for workload in workloads(fleet)}
        found = {
            (sender, receiver, port)
            for sender in pods
            for receiver in pods
            for port in ports.get(pods[receiver]["app.kubernetes.io/name"], (8080,))
            if reaches(fleet, pods[sender], pods[receiver], port)
        }
        services = [
            pod for pod in pods if pod.startswith(("orchestrator", "portal", "local-inference", "cloud-inference"))
        ]
        expected = {(service, "nats", 4222) for service in services} | {("nats", "nats", 6222)}
        if "prod" in parts:
            expected.add(("local-inference-ollama", "ollama", 11434))
        expected |= {
            (f"local-inference-{server}", server, ports[server][0])
            for server in ("vllm", "llamacpp")
            if server in parts
        }

        assert expected == found, name


def test_only_cloud_workers_reach_the_internet(fleets: Mapping[str, Fleet]):
    """
    By HTTPS alone, and no address of the cluster; model servers only while their models are pulled.
    """
    for name, fleet in fleets.items():
        for workload in workloads(fleet):
            pod = pod_named(fleet, name_of(workload))
            what = pod["app.kubernetes.io/name"]
            out = what == "cloud-inference" or ("model-pull" in name and what in {"ollama", "vllm", "llamacpp"})
            for address in OUTSIDE:
                assert reaches(fleet, pod, address, 443) == out, f"{name}: {name_of(workload)}"
                assert not reaches(fleet, pod, address, 80), f"{name}: {name_of(workload)}"
            for address in INSIDE:
                assert not reaches(fleet, pod, address, 443), f"{name}: {name_of(workload)}: {address}"


def test_names_are_looked_up_by_those_who_connect(fleets: Mapping[str, Fleet]):
    """
    At the cluster's own DNS; model servers look nothing up.
    """
    for name, fleet in fleets.items():
        for workload in workloads(fleet):
            pod = pod_named(fleet, name_of(workload))
            server = pod["app.kubernetes.io/name"] in {"ollama", "vllm", "llamacpp"}
            expected = not server or "model-pull" in name.split("+")
            assert reaches(fleet, pod, DNS, 53) == expected, f"{name}: {name_of(workload)}"


@pytest.mark.parametrize("namespace", ["shop", "stranger"])
def test_callers_come_from_namespaces_that_are_labelled_for_them(fleets: Mapping[str, Fleet], namespace: str):
    """
    To the port of clients, and to no other pod than NATS.
    """
    caller = {"namespace": namespace, "app.kubernetes.io/name": "orchestrator"}
    for name, fleet in fleets.items():
        assert reaches(fleet, caller, pod_named(fleet, "nats"), 4222) == (namespace == "shop"), name
        for workload in workloads(fleet):
            for port in (6222, 8222, 8080, 8000, 11434):
                assert not reaches(fleet, caller, pod_named(fleet, name_of(workload)), port), (
                    f"{name}: {name_of(workload)}"
                )


def test_monitoring_opens_the_metrics_to_prometheus_and_keda_the_lines_lengths(fleets: Mapping[str, Fleet]):
    """
    Each with its component alone.
    """
    for name, fleet in fleets.items():
        parts = name.split("+")
        prometheus, keda = {"namespace": "monitoring"}, {"namespace": "keda"}
        assert reaches(fleet, prometheus, pod_named(fleet, "orchestrator"), 8080) == ("monitoring" in parts), name
        assert not reaches(fleet, prometheus, pod_named(fleet, "nats"), 4222), name
        assert reaches(fleet, keda, pod_named(fleet, "nats"), 8222) == ("autoscaling-keda" in parts), name


def test_browsers_come_through_the_ingress_and_no_other_way(dev: Fleet):
    """
    From the namespace that is labelled for it, to the portal's one port.
    """
    portal = pod_named(dev, "portal")

    assert reaches(dev, {"namespace": "ingress"}, portal, 8642)
    assert not reaches(dev, {"namespace": "ingress"}, portal, 8080)
    assert not [space for space in ("shop", "stranger", "keda") if reaches(dev, {"namespace": space}, portal, 8642)]
    assert not reaches(dev, {"namespace": "ingress"}, pod_named(dev, "nats"), 4222)


def test_a_new_pod_in_the_namespace_reaches_nothing(fleets: Mapping[str, Fleet]):
    """
    Denied by default, in both directions.
    """
    for name, fleet in fleets.items():
        new = {"namespace": "flotilla", "app.kubernetes.io/name": "new"}
        assert not any(allowed(fleet, "ingress", new, {"namespace": space}, 8080) for space in ("flotilla", "shop")), (
            name
        )
        assert not any(allowed(fleet, "egress", new, other, 443) for other in (*INSIDE, *OUTSIDE, DNS)), name
