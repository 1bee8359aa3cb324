"""
The configuration of a nats-server, written from one value: accounts, roles, imports, exports and limits.

Pure. `flotilla up` and the Kubernetes manifests both use it, so what runs on a laptop has the permissions of
production. An account is the boundary: FLEET holds the streams, the orchestrators and the admin; each scope, each pool and
the observer have an account of their own, and a message crosses only on subjects that both sides name. The vaults are in
an account that nobody is in: local pools that are marked for it ask for its bucket by a few services, and orchestrators
and the admin of FLEET can neither read, list nor mirror it. The sealed lane is an account of the same form as FLEET with
streams of its own, which exports nothing to a cloud pool, and in which its orchestrators alone are: within FLEET the
right to make streams, which every orchestrator has, would let an ordinary one mirror what is sealed.

What tenants and the observer ask are services: the server puts a reply subject of its own in the place of theirs. What
passes between the fleet and a pool are streams, one way each: neither side answers what it gets on a subject that the
other has named, and the server keeps nothing of an attempt. As services, attempts would cost it 13 us more each.
"""

import ipaddress
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from msgspec import Struct

from flotilla.contracts.headers import ASK_DEADLINE_MS_MAX
from flotilla.contracts.names import (
    ADMIN,
    DEFAULT_SCOPE,
    OBSERVER,
    OBSERVER_ACCOUNT,
    ORCHESTRATOR,
    POOLS_MAX,
    SEALED_ACCOUNT,
    SEALED_ORCHESTRATOR,
    VAULT_ACCOUNT,
    is_name,
    is_scope,
)
from flotilla.contracts.subjects import ZONES, Zone
from flotilla.fabric.jetstream_api import ACCOUNT_INFO
from flotilla.provisioning import roles
from flotilla.provisioning.config_language import block
from flotilla.provisioning.errors import ServerSpecError

FLEET_ACCOUNT: Final = "FLEET"
SYSTEM_ACCOUNT: Final = "SYS"
"""A scope's name has no dots: none can be this one, or a pool's."""
RANDOM_PORT: Final = -1
MAX_PAYLOAD_BYTES: Final = 8 * 1024 * 1024
SCOPES_MAX: Final = 1000
ROUTES_MAX: Final = 100
PORT_MAX: Final = 65_535
LOG_FILE_BYTES_MAX: Final = 16 * 1024 * 1024
LOG_FILES_MAX: Final = 3
ASK_REPLY_THRESHOLD_S: Final = ASK_DEADLINE_MS_MAX // 1000 + 300
"""
How long the server keeps the way back of an `ask` on which nothing arrives. Its default of two minutes would drop the
answer of a longer task; an empty last message ends it at once (nats-server, `processServiceImport`: `shouldRemove`).
"""
SEVERAL_REPLIES_THRESHOLD_S: Final = 5
"""The same for discovery and the listing of a bucket, whose last reply nobody marks."""
PING_INTERVAL_S: Final = 3
PINGS_OUTSTANDING_MAX: Final = 2
"""
A member that is frozen, or whose machine died, leaves its queue group 6 to 9 s after its last word; the server's default
would take up to six minutes. One whose event loop stands still for less keeps its connection.
"""
ROUTE_PING_INTERVAL_S: Final = 10
"""Between nodes: a route that is dropped costs everybody more, and is made again by both sides."""
LAME_DUCK_GRACE_S: Final = 5
LAME_DUCK_S: Final = 30

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
    )


def pool_account(zone: Zone, pool: str) -> str:
    """The account of a pool's workers."""
    return f"POOL.{zone}.{pool}"


