"""What `make k8s-secrets` writes, and that real servers accept it."""

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from flotilla.contracts.subjects import Zone
from flotilla.fabric.seed_files import public_key_of
from flotilla.inference.redaction.vault_keys import vault_keys
from flotilla.provisioning import kubernetes
from flotilla.provisioning.credentials import load_or_create
from flotilla.provisioning.embedded_server import find_nats_server
from flotilla.provisioning.errors import ServerSpecError
from flotilla.provisioning.kubernetes import GIB, KubernetesSpec, layouts, secret_name
from flotilla.provisioning.server_config import server_config
from flotilla.provisioning.server_spec import ClusterSpec, JetStreamLimits, ServerSpec, TlsFiles, users
from flotilla.provisioning.topology import TopologyLimits, topology
from flotilla.testkit.manifests import (
    REPOSITORY,
    Fleet,
    Manifest,
    containers_of,
    documents,
    environment_of,
    kind,
    name_of,
    named,
    pod_of,
    render,
)
from portal.access.people import load_people
from portal.access.sessions import session_key

SPEC = KubernetesSpec(scopes=("default", "acme"), sealed=True, sealed_scopes=("acme",))
LAYOUTS = ("single", "single-tls", "cluster", "cluster-tls")
TLS = "/etc/nats-tls"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """
    What the command writes for two scopes and every pool.
    """
    kubernetes.write(tmp_path / "secrets", SPEC, {})
    return tmp_path / "secrets"


def seeds_of(folder: Path) -> dict[str, bytes]:
    """By user."""
    return {path.stem: path.read_bytes().strip() for path in (folder / "seeds").iterdir()}


def written(folder: Path, pattern: str = "**/*.yaml") -> list[Manifest]:
    """Every object in the folder."""
    return [manifest for path in sorted(folder.glob(pattern)) for manifest in documents(path.read_text())]


