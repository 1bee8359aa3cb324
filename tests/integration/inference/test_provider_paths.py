"""Where the adapters' requests go: never elsewhere than the zone allows, whatever the environment or the server says."""

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from flotilla.capabilities.errors import AttemptError
from flotilla.contracts.failures import FailureKind
from flotilla.inference.adapters.anthropic_messages import AnthropicMessages
from flotilla.inference.adapters.egress import Egress, EgressError
from flotilla.inference.adapters.ollama_chat import OllamaChat
from flotilla.inference.adapters.openai_chat import OpenAIChat
from flotilla.inference.backend import Model, ModelCall, Turn
from flotilla.testkit.raw_http import RawHttpServer, RawRequest, whole

DOCUMENT: Final = "PATIENT-4711 has diabetes"
CALL: Final = ModelCall(model="m", system="", turns=(Turn(role="user", content=DOCUMENT),), timeout_s=10.0)
ANSWERS: Final = {
    "/api/show": b"{}",
    "/api/chat": b'{"model":"m","message":{"role":"assistant","content":"calm"},"done":true,"done_reason":"stop"}',
    "/v1/chat/completions": b'{"model":"m","choices":[{"message":{"content":"calm"},"finish_reason":"stop"}]}',
    "/v1/messages": b'{"model":"m","content":[{"type":"text","text":"calm"}],"stop_reason":"end_turn"}',
}
Make = Callable[[str, Egress], Model]
LOCAL: Final[dict[str, Make]] = {
    "ollama": lambda url, egress: OllamaChat(url, egress=egress),
    "vllm": lambda url, egress: OpenAIChat(api_key=None, base_url=url, provider="vllm", egress=egress),
}
CLOUD: Final[dict[str, Make]] = {
    "openai": lambda url, egress: OpenAIChat(api_key="k", base_url=url, egress=egress),
    "anthropic": lambda url, egress: AnthropicMessages(api_key="k", base_url=url, egress=egress),
}
EVERY: Final = LOCAL | CLOUD
AT_HOME: Final = Egress(zone="local")
OUT: Final = Egress(zone="cloud")


async def answers(request: RawRequest, writer: asyncio.StreamWriter) -> None:
    """As the provider, and as a proxy that asks it, answer."""
    path = "/" + request.target.split("/", 3)[3] if request.target.startswith("http") else request.target
    writer.write(whole(ANSWERS[path]))


async def asked(model: Model) -> str:
    """The text of one answer."""
    try:
        return (await model.complete(CALL)).text
    finally:
        await model.aclose()


async def failed(model: Model) -> AttemptError:
    """The failure of one call."""
    with pytest.raises(AttemptError) as caught:
        await asked(model)
    return caught.value


@pytest.mark.parametrize("make", LOCAL.values(), ids=LOCAL)
async def test_no_variable_sends_a_local_document_to_a_proxy(monkeypatch: pytest.MonkeyPatch, make: Make):
    """
    Start-up found the server past the proxy; so must every request.
    """
    async with RawHttpServer(answers) as server, RawHttpServer(answers) as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.setenv("NO_PROXY", "")

        assert "calm" == await asked(make(server.url, AT_HOME))

    assert server.requests
    assert [] == proxy.requests


@pytest.mark.parametrize("make", EVERY.values(), ids=EVERY)
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ALL_PROXY", "socks5://127.0.0.1:9"),
        ("all_proxy", "socks4a://127.0.0.1:9"),
        ("HTTPS_PROXY", "socks5h://127.0.0.1:9"),
        ("HTTP_PROXY", "no proxy"),
        ("NO_PROXY", "[::"),
        ("SSL_CERT_FILE", "/not/there.pem"),
        ("SSL_CERT_DIR", "/not/there"),
        ("REQUESTS_CA_BUNDLE", "/not/there.pem"),
        ("CURL_CA_BUNDLE", "/not/there.pem"),
    ],
)
async def test_what_does_not_concern_a_plain_server_on_this_machine_breaks_nothing(
    monkeypatch: pytest.MonkeyPatch, make: Make, name: str, value: str
):
    """
    In either zone.
    """
    monkeypatch.setenv(name, value)
    async with RawHttpServer(answers) as server:
        egress = AT_HOME if make in LOCAL.values() else OUT

        assert "calm" == await asked(make(server.url, egress))