def server_config(spec: ServerSpec) -> str:
    """
    Write the configuration.

    Raises:
        ServerSpecError: A value is missing, out of bounds, or could say more than it should; names the field.
    """
    _check(spec)
    config: dict[str, Any] = {
        "host": spec.host,
        "port": spec.port,
        "max_payload": spec.max_payload_bytes,
        "ping_interval": f"{PING_INTERVAL_S}s",
        "ping_max": PINGS_OUTSTANDING_MAX,
        "lame_duck_grace_period": f"{LAME_DUCK_GRACE_S}s",
        "lame_duck_duration": f"{LAME_DUCK_S}s",
        "jetstream": _jetstream(spec),
        "system_account": SYSTEM_ACCOUNT,
        "accounts": {
            FLEET_ACCOUNT: _fleet(spec),
            **{scope: _tenant(spec, scope) for scope in spec.scopes},
            OBSERVER_ACCOUNT: _observer(spec),
            **{pool_account(zone, pool): _pool(spec, zone, pool) for zone, pool in spec.pools},
            **({VAULT_ACCOUNT: _vault(spec)} if spec.vault_pools else {}),
            **({SEALED_ACCOUNT: _sealed(spec)} if spec.sealed else {}),
            SYSTEM_ACCOUNT: {},
        },
    }
    if spec.server_name:
        config["server_name"] = spec.server_name
    if spec.no_auth_scope is not None:
        config["no_auth_user"] = spec.public_keys[roles.tenant_user(spec.no_auth_scope)]
    if spec.monitoring_port is not None:
        config["http"] = f"{_bracketed(spec.monitoring_host)}:{spec.monitoring_port}"
    if spec.tls is not None:
        config["tls"] = _tls(spec.tls)
    if spec.cluster is not None:
        config["cluster"] = _cluster(spec.cluster)
    if spec.ports_dir is not None:
        config["ports_file_dir"] = spec.ports_dir
    if spec.log_file is not None:
        config |= {"log_file": spec.log_file, "log_size_limit": LOG_FILE_BYTES_MAX, "log_max_num": LOG_FILES_MAX}
    return block(config)


def _jetstream(spec: ServerSpec) -> dict[str, Any]:
    limits = spec.jetstream
    block: dict[str, Any] = {
        "store_dir": spec.store_dir,
        "max_memory_store": limits.memory_bytes_max,
        "max_file_store": limits.file_bytes_max,
    }
    if limits.sync_always:
        block["sync_interval"] = "always"
    return block


def _fleet(spec: ServerSpec) -> dict[str, Any]:
    members = (roles.orchestrator(blackboards=spec.scopes), roles.admin())
    return {
        "jetstream": "enabled",
        "users": [_user(spec, role) for role in members],
        "exports": [
            *_for_tenants(),
            *(
                {"stream": subject, "accounts": [pool_account(zone, pool)]}
                for zone, pool in spec.pools
                for subject in roles.handed_to_pool(zone, pool)
            ),
            *_for_observer(spec),
        ],
        "imports": [
            imported
            for zone, pool in spec.pools
            for imported in (
                *({"stream": _of(pool_account(zone, pool), subject)} for subject in roles.told_by_pool(zone, pool)),
                {"service": _of(pool_account(zone, pool), roles.DISCOVERY)},
            )
        ]
        + ([{"service": _of(SEALED_ACCOUNT, roles.DISCOVERY)}] if spec.sealed else []),
    }


def _for_tenants() -> list[dict[str, Any]]:
    tasks, ask, api = roles.services("*")
    return [
        _service(tasks, "singleton"),
        _service(ask, "stream") | {"response_threshold": f"{ASK_REPLY_THRESHOLD_S}s"},
        _service(api, "singleton"),
        *({"stream": subject, "account_token_position": 2} for subject in roles.streams("*")),
    ]


def _sealed(spec: ServerSpec) -> dict[str, Any]:
    local = [pool for zone, pool in spec.pools if zone == "local"]
    return {
        "jetstream": "enabled",
        "users": [_user(spec, roles.sealed_orchestrator(blackboards=spec.scopes))],
        "exports": [
            *_for_tenants(),
            *(
                {"stream": subject, "accounts": [pool_account("local", pool)]}
                for pool in local
                for subject in roles.handed_to_pool("local", pool)
            ),
            # Who serves the lane, and nothing of a task: what `flotilla status` shows.
            _several_replies(roles.DISCOVERY) | {"accounts": [FLEET_ACCOUNT]},
        ],
        "imports": [
            {"stream": _of(pool_account("local", pool), subject)}
            for pool in local
            for subject in roles.told_to_sealed_lane(pool)
        ],
    }


def _for_observer(spec: ServerSpec) -> list[dict[str, Any]]:
    one, several = roles.asked_by_observer(spec.scopes)
    exports = (
        *({"service": subject, "response_type": "singleton"} for subject in (ACCOUNT_INFO, *one)),
        *(_several_replies(subject) for subject in several),
        *({"stream": subject} for subject in roles.told_to_observer()),
    )
    return [export | {"accounts": [OBSERVER_ACCOUNT]} for export in exports]


def _observer(spec: ServerSpec) -> dict[str, Any]:
    one, several = roles.asked_by_observer(spec.scopes)
    # An account without streams of its own would answer its members' JetStream requests itself, with a refusal that
    # comes first. It does not when it imports this one, which no permission lets through.
    services = (ACCOUNT_INFO, *one, *several)
    return {
        "users": [_user(spec, roles.observer(spec.scopes))],
        "imports": [
            *({"service": _of(FLEET_ACCOUNT, subject)} for subject in services),
            *({"stream": _of(FLEET_ACCOUNT, subject)} for subject in roles.told_to_observer()),
        ],
    }


