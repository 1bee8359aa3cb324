"""What the configuration says, and what it refuses to say."""

import re
from typing import Any

import msgspec
import pytest

from flotilla.contracts.headers import ASK_DEADLINE_MS_MAX
from flotilla.contracts.subjects import Zone
from flotilla.fabric.seed_files import public_key_of
from flotilla.provisioning.accounts import ASK_REPLY_THRESHOLD_S
from flotilla.provisioning.credentials import new_seed
from flotilla.provisioning.errors import ServerSpecError
from flotilla.provisioning.server_config import server_config
from flotilla.provisioning.server_spec import ClusterSpec, ServerSpec, TlsFiles, users

POOLS: tuple[tuple[Zone, str], ...] = (("local", "ollama"), ("cloud", "anthropic"))


def spec_of(**changes: Any) -> ServerSpec:
    scopes = changes.pop("scopes", ("default",))
    pools = changes.pop("pools", POOLS)
    keys = changes.pop("public_keys", None) or {
        name: public_key_of(new_seed()) for name in users(scopes, pools, sealed=True)
    }
    fields: dict[str, Any] = {"store_dir": "/data", "scopes": scopes, "pools": pools, "public_keys": keys}
    return ServerSpec(**(fields | changes))


def test_the_same_spec_gives_the_same_text():
    """Manifests are compared with what is committed."""
    spec = spec_of()

    assert server_config(spec) == server_config(spec)


def test_every_user_stands_in_it_once():
    """One key, one user, one account."""
    spec = spec_of(scopes=("default", "acme"), sealed=True)
    text = server_config(spec)

    assert {text.count(f'"nkey": "{key}"') for key in spec.public_keys.values()} == {1}


def test_only_orchestrators_and_the_admin_are_in_the_account_that_holds_the_streams():
    """Whoever is in it may have an answer sent to any subject of the fleet."""
    spec = spec_of(scopes=("default", "acme"))
    accounts = re.split(r'\n  "(\S+)": \{\n', server_config(spec).partition('"accounts": {')[2])
    users_of = {
        name: set(re.findall(r'"nkey": "(\w+)"', text))
        for name, text in zip(accounts[1::2], accounts[2::2], strict=True)
    }
    keys = spec.public_keys

    assert users_of == {
        "FLEET": {keys["orchestrator"], keys["admin"]},
        "default": {keys["tenant.default"], keys["approver.default"]},
        "acme": {keys["tenant.acme"], keys["approver.acme"]},
        "FLEET.observer": {keys["observer"]},
        "POOL.local.ollama": {keys["local.ollama"]},
        "POOL.cloud.anthropic": {keys["cloud.anthropic"]},
    } | {name: set[str]() for name in ("SYS",) if name in users_of}


def accounts_of(spec: ServerSpec) -> dict[str, str]:
    """What the configuration says of each account."""
    parts = re.split(r'\n  "(\S+)": \{\n', server_config(spec).partition('"accounts": {')[2])
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_the_account_of_the_sealed_lane_has_no_way_to_a_cloud_pool():
    """It exports nothing to one and imports nothing from one, and its orchestrators alone are in it."""
    spec = spec_of(sealed=True)
    accounts = accounts_of(spec)

    assert {spec.public_keys["orchestrator-sealed"]} == set(re.findall(r'"nkey": "(\w+)"', accounts["FLEET.sealed"]))
    assert "cloud" not in accounts["FLEET.sealed"]
    assert "FLEET.sealed" not in accounts["POOL.cloud.anthropic"]
    assert "FLEET.sealed" in accounts["POOL.local.ollama"]


def test_a_regulated_scope_has_no_way_into_the_ordinary_lane():
    """All five of its ways in and out are the sealed lane's."""
    accounts = accounts_of(spec_of(scopes=("default", "acme"), sealed=True, sealed_scopes=("acme",)))

    assert '"FLEET"' not in accounts["acme"]
    assert '"FLEET.sealed"' in accounts["acme"]
    assert '"FLEET"' in accounts["default"]


def test_without_a_sealed_lane_nothing_of_it_is_said():
    """What is not used costs nothing, and needs no credentials."""
    assert "sealed" not in server_config(spec_of())


