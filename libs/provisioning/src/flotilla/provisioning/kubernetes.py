"""
What a fleet on Kubernetes needs and nobody else may see: Secrets with the nkey seeds, one per role, and the NATS
configuration that knows their public keys. `python -m flotilla.provisioning.kubernetes` (`make k8s-secrets`) writes them.

The configuration comes from `server_config`, as that of `flotilla up` does. Seeds are made once and kept: run again
with another scope or pool, it adds what is missing. Everything is written into one folder, which git ignores.
"""

import argparse
import base64
import hashlib
import json
import os
import re
import secrets
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, cast

from msgspec import Struct

from flotilla.chassis.private_files import make_directory, own_place, replace_file
from flotilla.contracts.names import ADMIN, DEFAULT_SCOPE, OBSERVER, ORCHESTRATOR, REDACTION_POOL, SEALED_ORCHESTRATOR
from flotilla.contracts.providers import PROVIDERS, providers_of
from flotilla.contracts.subjects import ZONES, Zone
from flotilla.fabric.errors import FabricError
from flotilla.provisioning import roles
from flotilla.provisioning.credentials import Credentials, load_or_create
from flotilla.provisioning.errors import ServerSpecError
from flotilla.provisioning.server_config import server_config
from flotilla.provisioning.server_spec import CONNECTIONS_MAX, ClusterSpec, JetStreamLimits, ServerSpec, TlsFiles, users

NODES: Final = 3
SEED_KEY: Final = "seed.nk"
CLIENTS: Final = "clients"
GIB: Final = 1024**3
SINGLE_STORAGE_GIB: Final = 11
CLUSTER_STORAGE_GIB: Final = 45
MEMORY_STORE_BYTES: Final = 64 * 1024 * 1024
CONFIG_MAP_BYTES_MAX: Final = 1_000_000
"""What Kubernetes takes (1 MiB), less a little for the names around it."""
VAULT_KEY_OBJECT: Final = "vault-key"
VAULT_KEY_FILE: Final = "vault.key"
"""In the Secret, and in the folder that is written."""
VAULT_KEY_BYTES: Final = 32
PORTAL_OBJECT: Final = "portal-people"
PORTAL_TOKEN_FILE: Final = "portal.token"  # noqa: S105  (a file's name)
PORTAL_TOKEN_BYTES: Final = 32
PROVIDER_KEYS: Final = {provider.secret: provider.key for provider in providers_of("cloud")}
DEFAULT_POOLS: Final[tuple[tuple[Zone, str], ...]] = (
    ("local", "embedded"),
    ("local", REDACTION_POOL),
    *((provider.zone, provider.name) for provider in PROVIDERS if provider.has_pool),
)

_ANY_ADDRESS: Final = "0.0.0.0"  # noqa: S104  (a pod is reached from outside it; network policies say by whom)
_TLS_MOUNT: Final = "/etc/nats-tls"
_TLS: Final = TlsFiles(cert_file=f"{_TLS_MOUNT}/tls.crt", key_file=f"{_TLS_MOUNT}/tls.key")
_ROUTE_TLS: Final = TlsFiles(cert_file=_TLS.cert_file, key_file=_TLS.key_file, ca_file=f"{_TLS_MOUNT}/ca.crt")
_NAMED_BY_POD: Final = "server_name: $POD_NAME\n"
"""Pods share one file. On the command line (`--name`) the server would not find its name again when it reloads."""
_OBJECT_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,198}[a-z0-9])?")