def test_the_configuration_is_that_of_the_embedded_server(folder: Path):
    """
    The same function writes both: accounts, roles, exports, limits; only addresses, sizes and certificates are a cluster's.
    """
    credentials = load_or_create(folder / "seeds", users(SPEC.scopes, SPEC.pools, sealed=True))
    expected = "server_name: $POD_NAME\n" + server_config(
        ServerSpec(
            store_dir="/data",
            public_keys=credentials.public_keys,
            scopes=("default", "acme"),
            pools=SPEC.pools,
            vault_pools=("redaction",),
            sealed=True,
            sealed_scopes=("acme",),
            host="0.0.0.0",  # noqa: S104
            monitoring_host="0.0.0.0",  # noqa: S104
            monitoring_port=8222,
            jetstream=JetStreamLimits(memory_bytes_max=64 * 2**20, file_bytes_max=45 * GIB),
            tls=TlsFiles(cert_file=f"{TLS}/tls.crt", key_file=f"{TLS}/tls.key"),
            cluster=ClusterSpec(
                name="flotilla",
                routes=tuple(f"nats-route://nats-{node}.nats-nodes:6222" for node in range(3)),
                tls=TlsFiles(cert_file=f"{TLS}/tls.crt", key_file=f"{TLS}/tls.key", ca_file=f"{TLS}/ca.crt"),
            ),
        )
    )
    [config] = written(folder, "config-cluster-tls.yaml")

    assert expected == config["data"]["cluster-tls.conf"]
    assert set(LAYOUTS) == set(layouts(SPEC, credentials.public_keys))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_real_server_accepts_each_configuration(layout: str, folder: Path, tmp_path: Path, certificates: Path):
    """
    As `nats-server -t` reads it, with the volumes' paths replaced.
    """
    [config] = written(folder, f"config-{layout}.yaml")
    text = config["data"][f"{layout}.conf"].replace('"/data"', f'"{tmp_path}"').replace(TLS, str(certificates))
    (tmp_path / "nats.conf").write_text(text)

    done = subprocess.run(
        [find_nats_server(), "-t", "-c", tmp_path / "nats.conf"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={"POD_NAME": "nats-0"},
    )

    assert 0 == done.returncode, done.stderr


def test_each_role_has_a_secret_with_its_own_seed(folder: Path):
    """
    Pods' and clients' alike; and the configuration knows the public key of each once.
    """
    secrets = {
        name_of(secret): secret["stringData"]["seed.nk"].encode()
        for secret in kind(written(folder), "Secret")
        if name_of(secret) not in (kubernetes.VAULT_KEY_OBJECT, kubernetes.PORTAL_OBJECT)
    }
    expected = {secret_name(user): seed for user, seed in seeds_of(folder).items()}

    assert expected == secrets
    assert set(seeds_of(folder)) == set(users(SPEC.scopes, SPEC.pools, sealed=True))
    for config in kind(written(folder), "ConfigMap"):
        [text] = config["data"].values()
        assert {1} == {text.count(public_key_of(seed)) for seed in secrets.values()}


def test_the_key_of_the_vaults_is_made_once_and_stands_in_one_secret(folder: Path):
    """
    A worker takes it; written again, it is the same: with another one nothing in the vaults could be read.
    """
    [before] = written(folder, "vault-key.yaml")
    kubernetes.write(folder, SPEC, {})
    [after] = written(folder, "vault-key.yaml")
    text = after["stringData"]["vault.key"]

    assert before == after
    assert len(vault_keys(text, None)) == 1
    assert text == (folder / "vault.key").read_text().strip()
    holding = [path.name for path in folder.rglob("*.yaml") if text in path.read_text()]
    assert ["vault-key.yaml"] == holding


def test_the_portal_knows_one_who_may_look_and_keeps_who_was_added(folder: Path, tmp_path: Path):
    """
    The token stands in a file beside the Secrets, its digest in the Secret; written again, neither changes.
    """
    [secret] = written(folder, "portal-people.yaml")
    place = tmp_path / "mounted"
    place.mkdir()
    for name, text in secret["stringData"].items():
        (place / name).write_text(text)
    token = (folder / "portal.token").read_text().strip()
    person = load_people(place / "people.toml").with_token(token)
    added = (folder / "portal-people.yaml").read_text() + "# and another\n"
    (folder / "portal-people.yaml").write_text(added)
    kubernetes.write(folder, SPEC, {})

    assert person is not None
    assert ("viewer", None) == (person.role, person.creds)
    assert token not in str(secret)
    assert session_key(place / "session.key")
    assert added == (folder / "portal-people.yaml").read_text()
    assert token == (folder / "portal.token").read_text().strip()


def test_no_configuration_holds_a_seed(folder: Path):
    """
    Public keys are no secret, so a ConfigMap may hold them; nothing else may be in it.
    """
    seeds = seeds_of(folder).values()
    for config in kind(written(folder), "ConfigMap"):
        assert not any(seed.decode() in str(config) for seed in seeds)


def test_what_pods_need_is_applied_and_what_clients_need_is_not(folder: Path, kustomize: tuple[str, ...]):
    """
    Neither the admin's seed nor a tenant's comes into the fleet's namespace.
    """
    applied = render(folder, kustomize)

    assert {"flotilla"} == {manifest["metadata"]["namespace"] for manifest in applied}
    assert {
        "nats-observer",
        "nats-orchestrator",
        "portal-people",
        "nats-orchestrator-sealed",
        "vault-key",
        *(f"nats-{zone}-{pool}" for zone, pool in SPEC.pools),
    } == {name_of(secret) for secret in kind(applied, "Secret")}
    clients = written(folder, "clients/*.yaml")
    tenants = {f"nats-{role}-{scope}" for role in ("tenant", "approver") for scope in SPEC.scopes}
    assert {"nats-admin", "nats-observer", *tenants} == {name_of(client) for client in clients}
    assert all("namespace" not in client["metadata"] for client in clients)


def test_pods_mount_what_the_command_writes(folder: Path, fleets: Mapping[str, Fleet], kustomize: tuple[str, ...]):
    """
    Every configuration and seed that a manifest names, under the key that it names.
    """
    applied = {(manifest["kind"], name_of(manifest)) for manifest in render(folder, kustomize)}
    for fleet in fleets.values():
        for workload in kind(fleet, "Deployment", "StatefulSet"):
            for volume in pod_of(workload).get("volumes", []):
                if volume["name"] == "nats":
                    assert ("Secret", volume["secret"]["secretName"]) in applied
                for source in volume.get("projected", {}).get("sources", []):
                    assert ("ConfigMap", source["configMap"]["name"]) in applied


def test_nodes_start_with_a_configuration_that_is_there(fleets: Mapping[str, Fleet]):
    """
    The variables that choose the file, put in as Kubernetes does.
    """
    seen: set[str] = set()
    for fleet in fleets.values():
        container = containers_of(named(fleet, "nats", "StatefulSet"))[0]
        environment = environment_of(container)
        layout = f"{environment['NATS_TOPOLOGY']}{environment['NATS_TRANSPORT']}"
        assert "$(NATS_TOPOLOGY)$(NATS_TRANSPORT)" == environment["NATS_LAYOUT"]
        assert ["--config", "/etc/nats/$(NATS_LAYOUT).conf"] == container["args"]
        assert "POD_NAME" in environment
        names = list(environment)
        assert names.index("NATS_LAYOUT") > max(names.index("NATS_TOPOLOGY"), names.index("NATS_TRANSPORT"))
        seen.add(layout)

    assert set(LAYOUTS) == seen


def test_a_fleet_without_a_sealed_lane_has_nothing_of_it(tmp_path: Path):
    """
    Neither a seed nor an account; and no tenant has a lane alone that is not there.
    """
    plain = KubernetesSpec(scopes=("default", "acme"))
    kubernetes.write(tmp_path / "plain", plain, {})
    written_files = "".join(path.read_text() for path in (tmp_path / "plain").glob("*.yaml"))

    assert "sealed" not in written_files
    with pytest.raises(ServerSpecError, match="sealed_scopes"):
        kubernetes.write(tmp_path / "none", msgspec.structs.replace(plain, sealed_scopes=("acme",)), {})


def test_running_it_again_keeps_what_is_there(folder: Path):
    """
    A new scope or pool is added; nobody's credentials change.
    """
    before = seeds_of(folder)
    wider = msgspec.structs.replace(SPEC, scopes=("default", "acme", "umbrella"))

    kubernetes.write(folder, wider, {})

    after = seeds_of(folder)
    assert after == before | {name: after[name] for name in ("tenant.umbrella", "approver.umbrella")}


def test_a_providers_key_is_written_once_given_and_kept(folder: Path, kustomize: tuple[str, ...]):
    """
    From the environment, whatever characters it has; a later run without it keeps it.
    """
    key = 'sk-"\\${x}: #é'
    kubernetes.write(folder, SPEC, {"ANTHROPIC_API_KEY": key})
    kubernetes.write(folder, SPEC, {})

    secret = named(render(folder, kustomize), "provider-anthropic", "Secret")
    assert {"ANTHROPIC_API_KEY": key} == secret["stringData"]


def test_nobody_else_can_read_it(folder: Path):
    """
    Neither files nor folders, and git does not see them.
    """
    assert {0o700} == {path.stat().st_mode & 0o777 for path in (folder, folder / "seeds", folder / "clients")}
    assert {0o600} == {path.stat().st_mode & 0o777 for path in folder.rglob("*") if path.is_file()}
    ignored = subprocess.run(
        ["git", "check-ignore", "-q", "deploy/k8s/secrets/nats-orchestrator.yaml"],
        cwd=REPOSITORY,
        timeout=30,
        check=False,
    )
    assert 0 == ignored.returncode


def test_users_never_share_a_secret():
    """
    Scopes may differ in what Kubernetes' names cannot say.
    """
    scopes = ("acme", "ACME", "ac_me", "ac-me", "Acme", "acme-")
    names = [secret_name(user) for user in users(scopes, ())]

    assert len(names) == len(set(names))
    assert all(kubernetes._OBJECT_NAME.fullmatch(name) for name in names)  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("nodes", 2),
        ("nodes", 0),
        ("namespace", "Fleet"),
        ("namespace", "a\nb"),
        ("storage_gib", 0),
        ("scopes", ("FLEET",)),
    ],
)
def test_it_refuses_what_could_not_work(field: str, value: Any, tmp_path: Path):
    """
    Before anything is written.
    """
    with pytest.raises(ServerSpecError):
        kubernetes.write(tmp_path / "secrets", msgspec.structs.replace(SPEC, **{field: value}), {})


