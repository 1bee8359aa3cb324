"""
The accounts of a fleet's NATS: who is in each, and which subjects pass between them.

An account is the boundary: FLEET holds the streams, the orchestrators and the admin; each scope, each pool and the observer
have an account of their own, and a message crosses only on subjects that both sides name. The vaults are in an account that
nobody is in: local pools that are marked for it ask for its bucket by a few services, and orchestrators and the admin of
FLEET can neither read, list nor mirror it. The sealed lane is an account of the same form as FLEET with streams of its own,
which exports nothing to a cloud pool, and in which its orchestrators alone are: within FLEET the right to make streams,
which every orchestrator has, would let an ordinary one mirror what is sealed.

What tenants and the observer ask are services: the server puts a reply subject of its own in the place of theirs. What
passes between the fleet and a pool are streams, one way each: neither side answers what it gets on a subject that the
other has named, and the server keeps nothing of an attempt. As services, attempts would cost it 13 us more each.
"""

from typing import Any, Final

from flotilla.contracts.headers import ASK_DEADLINE_MS_MAX
from flotilla.contracts.names import OBSERVER_ACCOUNT, SEALED_ACCOUNT, VAULT_ACCOUNT
from flotilla.contracts.subjects import Zone, api
from flotilla.fabric.jetstream_api import ACCOUNT_INFO
from flotilla.provisioning import crossings, roles
from flotilla.provisioning.server_spec import (
    FLEET_ACCOUNT,
    SUBSCRIPTIONS_MAX,
    SYSTEM_ACCOUNT,
    ServerSpec,
)
from flotilla.provisioning.topology import REPLICAS_MAX, VAULT_BYTES_MAX

ASK_REPLY_THRESHOLD_S: Final = ASK_DEADLINE_MS_MAX // 1000 + 300
"""
How long the server keeps the way back of an `ask` on which nothing arrives. Its default of two minutes would drop the
answer of a longer task; an empty last message ends it at once (nats-server, `processServiceImport`: `shouldRemove`).
"""
SEVERAL_REPLIES_THRESHOLD_S: Final = 5
"""The same for discovery and the listing of a bucket, whose last reply nobody marks."""


def accounts(spec: ServerSpec) -> dict[str, Any]:
    """Every account by name, as the server's configuration has them."""
    return {
        FLEET_ACCOUNT: _fleet(spec),
        **{scope: _tenant(spec, scope) for scope in spec.scopes},
        OBSERVER_ACCOUNT: _observer(spec),
        **{pool_account(zone, pool): _pool(spec, zone, pool) for zone, pool in spec.pools},
        **({VAULT_ACCOUNT: _vault(spec)} if spec.vault_pools else {}),
        **({SEALED_ACCOUNT: _sealed(spec)} if spec.sealed else {}),
        SYSTEM_ACCOUNT: {},
    }


def pool_account(zone: Zone, pool: str) -> str:
    """The account of a pool's workers."""
    return f"POOL.{zone}.{pool}"


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
                for subject in crossings.handed_to_pool(zone, pool)
            ),
            *_for_observer(spec),
        ],
        "imports": [
            imported
            for zone, pool in spec.pools
            for imported in (
                *({"stream": _of(pool_account(zone, pool), subject)} for subject in crossings.told_by_pool(zone, pool)),
                {"service": _of(pool_account(zone, pool), crossings.DISCOVERY)},
            )
        ]
        + ([{"service": _of(SEALED_ACCOUNT, crossings.DISCOVERY)}] if spec.sealed else []),
    }


def _for_tenants() -> list[dict[str, Any]]:
    tasks, ask, api = crossings.services("*")
    return [
        _service(tasks, "singleton"),
        _service(ask, "stream") | {"response_threshold": f"{ASK_REPLY_THRESHOLD_S}s"},
        _service(api, "singleton"),
        *({"stream": subject, "account_token_position": 2} for subject in crossings.streams("*")),
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
                for subject in crossings.handed_to_pool("local", pool)
            ),
            # Who serves the lane, and nothing of a task: what `flotilla status` shows.
            _several_replies(crossings.DISCOVERY) | {"accounts": [FLEET_ACCOUNT]},
        ],
        "imports": [
            {"stream": _of(pool_account("local", pool), subject)}
            for pool in local
            for subject in crossings.told_to_sealed_lane(pool)
        ],
    }


def _for_observer(spec: ServerSpec) -> list[dict[str, Any]]:
    one, several = crossings.asked_by_observer(spec.scopes)
    exports = (
        *({"service": subject, "response_type": "singleton"} for subject in (ACCOUNT_INFO, *one)),
        *(_several_replies(subject) for subject in several),
        *({"stream": subject} for subject in crossings.told_to_observer()),
    )
    return [export | {"accounts": [OBSERVER_ACCOUNT]} for export in exports]