@pytest.mark.parametrize("make", CLOUD.values(), ids=CLOUD)
async def test_a_cloud_call_goes_through_the_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch, make: Make):
    """
    As a company has it; its own name and password go to it alone.
    """
    async with RawHttpServer(answers) as proxy:
        monkeypatch.setenv("http_proxy", f"http://me:p455@127.0.0.1:{proxy.port}")

        assert "calm" == await asked(make("http://gateway.example", OUT))

    assert proxy.requests[0].target.startswith("http://gateway.example/v1/")
    assert proxy.requests[0].headers["proxy-authorization"].startswith("Basic ")


async def test_a_proxy_of_ones_own_is_used_when_it_is_set():
    """
    For those who need one.
    """
    async with RawHttpServer(answers) as proxy:
        model = OllamaChat("http://10.1.2.3", egress=Egress(zone="local", proxy_url=proxy.url))

        assert "calm" == await asked(model)

    assert "http://10.1.2.3/api/chat" == proxy.requests[-1].target


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
@pytest.mark.parametrize("make", EVERY.values(), ids=EVERY)
async def test_a_redirect_is_not_followed(make: Make, status: str):
    """
    It could carry the document anywhere.
    """
    async with RawHttpServer(answers) as elsewhere:

        async def redirects(request: RawRequest, writer: asyncio.StreamWriter) -> None:
            writer.write(whole(b"", f"location: {elsewhere.url}{request.target}", status=status))

        async with RawHttpServer(redirects) as server:
            failure = await failed(make(server.url, AT_HOME if make in LOCAL.values() else OUT))

        assert FailureKind.UNAVAILABLE == failure.kind
        assert [] == elsewhere.requests


@pytest.mark.parametrize("make", LOCAL.values(), ids=LOCAL)
async def test_a_name_that_means_another_address_later_is_not_connected_to(monkeypatch: pytest.MonkeyPatch, make: Make):
    """
    It is looked up again for every connection, and what was judged is what is connected to.
    """
    address = ["127.0.0.1"]

    def look_up(_: object, port: int | None, *__: object, **___: object) -> list[tuple[object, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address[0], port or 0))]

    async with RawHttpServer(answers) as server:
        monkeypatch.setattr(socket, "getaddrinfo", look_up)
        model = make(f"http://gpu.example.org:{server.port}", AT_HOME)
        assert "calm" == (await model.complete(CALL)).text
        moved = make(f"http://gpu.example.org:{server.port}", AT_HOME)
        address[0] = "203.0.113.7"

        failure = await failed(moved)
        await model.aclose()

    assert FailureKind.REFUSED == failure.kind
    assert "FLOTILLA_LOCAL_HOSTS" in failure.message


@pytest.mark.parametrize("make", EVERY.values(), ids=EVERY)
def test_certificates_that_are_needed_and_missing_are_named(monkeypatch: pytest.MonkeyPatch, make: Make):
    """
    At the start, in one line.
    """
    monkeypatch.setenv("SSL_CERT_FILE", "/not/there.pem")

    with pytest.raises(EgressError, match="SSL_CERT_FILE"):
        make("https://127.0.0.1:1", AT_HOME if make in LOCAL.values() else OUT)


def test_certificates_of_ones_own_are_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """
    A file that is there, and is none, is named as well.
    """
    (tmp_path / "ca.pem").write_text("no certificate")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))

    with pytest.raises(EgressError, match="SSL_CERT_FILE"):
        OllamaChat("https://127.0.0.1:1")


async def test_the_path_is_said_at_the_start_without_a_password(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """
    An operator sees whom a cloud worker talks through.
    """
    monkeypatch.setenv("HTTPS_PROXY", "http://me:p455@proxy.corp:3128")
    with caplog.at_level("INFO", logger="flotilla.egress"):
        await OpenAIChat(api_key="k").aclose()

    said = vars(caplog.records[-1])
    assert ("openai", "https://api.openai.com") == (said["provider"], said["server"])
    assert "http://proxy.corp:3128 (HTTPS_PROXY)" == said["proxy"]
    assert "p455" not in str(said)