def test_the_command_says_what_comes_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """
    And 2 for arguments that cannot be used, with one line.
    """
    directory = str(tmp_path / "secrets")
    assert 0 == kubernetes.main(["--directory", directory, "--scopes", "default acme", "--pools", "local/ollama"])
    assert "kubectl apply --server-side -k" in capsys.readouterr().out
    assert 2 == kubernetes.main(["--directory", directory, "--pools", "moon/ollama"])
    assert 1 == capsys.readouterr().err.count("\n")


def test_volumes_hold_what_streams_may_take(dev: Fleet, prod: Fleet):
    """
    The server's limit is below the claim, and every stream of two tenants fits it; memory the same.
    """
    needed = sum(config.max_bytes for config in topology(("default", "acme"), TopologyLimits()))
    for fleet, limit_gib in ((dev, kubernetes.SINGLE_STORAGE_GIB), (prod, kubernetes.CLUSTER_STORAGE_GIB)):
        nats = named(fleet, "nats", "StatefulSet")
        claimed = nats["spec"]["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"]
        assert needed <= limit_gib * GIB < int(claimed.removesuffix("Gi")) * GIB
        memory_limit = containers_of(nats)[0]["resources"]["limits"]["memory"]
        assert 4 * kubernetes.MEMORY_STORE_BYTES <= int(memory_limit.removesuffix("Gi")) * GIB


def test_storage_that_is_asked_for_counts_for_a_single_node_as_for_a_cluster(tmp_path: Path):
    """
    Of each the claim may have been made larger.
    """
    spec = KubernetesSpec(storage_gib=20)
    found = layouts(spec, load_or_create(tmp_path, users(spec.scopes, spec.pools)).public_keys)

    assert {name: f'"max_file_store": {20 * GIB}' in text for name, text in found.items()} == dict.fromkeys(
        LAYOUTS, True
    )


def test_the_default_pools_are_those_of_the_manifests(fleets: Mapping[str, Fleet]):
    """
    So that whatever an overlay brings finds its seed.
    """
    found = {
        (settings["FLOTILLA_ZONE"], settings["FLOTILLA_POOL"])
        for fleet in fleets.values()
        for workload in kind(fleet, "Deployment")
        if "FLOTILLA_POOL" in (settings := environment_of(containers_of(workload)[0]))
    }
    pools: set[tuple[Zone, str]] = set(kubernetes.DEFAULT_POOLS)
    assert pools == found