class KubernetesSpec(Struct, frozen=True, kw_only=True):
    """
    The fleet for which to write.

    Attributes:
        vault_pools: Local pools that may reach the vaults, where they are among `pools`.
        sealed: Whether there is a sealed lane, which the component `sealed` serves.
        sealed_scopes: Of the scopes those that have it alone.
        nodes: Of the NATS cluster: the replicas of the StatefulSet `nats`.
        storage_gib: What the streams may take of a node's volume, of a single one and of each of a cluster; below the
            size of the claim. None: SINGLE_STORAGE_GIB and CLUSTER_STORAGE_GIB, which fit the claims of the overlays.
        connections_max: Of each tenant, with its approvers, of each pool, and of observers.
    """

    scopes: tuple[str, ...] = (DEFAULT_SCOPE,)
    pools: tuple[tuple[Zone, str], ...] = DEFAULT_POOLS
    vault_pools: tuple[str, ...] = (REDACTION_POOL,)
    sealed: bool = False
    sealed_scopes: tuple[str, ...] = ()
    namespace: str = "flotilla"
    nodes: int = NODES
    storage_gib: int | None = None
    connections_max: int = CONNECTIONS_MAX


def layouts(spec: KubernetesSpec, public_keys: Mapping[str, str]) -> dict[str, str]:
    """
    The configurations that pods choose from by name: `single`, `cluster`, and each with `-tls`.

    Each is what `server_config` gives, after a line that takes the server's name from the variable POD_NAME.

    Raises:
        ServerSpecError: As `server_config`.
    """

    def text(*, cluster: bool, tls: bool) -> str:
        storage_gib = spec.storage_gib or (CLUSTER_STORAGE_GIB if cluster else SINGLE_STORAGE_GIB)
        return _NAMED_BY_POD + server_config(
            ServerSpec(
                store_dir="/data",
                public_keys=public_keys,
                scopes=spec.scopes,
                pools=spec.pools,
                vault_pools=tuple(pool for pool in spec.vault_pools if ("local", pool) in spec.pools),
                sealed=spec.sealed,
                sealed_scopes=spec.sealed_scopes,
                connections_max=spec.connections_max,
                host=_ANY_ADDRESS,
                monitoring_host=_ANY_ADDRESS,
                monitoring_port=8222,
                jetstream=JetStreamLimits(memory_bytes_max=MEMORY_STORE_BYTES, file_bytes_max=storage_gib * GIB),
                tls=_TLS if tls else None,
                cluster=_cluster(spec, tls=tls) if cluster else None,
            )
        )

    return {
        f"{'cluster' if cluster else 'single'}{'-tls' if tls else ''}": text(cluster=cluster, tls=tls)
        for cluster in (False, True)
        for tls in (False, True)
    }


def manifests(spec: KubernetesSpec, credentials: Credentials, environ: Mapping[str, str]) -> dict[str, str]:
    """
    Every object by its file in the folder: YAML, the same for the same seeds.

    Those under `clients/` belong into the namespaces of those who use them. A provider's Secret is written when its key
    is in `environ`.

    Raises:
        ServerSpecError: A name or number cannot be used, or a configuration is larger than a ConfigMap may be.
    """
    pods = (
        ORCHESTRATOR,
        *((SEALED_ORCHESTRATOR,) if spec.sealed else ()),
        OBSERVER,
        *(roles.worker_user(zone, pool) for zone, pool in spec.pools),
    )
    clients = (
        OBSERVER,
        ADMIN,
        *(of(scope) for of in (roles.tenant_user, roles.approver_user) for scope in spec.scopes),
    )
    return {
        **{f"{secret_name(user)}.yaml": _seed_secret(credentials, user, spec.namespace) for user in pods},
        **{
            f"{name}.yaml": _secret(name, {key: environ[key]}, spec.namespace)
            for name, key in PROVIDER_KEYS.items()
            if environ.get(key)
        },
        **{
            f"config-{name}.yaml": _config_map(name, text, spec.namespace)
            for name, text in layouts(spec, credentials.public_keys).items()
        },
        **{f"{CLIENTS}/{secret_name(user)}.yaml": _seed_secret(credentials, user, None) for user in clients},
    }


def secret_name(user: str) -> str:
    """The Secret that holds a user's seed; two users never share one."""
    plain = "nats-" + user.replace(".", "-").lower()
    # Scopes may have capitals and underscores, which Kubernetes' names may not, and may end with a hyphen.
    name = re.sub(r"[^a-z0-9.-]", "-", plain)
    if name == f"nats-{user.replace('.', '-')}" and _OBJECT_NAME.fullmatch(name):
        return name
    return f"{name}-{hashlib.sha256(user.encode()).hexdigest()[:8]}"


