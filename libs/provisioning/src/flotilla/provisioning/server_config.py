"""
The configuration of a nats-server, written from one value: its ports and limits, its accounts, and its place in a cluster.

Pure. `flotilla up` and the Kubernetes manifests both use it, so what runs on a laptop has the permissions of production.
"""

from typing import Any, Final

from flotilla.provisioning import roles
from flotilla.provisioning.accounts import accounts
from flotilla.provisioning.config_language import block
from flotilla.provisioning.server_spec import SYSTEM_ACCOUNT, ClusterSpec, ServerSpec, TlsFiles, check_spec

LOG_FILE_BYTES_MAX: Final = 16 * 1024 * 1024
LOG_FILES_MAX: Final = 3
PING_INTERVAL_S: Final = 3
PINGS_OUTSTANDING_MAX: Final = 2
"""
A member that is frozen, or whose machine died, leaves its queue group 6 to 9 s after its last word; the server's default
would take up to six minutes. One whose event loop stands still for less keeps its connection.
"""
ROUTE_PING_INTERVAL_S: Final = 4
"""
Between nodes: a frozen one is out of the others' queue groups after 8 to 12 s. A route that is dropped costs everybody
more than a client, but what a node led has other leaders by then: they are elected after 4 to 9 s of silence.
"""
TLS_HANDSHAKE_S: Final = 10
"""
The server's default of 2 s is less than a busy machine lets a client wait for its turn: each connection is then closed
without a word, and so is the next.
"""
LAME_DUCK_GRACE_S: Final = 5
LAME_DUCK_S: Final = 30


def server_config(spec: ServerSpec) -> str:
    """
    Write the configuration.

    Raises:
        ServerSpecError: A value is missing, out of bounds, or could say more than it should; names the field.
    """
    check_spec(spec)
    config: dict[str, Any] = {
        "host": spec.host,
        "port": spec.port,
        "max_payload": spec.max_payload_bytes,
        "ping_interval": f"{PING_INTERVAL_S}s",
        "ping_max": PINGS_OUTSTANDING_MAX,
        # Nearly every subject is new (each reply has its own), so who listens is never found in it; and each worker that
        # joins or leaves its queue group would have all of it walked over.
        "disable_sublist_cache": True,
        "lame_duck_grace_period": f"{LAME_DUCK_GRACE_S}s",
        "lame_duck_duration": f"{LAME_DUCK_S}s",
        "jetstream": _jetstream(spec),
        "system_account": SYSTEM_ACCOUNT,
        "accounts": accounts(spec),
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


def _tls(files: TlsFiles) -> dict[str, Any]:
    block: dict[str, Any] = {"cert_file": files.cert_file, "key_file": files.key_file, "timeout": TLS_HANDSHAKE_S}
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


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