def _vault(spec: ServerSpec) -> dict[str, Any]:
    pools = [pool_account("local", pool) for pool in spec.vault_pools]
    exports = (ACCOUNT_INFO, *roles.asked_of_vault())
    return {
        "jetstream": "enabled",
        "exports": [{"service": subject, "response_type": "singleton", "accounts": pools} for subject in exports],
    }


def _has_vault(spec: ServerSpec, zone: Zone, pool: str) -> bool:
    return zone == "local" and pool in spec.vault_pools


def _pool(spec: ServerSpec, zone: Zone, pool: str) -> dict[str, Any]:
    vault = _has_vault(spec, zone, pool)
    # With the account's info, which no permission lets through, for the reason that `_observer` gives.
    services = (ACCOUNT_INFO, *roles.asked_of_vault()) if vault else ()
    sealed = spec.sealed and zone == "local"
    told = {subject: [FLEET_ACCOUNT] for subject in roles.told_by_pool(zone, pool)}
    for subject in roles.told_to_sealed_lane(pool) if sealed else ():
        told[subject] = [*told.get(subject, ()), SEALED_ACCOUNT]
    return {
        "users": [_user(spec, roles.worker(zone, pool, vault=vault, sealed=sealed))],
        "exports": [
            _several_replies(roles.DISCOVERY) | {"accounts": [FLEET_ACCOUNT]},
            *({"stream": subject, "accounts": accounts} for subject, accounts in told.items()),
        ],
        "imports": [
            *(
                {"stream": _of(account, subject)}
                for account in (FLEET_ACCOUNT, *((SEALED_ACCOUNT,) if sealed else ()))
                for subject in roles.handed_to_pool(zone, pool)
            ),
            *({"service": _of(VAULT_ACCOUNT, subject)} for subject in services),
        ],
    }


def _several_replies(subject: str) -> dict[str, Any]:
    threshold = f"{SEVERAL_REPLIES_THRESHOLD_S}s"
    return {"service": subject, "response_type": "stream", "response_threshold": threshold}


def _of(account: str, subject: str) -> dict[str, Any]:
    return {"account": account, "subject": subject}


def _service(subject: str, response_type: str) -> dict[str, Any]:
    return {"service": subject, "account_token_position": 2, "response_type": response_type}


def _tenant(spec: ServerSpec, scope: str) -> dict[str, Any]:
    regulated = scope in spec.sealed_scopes
    also_sealed = spec.sealed and not regulated
    account = SEALED_ACCOUNT if regulated else FLEET_ACCOUNT
    lanes = [(account, roles.seen_by_tenant), *([(SEALED_ACCOUNT, roles.sealed_for_tenant)] if also_sealed else [])]
    return {
        "users": [_user(spec, roles.tenant(scope, sealed=also_sealed))],
        "imports": [
            {kind: _of(account, subject), "to": named(scope, subject)}
            for account, named in lanes
            for kind, subjects in (("service", roles.services(scope)), ("stream", roles.streams(scope)))
            for subject in subjects
        ],
    }


def _user(spec: ServerSpec, role: roles.Role) -> dict[str, Any]:
    user: dict[str, Any] = {"nkey": spec.public_keys[role.user]}
    permissions: dict[str, Any] = {}
    if role.publish is not None:
        permissions["publish"] = {"allow": list(role.publish)}
    if role.subscribe is not None:
        permissions["subscribe"] = {"allow": list(role.subscribe)}
    if role.responses is not None:
        permissions["allow_responses"] = {"max": role.responses.max_messages, "expires": role.responses.expires}
    return user | ({"permissions": permissions} if permissions else {})


def _tls(files: TlsFiles) -> dict[str, Any]:
    block: dict[str, Any] = {"cert_file": files.cert_file, "key_file": files.key_file}
    return block | ({"ca_file": files.ca_file, "verify": True} if files.ca_file is not None else {})


def _cluster(cluster: ClusterSpec) -> dict[str, Any]:
    block: dict[str, Any] = {
        "name": cluster.name,
        "listen": f"{_bracketed(cluster.listen_host)}:{cluster.listen_port}",
        "routes": list(cluster.routes),
        "ping_interval": f"{ROUTE_PING_INTERVAL_S}s",
        "ping_max": PINGS_OUTSTANDING_MAX,
    }
    return block | ({"tls": _tls(cluster.tls)} if cluster.tls is not None else {})


# --- what must not be written ---------------------------------------------------------------------------------------


def _check(spec: ServerSpec) -> None:
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


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
