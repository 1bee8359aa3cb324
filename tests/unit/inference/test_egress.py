"""Which way calls to a provider take, and where they may not go."""

import socket

import pytest

from flotilla.inference.adapters.egress import Egress, EgressError
from flotilla.inference.adapters.own_hosts import OwnHosts, literal

PROXY = "http://name:p455@proxy.corp:3128"
PUBLIC = "https://api.openai.com/v1"


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the machine has."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUEST_METHOD"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def resolving(monkeypatch: pytest.MonkeyPatch, **names: str) -> None:
    """Have names mean these addresses, and no other name mean any."""

    def look_up(host: str, *_: object, **__: object) -> list[tuple[object, ...]]:
        if (address := names.get(host.replace(".", "_"))) is None:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)


@pytest.mark.parametrize(
    ("address", "own"),
    [
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("10.255.0.1", True),
        ("172.16.0.1", True),
        ("172.32.0.1", False),
        ("192.168.7.7", True),
        ("192.169.0.1", False),
        ("169.254.1.1", True),
        ("0.0.0.0", True),  # noqa: S104  (a connection to it arrives here)
        ("0.0.0.1", False),
        ("100.64.0.1", False),
        ("198.18.0.1", False),
        ("203.0.113.7", False),
        ("8.8.8.8", False),
        ("::1", True),
        ("::", True),
        ("fd12:3456::1", True),
        ("fe80::1", True),
        ("fe80::1%eth0", True),
        ("::ffff:127.0.0.1", True),
        ("::ffff:10.0.0.1", True),
        ("::ffff:8.8.8.8", False),
        ("64:ff9b::808:808", False),
        ("2001:db8::1", False),
        ("2606:4700::1111", False),
    ],
)
def test_which_addresses_are_ones_own(address: str, own: bool):  # noqa: FBT001
    """
    Loopback, private and link-local ones, however they are written; shared and reserved ones are not.
    """
    judged = literal(address)

    assert judged is not None
    assert own is OwnHosts().has_address(judged)


def test_an_operator_adds_networks_addresses_and_names():
    """
    An overlay network, a subnet of public addresses, a machine.
    """
    own = OwnHosts.parse("100.64.0.0/10, 2001:db8::/32,[2001:db9::1], GPU.example.org. ,203.0.113.7")

    for address in ("100.100.1.1", "2001:db8::5", "2001:db9::1", "203.0.113.7"):
        assert own.has_address(literal(address) or pytest.fail(address))
    assert not own.has_address(literal("203.0.113.8") or pytest.fail("no address"))
    assert own.has_name("gpu.Example.org")
    assert not own.has_name("other.example.org")


@pytest.mark.parametrize("text", ["http://gpu", "a b", "10.0.0.0/33", "-x", "gpu:8000", "*", ",".join(["a"] * 65)])
def test_what_is_no_host_is_refused(text: str):
    """
    A misspelt network must not quietly allow nothing, or everything.
    """
    with pytest.raises(ValueError, match="host"):
        OwnHosts.parse(text)


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])
@pytest.mark.parametrize("server", ["http://127.0.0.1:11434", "http://10.0.0.7:8000/v1", "https://192.168.1.1/v1"])
@pytest.mark.parametrize("proxy", [PROXY, "socks5://1.2.3.4:1080", "no proxy at all", "proxy:3128"])
def test_a_local_worker_takes_no_proxy_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, name: str, server: str, proxy: str
):
    """
    In none of the variables' forms.
    """
    monkeypatch.setenv(name, proxy)

    assert Egress(zone="local").path_to(server).proxy is None


@pytest.mark.parametrize(
    "server", ["https://8.8.8.8/v1", "http://[2606:4700::1111]:8000/v1", PUBLIC, "http://gpu.example.org:8000"]
)
def test_a_local_worker_does_not_begin_with_a_server_that_is_not_at_home(monkeypatch: pytest.MonkeyPatch, server: str):
    """
    A public address; a public name, whether it can be looked up or not: restricted documents are given to this zone.
    """
    resolving(monkeypatch, gpu_example_org="203.0.113.7")

    with pytest.raises(EgressError, match="FLOTILLA_LOCAL_HOSTS="):
        Egress(zone="local").path_to(server)


def test_a_name_is_judged_by_its_address(monkeypatch: pytest.MonkeyPatch):
    """
    A public-looking one may be at home, and a name of one label need not be; one that nobody can register may come later.
    """
    resolving(monkeypatch, gpu_example_org="10.1.2.3", gpu="203.0.113.7")
    local = Egress(zone="local")

    for server in (
        "http://gpu.example.org",
        "http://ollama:11434",
        "http://llm.models.svc.cluster.local",
        "http://b.lan",
    ):
        assert local.path_to(server).own is not None
    with pytest.raises(EgressError, match=r"203\.0\.113\.7"):
        local.path_to("http://gpu")


def test_a_named_host_is_ones_own_whatever_its_address(monkeypatch: pytest.MonkeyPatch):
    """
    The operator has said so.
    """
    resolving(monkeypatch, gpu_example_org="203.0.113.7")
    own = OwnHosts.parse("gpu.example.org,198.51.100.0/24")

    for server in ("https://gpu.example.org/v1", "http://198.51.100.7:8000"):
        assert Egress(zone="local", own=own).path_to(server).server


