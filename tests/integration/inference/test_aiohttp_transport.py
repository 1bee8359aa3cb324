"""What the way over aiohttp has to keep: no cookies, one's own hosts, certificates, connections that end."""

import asyncio
import json
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme

from flotilla.capabilities.errors import AttemptError
from flotilla.contracts.failures import FailureKind
from flotilla.inference.adapters.egress import HOME
from flotilla.inference.adapters.openai_chat import OpenAIChat
from flotilla.inference.backend import ModelCall, Turn
from flotilla.testkit.provider_openai import OpenAIServer
from flotilla.testkit.provider_steps import Garbage, Says

CALL = ModelCall(model="m", system="", turns=(Turn(role="user", content="one two three"),), timeout_s=10.0)
CHOICE = {"message": {"content": "fine"}, "finish_reason": "stop"}
BODY = json.dumps({"model": "m", "choices": [CHOICE]}).encode()


async def failure(model: OpenAIChat) -> AttemptError:
    with pytest.raises(AttemptError) as caught:
        await model.complete(CALL)
    return caught.value


async def test_cookies_are_not_sent_back():
    """
    A provider's affair, and one caller's must not become another's.
    """
    async with OpenAIServer() as server:
        model = OpenAIChat(api_key="k", base_url=server.url)
        server.script(Garbage(BODY, content_type="application/json", headers={"set-cookie": "session=1; Path=/"}))
        for _ in range(2):
            await model.complete(CALL)
        await model.aclose()

        assert "cookie" not in server.requests[1].headers


async def test_a_name_that_means_a_foreign_address_now_is_not_connected_to(monkeypatch: pytest.MonkeyPatch):
    """
    It was one's own when the worker started.
    """
    async with OpenAIServer() as server:
        url = server.url.replace("127.0.0.1", "localhost")
        model = OpenAIChat(api_key="k", base_url=url, provider="vllm", egress=HOME)
        assert "Hello there." == (await model.complete(CALL)).text
        await model.aclose()

        def elsewhere(*_args: Any, **_options: Any) -> list[Any]:
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("203.0.113.1", 80))]

        model = OpenAIChat(api_key="k", base_url=url, provider="vllm", egress=HOME)
        monkeypatch.setattr(socket, "getaddrinfo", elsewhere)
        assert FailureKind.REFUSED is (await failure(model)).kind
        await model.aclose()


@pytest.mark.parametrize("provider", ["openai", "vllm"])
async def test_a_connection_that_the_server_closed_meanwhile_is_not_used_again(provider: str):
    """
    A kept one would lose the call.
    """
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
        await reader.readexactly(int(length.partition(b":")[2]))
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(BODY) + BODY
        )
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        model = OpenAIChat(
            api_key="k", base_url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", provider=provider
        )
        for count in (1, 2, 3):
            assert "fine" == (await model.complete(CALL)).text
            assert count == connections
            await asyncio.sleep(0.05)  # the end of the connection is on its way, and nothing tells when it is here
        await model.aclose()


async def test_whole_answers_of_ones_own_server_come_on_one_connection():
    """
    A new one for each would cost more than the rest of the call.
    """
    async with OpenAIServer() as server:
        model = OpenAIChat(api_key="k", base_url=server.url, provider="vllm")
        for _ in range(3):
            await model.complete(CALL)
        await model.aclose()

        assert 1 == len({asked.client_port for asked in server.requests})


async def test_a_connection_that_breaks_is_no_timeout():
    """
    Another replica may do better at once.
    """
    async with OpenAIServer() as server:
        server.otherwise = lambda _: Says()
        model = OpenAIChat(api_key="k", base_url=server.url)
        await server.aclose()
        error = await failure(model)
        await model.aclose()

    assert FailureKind.UNAVAILABLE is error.kind


async def test_certificates_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """
    Against those that the environment names.
    """
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)  # pyright: ignore[reportUnknownMemberType]  # untyped
    known = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(known))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(BODY) + BODY
        )
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "localhost", 0, ssl=context)
    async with server:
        url = f"https://localhost:{server.sockets[0].getsockname()[1]}"
        model = OpenAIChat(api_key="k", base_url=url)
        assert FailureKind.UNAVAILABLE is (await failure(model)).kind
        await model.aclose()

        monkeypatch.setenv("SSL_CERT_FILE", str(known))
        model = OpenAIChat(api_key="k", base_url=url)
        assert "fine" == (await model.complete(CALL)).text
        await model.aclose()
