"""A connection has a time in which to say what it wants, so that those who say nothing take no place from others."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from portal.web import connections, server

TIME_S = 0.4
WAIT_S = 60.0
TRIES_MAX = 20
REQUEST = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 6\r\n\r\n"
CUT_OFF = b"cut off"
ONE = "127.0.0.7"
"""An address of which connections are counted; of the three places it may have one."""


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the body of the request, or with a stream that is longer than a request may take."""
    request = Request(scope, receive)
    if request.url.path == "/stream":

        async def pieces() -> AsyncIterator[bytes]:
            for number in range(4):
                await asyncio.sleep(TIME_S / 2)
                yield b"%d" % number

        await StreamingResponse(pieces())(scope, receive, send)
        return
    try:
        body = await request.body()
    except ClientDisconnect:
        body = CUT_OFF
    await Response(body)(scope, receive, send)


@pytest.fixture
async def port(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[int]:
    """
    A server with room for two connections beside those of viewers.
    """
    monkeypatch.setattr(connections, "REQUEST_S", TIME_S)
    monkeypatch.setattr(server, "OTHER_REQUESTS_MAX", 2)
    listening = server.listen("127.0.0.1", 0)
    port = listening.getsockname()[1]
    async with server.served(app, listening, viewers_max=1, place_of=lambda address: "one" if address == ONE else ""):
        yield port


async def rest_of(reader: asyncio.StreamReader) -> bytes:
    """What comes until the server ends the connection."""
    try:
        async with asyncio.timeout(WAIT_S):
            return await reader.read()
    except ConnectionResetError:
        return b""


@pytest.mark.parametrize("said", [b"", b"GET / HT", REQUEST, REQUEST + b"abc"])
async def test_a_request_that_is_not_whole_in_time_ends_its_connection(port: int, said: bytes):
    """
    Nothing at all, half a head, a head, half a body.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(said)

    assert b"" == await rest_of(reader)
    writer.close()


async def test_a_request_byte_by_byte_is_not_waited_for(port: int):
    """
    Each byte is no reason to wait longer.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    rest = asyncio.create_task(rest_of(reader))
    async with asyncio.timeout(WAIT_S):
        while not rest.done():
            writer.write(b"x")
            await asyncio.sleep(TIME_S / 10)

    assert b"" == await rest
    writer.close()


async def test_places_that_nobody_uses_are_free_again(port: int):
    """
    Connections that say nothing, as many as there may be: somebody who asks is answered once their time is over.
    """
    silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(4)]
    answers: list[bytes] = []
    async with asyncio.timeout(WAIT_S):
        while not answers or b" 503 " in answers[-1]:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(REQUEST + b"abcdef")
            answers.append(await reader.readline())
            writer.close()
            await asyncio.sleep(TIME_S / 10)

    assert b"HTTP/1.1 200 OK\r\n" == answers[-1]
    for _, writer in silent:
        writer.close()


async def test_an_answer_may_take_longer_than_a_request(port: int):
    """
    A stream is not cut off, and another request may follow it.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    async with asyncio.timeout(WAIT_S):
        writer.write(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
        streamed = await reader.readuntil(b"0\r\n\r\n")
        writer.write(REQUEST + b"abcdef")
        answer = await reader.readuntil(b"abcdef")

    assert [b"0", b"1", b"2", b"3"] == streamed.partition(b"\r\n\r\n")[2].split(b"\r\n")[1:8:2]
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    writer.close()


async def test_the_time_of_a_request_begins_with_it_however_long_its_connection_was_idle(port: int):
    """
    Tried more than once: a machine that stands still for a moment takes the time of either.
    """
    answers: list[bytes] = []
    while b"HTTP/1.1 200 OK\r\n" not in answers and len(answers) < TRIES_MAX:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.sleep(TIME_S * 0.7)
        writer.write(REQUEST)
        await asyncio.sleep(TIME_S * 0.7)
        writer.write(b"abcdef")
        answers.append((await rest_of(reader))[: len(b"HTTP/1.1 200 OK\r\n")])
        writer.close()

    assert b"HTTP/1.1 200 OK\r\n" in answers


async def test_one_address_does_not_have_all_places(port: int):
    """
    One connection too many is ended at once; others are served meanwhile, and it is too when one of its own has ended.
    """
    _, first = await asyncio.open_connection("127.0.0.1", port, local_addr=(ONE, 0))
    refused, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(ONE, 0))
    writer.write(REQUEST + b"abcdef")
    assert b"" == await rest_of(refused)
    writer.close()
    reader, other = await asyncio.open_connection("127.0.0.1", port)
    other.write(REQUEST + b"abcdef")
    assert (await rest_of(reader)).endswith(b"abcdef")
    first.close()
    answer = b""
    for _ in range(TRIES_MAX):
        reader, again = await asyncio.open_connection("127.0.0.1", port, local_addr=(ONE, 0))
        again.write(REQUEST + b"abcdef")
        answer = await rest_of(reader)
        again.close()
        if answer:
            break
    assert answer.endswith(b"abcdef")
    other.close()
