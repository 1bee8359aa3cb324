"""
What a nats-server's configuration is written from: one value for a node, and what it may say.

Values become text of another language here, so each is checked: none may say more than it should.
"""

import ipaddress
import re
from collections.abc import Iterable, Mapping
from typing import Final

from msgspec import Struct

from flotilla.contracts.names import (
    ADMIN,
    DEFAULT_SCOPE,
    OBSERVER,
    ORCHESTRATOR,
    POOLS_MAX,
    SEALED_ORCHESTRATOR,
    is_name,
    is_scope,
)
from flotilla.contracts.subjects import ZONES, Zone
from flotilla.provisioning import roles
from flotilla.provisioning.errors import ServerSpecError

FLEET_ACCOUNT: Final = "FLEET"
SYSTEM_ACCOUNT: Final = "SYS"
"""A scope's name has no dots: none can be this one, or a pool's."""
RANDOM_PORT: Final = -1
MAX_PAYLOAD_BYTES: Final = 8 * 1024 * 1024
SCOPES_MAX: Final = 1000
ROUTES_MAX: Final = 100
CONNECTIONS_MAX: Final = 512
SUBSCRIPTIONS_MAX: Final = 512
"""
Of one connection; a worker has one for each of its 256 capabilities at most. A subscription costs the server some 3 KB, or
three times that with the longest subject: what an account may have of both is what it can take of the server's memory.
"""
PORT_MAX: Final = 65_535

_PUBLIC_KEY: Final = re.compile(r"U[A-Z2-7]{55}")
_SERVER_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
_HOST: Final = re.compile(r"[A-Za-z0-9_.:-]{1,253}")
_ROUTE: Final = re.compile(r"(?:nats(?:-route)?|tls)://[A-Za-z0-9_.:\[\]-]{1,253}")
_RESERVED: Final = frozenset({FLEET_ACCOUNT, SYSTEM_ACCOUNT})


class TlsFiles(Struct, frozen=True, kw_only=True):
    """
    Paths of PEM files, as the server sees them.

    Attributes:
        ca_file: With it, peers must show a certificate of this CA.
    """

    cert_file: str
    key_file: str
    ca_file: str | None = None


class ClusterSpec(Struct, frozen=True, kw_only=True):
    """
    The other nodes.

    Attributes:
        routes: URLs such as `nats-route://nats-1.nats:6222`, this node's own included if that is simpler.
        tls: For routes; its CA is checked on both sides.
    """

    name: str
    routes: tuple[str, ...]
    listen_host: str = "0.0.0.0"  # noqa: S104  (the other nodes must reach it)
    listen_port: int = 6222
    tls: TlsFiles | None = None


class JetStreamLimits(Struct, frozen=True, kw_only=True):
    """
    What streams may reserve on one node.

    Attributes:
        file_bytes_max: Must hold the sum of the streams' own bounds (`topology.py`), which are what limits the disk;
            nothing is allocated ahead. Set to the volume's size, it refuses streams that the volume could not hold.
        sync_always: Write through to the disk before every PubAck. Without it an acknowledged task survives the crash
            of any process, but with a single node a power cut may lose the last minutes.
    """

    memory_bytes_max: int = 256 * 1024 * 1024
    file_bytes_max: int = 512 * 1024 * 1024 * 1024
    sync_always: bool = False


class ServerSpec(Struct, frozen=True, kw_only=True):
    """
    Everything that the configuration of one node says.

    Attributes:
        port: Of clients; `RANDOM_PORT` takes a free one.
        store_dir: Of JetStream.
        server_name: "" leaves it to the command line (`--server_name`), as pods that share one file must.
        public_keys: By user name; must hold every name of `users(spec.scopes, spec.pools, sealed=spec.sealed)`.
        vault_pools: Pools of the local zone, among `pools`, whose workers redact and restore.
        sealed: Whether there is a sealed lane: an account for its orchestrators, which pools of the local zone serve.
        sealed_scopes: Scopes, among `scopes`, that have the sealed lane alone: all that they publish is sealed.
        connections_max: Of each account that is not the fleet's own: a tenant's with its approvers, a pool's, the observer's.
        no_auth_scope: The tenant that a client without credentials is. Loopback only.
        monitoring_port: Of the HTTP endpoints (`/healthz`, `/varz`), on `monitoring_host`.
        ports_dir: Where the server writes the ports that it took.
        log_file: None logs to standard error.
    """

    store_dir: str
    public_keys: Mapping[str, str]
    scopes: tuple[str, ...] = (DEFAULT_SCOPE,)
    pools: tuple[tuple[Zone, str], ...] = ()
    vault_pools: tuple[str, ...] = ()
    sealed: bool = False
    sealed_scopes: tuple[str, ...] = ()
    connections_max: int = CONNECTIONS_MAX
    no_auth_scope: str | None = None
    host: str = "127.0.0.1"
    port: int = 4222
    server_name: str = ""
    monitoring_host: str = "127.0.0.1"
    monitoring_port: int | None = None
    max_payload_bytes: int = MAX_PAYLOAD_BYTES
    jetstream: JetStreamLimits = JetStreamLimits()
    tls: TlsFiles | None = None
    cluster: ClusterSpec | None = None
    ports_dir: str | None = None
    log_file: str | None = None