def write(directory: Path, spec: KubernetesSpec, environ: Mapping[str, str]) -> tuple[Path, ...]:
    """
    Write the folder; seeds that are there are kept, and so are the Secrets of providers whose key is not given now.

    Raises:
        FabricError: A name, a seed file or the folder cannot be used.
    """
    _check(spec)
    directory = own_place(directory)
    make_directory(directory)
    credentials = load_or_create(directory / "seeds", users(spec.scopes, spec.pools, sealed=spec.sealed))
    kept = {
        f"{name}.yaml": text
        for name in (*PROVIDER_KEYS, PORTAL_OBJECT)
        if (text := _text_of(directory / f"{name}.yaml")) is not None
    }  # fmt: skip
    files = {**kept, **manifests(spec, credentials, environ)}
    if spec.vault_pools:
        key = _vault_key(directory / VAULT_KEY_FILE)
        files[f"{VAULT_KEY_OBJECT}.yaml"] = _secret(VAULT_KEY_OBJECT, {VAULT_KEY_FILE: key}, spec.namespace)
    if f"{PORTAL_OBJECT}.yaml" not in files:
        files[f"{PORTAL_OBJECT}.yaml"] = _secret(
            PORTAL_OBJECT, _portal_people(directory / PORTAL_TOKEN_FILE), spec.namespace
        )
    files["kustomization.yaml"] = _kustomization(name for name in files if not name.startswith(f"{CLIENTS}/"))
    for name, text in files.items():
        path = directory / name
        make_directory(path.parent)
        replace_file(path, text.encode())
    return tuple(directory / name for name in files)


def main(arguments: Sequence[str]) -> int:
    """Write the folder that the arguments name; gives the exit code."""
    parser = argparse.ArgumentParser(prog="flotilla.provisioning.kubernetes", description=(__doc__ or "").strip())
    parser.add_argument("--directory", type=Path, required=True, help="where to write; keep it out of git")
    parser.add_argument("--namespace", default=KubernetesSpec().namespace)
    parser.add_argument("--scopes", default=DEFAULT_SCOPE, help="tenants, with commas between")
    parser.add_argument("--pools", default=",".join("/".join(pool) for pool in DEFAULT_POOLS), help="zone/pool,...")
    parser.add_argument("--vault-pools", default=REDACTION_POOL, help="local pools that redact, with commas between")
    parser.add_argument("--sealed", action="store_true", help="with a sealed lane, for the component of this name")
    parser.add_argument("--sealed-scopes", default="", help="tenants that have it alone, with commas between")
    parser.add_argument("--nodes", type=int, default=NODES, help="replicas of the StatefulSet nats")
    parser.add_argument("--storage-gib", type=int, help="below the size of a node's claim")
    parser.add_argument("--connections", type=int, default=CONNECTIONS_MAX, help="of each tenant, pool and observers")
    given = parser.parse_args(arguments)
    try:
        spec = KubernetesSpec(
            scopes=tuple(_listed(given.scopes)),
            pools=_pools(given.pools),
            vault_pools=tuple(_listed(given.vault_pools)),
            sealed=given.sealed,
            sealed_scopes=tuple(_listed(given.sealed_scopes)),
            namespace=given.namespace,
            nodes=given.nodes,
            storage_gib=given.storage_gib,
            connections_max=given.connections,
        )
        files = write(given.directory, spec, os.environ)
    except (FabricError, OSError) as error:
        print(f"flotilla.provisioning.kubernetes: {error}", file=sys.stderr)  # noqa: T201  (it is a command)
        return 2
    print(f"{len(files)} files in {given.directory}; next: kubectl apply --server-side -k {given.directory}")  # noqa: T201
    return 0