def test_the_way_back_of_an_ask_outlives_the_longest_deadline():
    """The server's default of two minutes would lose the answers of long tasks."""
    assert ASK_REPLY_THRESHOLD_S * 1000 > ASK_DEADLINE_MS_MAX
    assert f'"response_threshold": "{ASK_REPLY_THRESHOLD_S}s"' in server_config(spec_of())


def test_without_a_scope_for_them_clients_need_credentials():
    """The default of everything but a laptop."""
    assert "no_auth_user" not in server_config(spec_of())
    spec = spec_of(no_auth_scope="default")
    assert f'"no_auth_user": "{spec.public_keys["tenant.default"]}"' in server_config(spec)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "nats.example.org", "10.0.0.1", "localhost.example.org"])  # noqa: S104
def test_clients_without_credentials_are_for_loopback_only(host: str):
    """Anyone who reaches the port would be the tenant."""
    with pytest.raises(ServerSpecError, match="no_auth_scope"):
        server_config(spec_of(no_auth_scope="default", host=host))
    assert server_config(spec_of(host=host))


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.8.8.8"])
def test_loopback_has_several_names(host: str):
    """Each of them is accepted."""
    assert "no_auth_user" in server_config(spec_of(no_auth_scope="default", host=host))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("scopes", ()),
        ("scopes", ("a", "a")),
        ("scopes", ("FLEET",)),
        ("scopes", ("SYS",)),
        ("scopes", ('a" {',)),
        ("scopes", ("a.b",)),
        ("scopes", ("*",)),
        ("pools", (("local", "a"), ("local", "a"))),
        ("pools", (("local", ">"),)),
        ("pools", (("local", "a.b"),)),
        ("pools", (("space", "a"),)),
        ("vault_pools", ("anthropic",)),
        ("vault_pools", ("elsewhere",)),
        ("vault_pools", ("ollama", "ollama")),
        ("sealed_scopes", ("default",)),
        ("host", 'x"\nport: 1'),
        ("host", "a b"),
        ("monitoring_host", "a/b"),
        ("port", 0),
        ("port", 70_000),
        ("monitoring_port", 0),
        ("server_name", "a b"),
        ("server_name", 'a"'),
        ("max_payload_bytes", 64 * 1024 * 1024),
        ("no_auth_scope", "other"),
        ("cluster", ClusterSpec(name="a b", routes=())),
        ("cluster", ClusterSpec(name="c", routes=('nats://x"y',))),
        ("cluster", ClusterSpec(name="c", routes=("nats://user:secret@host:6222",))),
        ("cluster", ClusterSpec(name="c", routes=(), listen_port=0)),
    ],
)
def test_a_value_that_could_say_more_than_it_should_is_refused(field: str, value: Any):
    """By field, before anything is written."""
    expected = field if field != "cluster" else r"cluster\."
    with pytest.raises(ServerSpecError, match=expected):
        server_config(spec_of(**{field: value}))


@pytest.mark.parametrize("path", ["/data\n}", "/data\x00", "/a\rb", "/tab\there"])
def test_a_path_that_cannot_be_printed_is_refused(path: str):
    """A line end could begin a line of its own."""
    with pytest.raises(ServerSpecError):
        server_config(spec_of(store_dir=path))
    with pytest.raises(ServerSpecError):
        server_config(spec_of(tls=TlsFiles(cert_file="/a", key_file=path)))


def test_a_path_stands_for_itself():
    """Quotes and backslashes are escaped, and nothing else has a meaning inside quotes."""
    text = server_config(spec_of(store_dir='/a"b\\c $HOME # {x}'))

    assert r'"store_dir": "/a\"b\\c $HOME # {x}"' in text


def test_a_missing_or_shared_key_is_refused():
    """A user without a key of its own would have another's permissions, or none."""
    spec = spec_of()
    keys = dict(spec.public_keys)
    for wrong in (
        {name: key for name, key in keys.items() if name != "cloud.anthropic"},
        keys | {"cloud.anthropic": keys["admin"]},
        keys | {"cloud.anthropic": new_seed().decode()},
        keys | {"cloud.anthropic": 'U"'},
    ):
        with pytest.raises(ServerSpecError, match="public_keys"):
            server_config(msgspec.structs.replace(spec, public_keys=wrong))