@pytest.mark.parametrize("proxy", ["http://8.8.8.8:3128", "http://proxy.example.org:3128", "socks5://1.1.1.1"])
def test_a_local_workers_proxy_is_at_home_or_refused(monkeypatch: pytest.MonkeyPatch, proxy: str):
    """
    It sees every document.
    """
    resolving(monkeypatch)

    with pytest.raises(EgressError, match="FLOTILLA_PROXY_URL"):
        Egress(zone="local", proxy_url=proxy).path_to("http://10.0.0.7:8000/v1")


def test_a_local_worker_takes_the_proxy_that_it_is_given():
    """
    Named for people, without its password.
    """
    path = Egress(zone="local", proxy_url="http://name:p455@10.0.0.1:3128").path_to("http://10.0.0.7:8000/v1")

    assert path.proxy == "http://name:p455@10.0.0.1:3128"
    assert path.through == "http://10.0.0.1:3128 (FLOTILLA_PROXY_URL)"


@pytest.mark.parametrize(
    ("variables", "server", "through"),
    [
        ({"HTTPS_PROXY": PROXY}, PUBLIC, "http://proxy.corp:3128 (HTTPS_PROXY)"),
        ({"https_proxy": PROXY, "HTTPS_PROXY": "http://other"}, PUBLIC, "http://proxy.corp:3128 (HTTPS_PROXY)"),
        ({"HTTPS_PROXY": "proxy.corp:3128"}, PUBLIC, "http://proxy.corp:3128 (HTTPS_PROXY)"),
        ({"HTTPS_PROXY": "proxy.corp"}, PUBLIC, "http://proxy.corp:80 (HTTPS_PROXY)"),
        ({"ALL_PROXY": "socks5h://10.0.0.1"}, PUBLIC, "socks5h://10.0.0.1:1080 (ALL_PROXY)"),
        ({"HTTPS_PROXY": "", "ALL_PROXY": PROXY}, PUBLIC, "http://proxy.corp:3128 (ALL_PROXY)"),
        ({"HTTP_PROXY": PROXY}, PUBLIC, ""),
        ({"HTTP_PROXY": PROXY}, "http://gateway.corp/v1", "http://proxy.corp:3128 (HTTP_PROXY)"),
        ({"HTTP_PROXY": PROXY, "REQUEST_METHOD": "GET"}, "http://gateway.corp/v1", ""),
        ({"HTTP_PROXY": PROXY}, "http://127.0.0.1:4000/v1", ""),
        ({"ALL_PROXY": "socks5://127.0.0.1:9"}, "http://localhost:4000/v1", ""),
        ({"ALL_PROXY": "not a proxy"}, "http://[::1]:4000/v1", ""),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "*"}, PUBLIC, ""),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "localhost, .openai.com"}, PUBLIC, ""),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "openai.com"}, PUBLIC, ""),
        ({"HTTPS_PROXY": PROXY, "no_proxy": "API.openai.com:443"}, "https://api.openai.com:443/v1", ""),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "nopenai.com,,i.com"}, PUBLIC, "http://proxy.corp:3128 (HTTPS_PROXY)"),
        ({"HTTP_PROXY": PROXY, "NO_PROXY": "10.0.0.0/8"}, "http://10.0.0.7:4000/v1", ""),
        ({"HTTP_PROXY": PROXY, "NO_PROXY": "[fd00::7]"}, "http://[fd00::7]:4000/v1", ""),
        ({"HTTP_PROXY": PROXY, "NO_PROXY": "10.0.0.0/8"}, "http://11.0.0.7/v1", "http://proxy.corp:3128 (HTTP_PROXY)"),
    ],
)
def test_a_cloud_worker_takes_the_proxy_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], server: str, through: str
):
    """
    As other programs read the variables; never to this very machine, which is another one for a proxy.
    """
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    path = Egress(zone="cloud").path_to(server)

    assert through == path.through
    assert bool(through) is (path.proxy is not None)
    assert path.own is None


def test_a_proxy_that_is_set_for_the_worker_goes_before_those_of_the_environment(monkeypatch: pytest.MonkeyPatch):
    """
    In the cloud zone it may be anywhere.
    """
    monkeypatch.setenv("HTTPS_PROXY", "http://other:1")

    assert PROXY == Egress(zone="cloud", proxy_url=PROXY).path_to(PUBLIC).proxy


@pytest.mark.parametrize(
    "proxy", ["ftp://10.0.0.1", "http://", "http://:3128", "http://10.0.0.1:port", "socks4://10.0.0.1"]
)
@pytest.mark.parametrize("zone", ["local", "cloud"])
def test_a_proxy_that_is_none_is_refused_without_repeating_it(proxy: str, zone: str):
    """
    It may hold a password.
    """
    with pytest.raises(EgressError) as refused:
        Egress(zone=zone, proxy_url=proxy.replace("//", "//me:p455@")).path_to("http://10.0.0.7/v1")  # pyright: ignore[reportArgumentType]

    assert "FLOTILLA_PROXY_URL" in str(refused.value)
    assert "p455" not in str(refused.value)