def _check(spec: KubernetesSpec) -> None:
    if not _OBJECT_NAME.fullmatch(spec.namespace):
        raise ServerSpecError("namespace: expected a name as Kubernetes takes it")
    if spec.nodes not in (1, 3, 5):
        raise ServerSpecError("nodes: expected 1, 3 or 5, so that a majority is left when one is lost")
    if spec.storage_gib is not None and not 1 <= spec.storage_gib <= 64 * 1024:
        raise ServerSpecError("storage_gib: expected 1 to 65536")


def _cluster(spec: KubernetesSpec, *, tls: bool) -> ClusterSpec:
    return ClusterSpec(
        name=spec.namespace.replace(".", "-"),
        routes=tuple(f"nats-route://nats-{node}.nats-nodes:6222" for node in range(spec.nodes)),
        tls=_ROUTE_TLS if tls else None,
    )


def _vault_key(path: Path) -> str:
    """The key of the vaults, made where there is none: with another one nothing in them could be read."""
    kept = _text_of(path)
    if kept is None:
        kept = base64.b64encode(secrets.token_bytes(VAULT_KEY_BYTES)).decode() + "\n"
        replace_file(path, kept.encode())
    return kept.strip()


def _portal_people(token_file: Path) -> dict[str, str]:
    """Who may sign in to the portal at first: one who looks, and acts with no credentials; docs/portal.md adds others."""
    token = secrets.token_urlsafe(PORTAL_TOKEN_BYTES)
    replace_file(token_file, f"{token}\n".encode())
    digest = hashlib.sha256(token.encode()).hexdigest()
    return {
        "people.toml": f'[[person]]\nname = "operator"\nrole = "viewer"\ntoken_sha256 = "{digest}"\n',
        "session.key": base64.b64encode(secrets.token_bytes(PORTAL_TOKEN_BYTES)).decode(),
    }


def _seed_secret(credentials: Credentials, user: str, namespace: str | None) -> str:
    seed = credentials.path(user).read_text("ascii").strip()
    return _secret(secret_name(user), {SEED_KEY: seed}, namespace)


def _secret(name: str, values: Mapping[str, str], namespace: str | None) -> str:
    # A JSON string is a YAML string, whatever it holds.
    data = "".join(f"  {key}: {json.dumps(value)}\n" for key, value in values.items())
    return f"{_head('Secret', name, namespace)}type: Opaque\nstringData:\n{data}"


def _config_map(layout: str, text: str, namespace: str) -> str:
    if len(text.encode()) > CONFIG_MAP_BYTES_MAX:
        raise ServerSpecError("scopes: more than the NATS configuration can hold in one ConfigMap")
    indented = "".join(f"    {line}\n" for line in text.splitlines())
    return f"{_head('ConfigMap', f'nats-config-{layout}', namespace)}data:\n  {layout}.conf: |\n{indented}"


def _head(kind: str, name: str, namespace: str | None) -> str:
    placed = f"  namespace: {namespace}\n" if namespace is not None else ""
    label = "  labels:\n    app.kubernetes.io/part-of: flotilla\n"
    return f"apiVersion: v1\nkind: {kind}\nmetadata:\n  name: {name}\n{placed}{label}"


def _kustomization(names: Iterable[str]) -> str:
    listed = "".join(f"  - {name}\n" for name in sorted(names))
    return f"apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n{listed}"


def _text_of(path: Path) -> str | None:
    return path.read_text("utf-8") if path.is_file() else None


def _listed(text: str) -> list[str]:
    return [part for part in re.split(r"[,\s]+", text) if part]


def _pools(text: str) -> tuple[tuple[Zone, str], ...]:
    pairs = [part.partition("/") for part in _listed(text)]
    if any(zone not in ZONES for zone, _, _ in pairs):
        such = ",".join("/".join(pool) for pool in DEFAULT_POOLS[:2])
        raise ServerSpecError(f"pools: expected zone/pool with commas between, such as {such}")
    return tuple((cast("Zone", zone), pool) for zone, _, pool in pairs)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