def users(scopes: Iterable[str], pools: Iterable[tuple[Zone, str]], *, sealed: bool = False) -> tuple[str, ...]:
    """The names of every user of a fleet, for `credentials.load_or_create`."""
    return (
        ORCHESTRATOR,
        *((SEALED_ORCHESTRATOR,) if sealed else ()),
        OBSERVER,
        ADMIN,
        *(roles.worker_user(zone, pool) for zone, pool in pools),
        *(roles.tenant_user(scope) for scope in scopes),
        *(roles.approver_user(scope) for scope in scopes),
    )


def check_spec(spec: ServerSpec) -> None:
    """
    See that a configuration can be written from it.

    Raises:
        ServerSpecError: A value is missing, out of bounds, or could say more than it should; names the field.
    """
    _require(1 <= len(spec.scopes) <= SCOPES_MAX, "scopes", f"1 to {SCOPES_MAX} of them")
    _require(len(set(spec.scopes)) == len(spec.scopes), "scopes", "different names")
    for scope in spec.scopes:
        _require(is_scope(scope) and scope not in _RESERVED, "scopes", "1 to 63 of A-Za-z0-9_-, not FLEET or SYS")
    _require(len(spec.pools) <= POOLS_MAX, "pools", f"at most {POOLS_MAX} of them")
    _require(len(set(spec.pools)) == len(spec.pools), "pools", "different names")
    for zone, pool in spec.pools:
        _require(zone in ZONES and is_name(pool), "pools", "a zone, and 1 to 63 of a-z0-9-")
    _require(len(set(spec.vault_pools)) == len(spec.vault_pools), "vault_pools", "different names")
    for pool in spec.vault_pools:
        _require(("local", pool) in spec.pools, "vault_pools", "pools of the local zone that stand in pools")
    _require(spec.sealed or not spec.sealed_scopes, "sealed_scopes", "none without a sealed lane (sealed)")
    _require(set(spec.sealed_scopes) <= set(spec.scopes), "sealed_scopes", "scopes that stand in scopes")
    _require(1 <= spec.connections_max <= PORT_MAX, "connections_max", f"1 to {PORT_MAX}")
    _check_users(spec)
    _require(_HOST.fullmatch(spec.host) is not None, "host", "a host name or address")
    _require(_HOST.fullmatch(spec.monitoring_host) is not None, "monitoring_host", "a host name or address")
    _check_port(spec.port, "port")
    if spec.monitoring_port is not None:
        _check_port(spec.monitoring_port, "monitoring_port")
    _require(not spec.server_name or _SERVER_NAME.fullmatch(spec.server_name) is not None, "server_name", "a name")
    _require(1024 <= spec.max_payload_bytes <= MAX_PAYLOAD_BYTES, "max_payload_bytes", f"1024 to {MAX_PAYLOAD_BYTES}")  # noqa: PLR2004
    if spec.cluster is not None:
        _check_cluster(spec.cluster)


def _check_users(spec: ServerSpec) -> None:
    names = users(spec.scopes, spec.pools, sealed=spec.sealed)
    for name in names:
        key = spec.public_keys.get(name, "")
        _require(_PUBLIC_KEY.fullmatch(key) is not None, "public_keys", f"a user's public nkey for {name}")
    keys = {spec.public_keys[name] for name in names}
    _require(len(keys) == len(names), "public_keys", "a key of its own for each user")
    if spec.no_auth_scope is not None:
        _require(spec.no_auth_scope in spec.scopes, "no_auth_scope", "one of the scopes")
        _require(_is_loopback(spec.host), "no_auth_scope", "a loopback host; elsewhere every client needs credentials")


def _check_cluster(cluster: ClusterSpec) -> None:
    _require(_SERVER_NAME.fullmatch(cluster.name) is not None, "cluster.name", "a name")
    _require(_HOST.fullmatch(cluster.listen_host) is not None, "cluster.listen_host", "a host name or address")
    _check_port(cluster.listen_port, "cluster.listen_port")
    _require(len(cluster.routes) <= ROUTES_MAX, "cluster.routes", f"at most {ROUTES_MAX} of them")
    for route in cluster.routes:
        _require(_ROUTE.fullmatch(route) is not None, "cluster.routes", "nats-route://host:port without credentials")


def _check_port(port: int, field: str) -> None:
    _require(port == RANDOM_PORT or 1 <= port <= PORT_MAX, field, f"1 to {PORT_MAX}, or {RANDOM_PORT} for a free one")


def _require(holds: bool, field: str, expected: str) -> None:  # noqa: FBT001  (reads as a sentence)
    if not holds:
        raise ServerSpecError(f"{field}: expected {expected}")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