def _observer(spec: ServerSpec) -> dict[str, Any]:
    one, several = crossings.asked_by_observer(spec.scopes)
    # An account without streams of its own would answer its members' JetStream requests itself, with a refusal that
    # comes first. It does not when it imports this one, which no permission lets through.
    services = (ACCOUNT_INFO, *one, *several)
    return {
        "limits": _limits(spec),
        "users": [_user(spec, roles.observer(spec.scopes))],
        "imports": [
            *({"service": _of(FLEET_ACCOUNT, subject)} for subject in services),
            *({"stream": _of(FLEET_ACCOUNT, subject)} for subject in crossings.told_to_observer()),
        ],
    }


def _vault(spec: ServerSpec) -> dict[str, Any]:
    pools = [pool_account("local", pool) for pool in spec.vault_pools]
    exports = (ACCOUNT_INFO, *crossings.asked_of_vault())
    return {
        # Its members make the bucket, and could otherwise make it as large as the disk, or in memory.
        "jetstream": {
            "max_memory": 0,
            "max_file": (REPLICAS_MAX if spec.cluster is not None else 1) * VAULT_BYTES_MAX,
            "max_streams": 1,
            "max_bytes_required": True,
        },
        "exports": [{"service": subject, "response_type": "singleton", "accounts": pools} for subject in exports],
    }


def _has_vault(spec: ServerSpec, zone: Zone, pool: str) -> bool:
    return zone == "local" and pool in spec.vault_pools


def _pool(spec: ServerSpec, zone: Zone, pool: str) -> dict[str, Any]:
    vault = _has_vault(spec, zone, pool)
    # With the account's info, which no permission lets through, for the reason that `_observer` gives.
    services = (ACCOUNT_INFO, *crossings.asked_of_vault()) if vault else ()
    sealed = spec.sealed and zone == "local"
    told = {subject: [FLEET_ACCOUNT] for subject in crossings.told_by_pool(zone, pool)}
    for subject in crossings.told_to_sealed_lane(pool) if sealed else ():
        told[subject] = [*told.get(subject, ()), SEALED_ACCOUNT]
    return {
        "limits": _limits(spec),
        "users": [_user(spec, roles.worker(zone, pool, vault=vault, sealed=sealed))],
        "exports": [
            _several_replies(crossings.DISCOVERY) | {"accounts": [FLEET_ACCOUNT]},
            *({"stream": subject, "accounts": accounts} for subject, accounts in told.items()),
        ],
        "imports": [
            *(
                {"stream": _of(account, subject)}
                for account in (FLEET_ACCOUNT, *((SEALED_ACCOUNT,) if sealed else ()))
                for subject in crossings.handed_to_pool(zone, pool)
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
    lanes = [
        (account, crossings.seen_by_tenant),
        *([(SEALED_ACCOUNT, crossings.sealed_for_tenant)] if also_sealed else []),
    ]
    return {
        "limits": _limits(spec),
        "users": [_user(spec, role(scope, sealed=also_sealed)) for role in (roles.tenant, roles.approver)],
        "imports": [
            {kind: _of(account, subject), "to": named(scope, subject)} | _says_who(scope, subject)
            for account, named in lanes
            for kind, subjects in (("service", crossings.services(scope)), ("stream", crossings.streams(scope)))
            for subject in subjects
        ],
    }


def _says_who(scope: str, subject: str) -> dict[str, Any]:
    """With what is asked of `api` the server says which user of the account asks; decisions on approvals are kept by that."""
    return {"share": True} if subject == api(scope, ">") else {}


def _limits(spec: ServerSpec) -> dict[str, int]:
    """What the members of an account that is not the fleet's own may take of the server's connections and memory."""
    return {"max_connections": spec.connections_max, "max_subscriptions": SUBSCRIPTIONS_MAX}


def _user(spec: ServerSpec, role: roles.Role) -> dict[str, Any]:
    user: dict[str, Any] = {"nkey": spec.public_keys[role.user]}
    permissions: dict[str, Any] = {}
    if role.publish is not None:
        permissions["publish"] = {"allow": list(role.publish)}
    if role.publish_not:
        permissions["publish"] |= {"deny": list(role.publish_not)}
    if role.subscribe is not None:
        permissions["subscribe"] = {"allow": list(role.subscribe)}
    if role.responses is not None:
        permissions["allow_responses"] = {"max": role.responses.max_messages, "expires": role.responses.expires}
    return user | ({"permissions": permissions} if permissions else {})
