"""Alerts, scalers and the dashboard ask for metrics and consumers that exist."""

import json
import re
from collections.abc import Mapping

from flotilla.contracts import subjects
from flotilla.contracts.capabilities import BUILT_IN
from flotilla.contracts.names import DEFAULT_SCOPE
from flotilla.contracts.subjects import PRIORITIES
from flotilla.provisioning.server_spec import FLEET_ACCOUNT
from flotilla.testkit.manifests import K8S, REPOSITORY, Fleet, containers_of, environment_of, kind, name_of, named

METRIC = re.compile(r"\bflotilla_[a-z_]+")
OTHERS = re.compile(r"\b(?:kube|kubelet)_[a-z_]+")
"""Of kube-state-metrics and the kubelet."""


def declared() -> set[str]:
    """Every metric that a service declares, with the names of a histogram's series."""
    sources = (
        path.read_text(encoding="utf-8") for part in ("libs", "services") for path in (REPOSITORY / part).rglob("*.py")
    )
    names = {name for text in sources for name in re.findall(r'"(flotilla_[a-z_]+)"', text)}
    return names | {f"{name}_bucket" for name in names}


def test_alerts_are_about_metrics_that_are_measured_and_say_what_to_do(fleets: Mapping[str, Fleet]):
    """
    An alert on a name that nobody writes would never fire.
    """
    [group] = named(fleets["prod+monitoring"], "flotilla", "PrometheusRule")["spec"]["groups"]
    for rule in group["rules"]:
        used = set(METRIC.findall(rule["expr"]))
        assert used <= declared(), rule["alert"]
        assert used or OTHERS.findall(rule["expr"]), rule["alert"]
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert rule["annotations"]["summary"], rule["alert"]
        assert len(rule["annotations"]["action"]) > 40, rule["alert"]


def test_every_alert_is_explained():
    """
    In the component's README.
    """
    rules = (K8S / "components" / "monitoring" / "rules.yaml").read_text(encoding="utf-8")
    readme = (K8S / "components" / "monitoring" / "README.md").read_text(encoding="utf-8")

    assert all(alert in readme for alert in re.findall(r"alert: (\w+)", rules))


def test_the_dashboard_shows_what_is_measured(fleets: Mapping[str, Fleet]):
    """
    Of the namespace that was chosen, in panels that do not overlap.
    """
    config = named(fleets["prod+monitoring"], "flotilla-dashboard", "ConfigMap")
    dashboard = json.loads(config["data"]["flotilla.json"])
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]

    assert "1" == config["metadata"]["labels"]["grafana_dashboard"]
    assert all('namespace="$namespace"' in expression for expression in expressions)
    assert {name for expression in expressions for name in METRIC.findall(expression)} <= declared()
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in dashboard["panels"]]
    assert len(places) == len(set(places))


def test_the_monitor_finds_the_port_of_every_service(fleets: Mapping[str, Fleet]):
    """
    By its name.
    """
    fleet = fleets["prod+monitoring+sealed"]
    [monitor] = kind(fleet, "PodMonitor")
    [endpoint] = monitor["spec"]["podMetricsEndpoints"]
    [rule] = monitor["spec"]["selector"]["matchExpressions"]
    services = {
        deployment["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/name"]: deployment
        for deployment in kind(fleet, "Deployment")
        if "FLOTILLA_HTTP_PORT" in environment_of(containers_of(deployment)[0])
    }

    assert set(rule["values"]) == set(services)
    for deployment in services.values():
        assert endpoint["port"] in {port["name"] for port in containers_of(deployment)[0]["ports"]}


def test_keda_asks_for_consumers_that_orchestrators_make(fleets: Mapping[str, Fleet]):
    """
    By their account, stream and name; from the node that leads, whose address is made of the headless Service's name.
    """
    fleet = fleets["prod+autoscaling-keda"]
    consumers = {subjects.consumer(capability, priority) for capability in BUILT_IN for priority in PRIORITIES}
    for scaler in kind(fleet, "ScaledObject"):
        for trigger in scaler["spec"]["triggers"]:
            asked = trigger["metadata"]
            assert (FLEET_ACCOUNT, subjects.tasks_stream(DEFAULT_SCOPE)) == (asked["account"], asked["stream"])
            assert asked["consumer"] in consumers
            assert "nats-nodes.flotilla.svc.cluster.local:8222" == asked["natsServerMonitoringEndpoint"]
            assert int(asked["lagThreshold"]) >= 1
    assert named(fleet, "nats-nodes", "Service")["spec"]["clusterIP"] == "None"


def test_a_missing_consumer_neither_empties_nor_fills_a_pool(fleets: Mapping[str, Fleet]):
    """
    It is an error, and then what there is stays; and nothing goes below one replica, nor down at once.
    """
    for scaler in kind(fleets["prod+autoscaling-keda"], "ScaledObject"):
        spec = scaler["spec"]
        assert "currentReplicasIfHigher" == spec["fallback"]["behavior"], name_of(scaler)
        assert 1 <= spec["fallback"]["replicas"] == spec["minReplicaCount"] < spec["maxReplicaCount"]
        down = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"]
        assert down["stabilizationWindowSeconds"] >= 300
        assert all(trigger["metricType"] == "AverageValue" for trigger in spec["triggers"])
