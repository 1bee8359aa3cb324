r"""
A client that sends any bytes: what no NATS client library lets through, and the server does.

    async with raw_client(nats_server.tenant()) as raw:
        raw.publish(b"ask.\xff", b"{}", reply=b"_INBOX.a", headers=b"NATS/1.0\r\nA\r\n\r\n")
        await raw.flush()
"""

import asyncio
import base64
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import urlsplit

import nkeys  # pyright: ignore[reportMissingTypeStubs]

from flotilla.fabric.connection import NatsSettings
from flotilla.testkit.counting_socket import CountingSocket

TIMEOUT_S: Final = 60.0
_LINE_END: Final = b"\r\n"


class RawClient:
    """
    A socket that a server has taken as one of its users.

    Attributes:
        said: Every line of the server but PING and PONG, and the bodies of messages, as they came.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._requests = 0
        self.said: list[bytes] = []

    def send(self, data: bytes) -> None:
        """Write to the socket."""
        self._writer.write(data)

    def publish(self, subject: bytes, body: bytes = b"", *, reply: bytes = b"", headers: bytes | None = None) -> None:
        """Publish; `headers` is the whole block, in whatever form."""
        if headers is None:
            self.send(b"PUB %b %b %d\r\n%b\r\n" % (subject, reply, len(body), body))
        else:
            sizes = len(headers), len(headers) + len(body)
            self.send(b"HPUB %b %b %d %d\r\n%b%b\r\n" % (subject, reply, *sizes, headers, body))

    def subscribe(self, subject: bytes) -> None:
        """Subscribe; what comes is found in `said`."""
        self.send(b"SUB %b 1\r\n" % subject)

    def counted(self, *marks: bytes) -> CountingSocket:
        """Have what comes from now on be counted, and not kept; whoever waits for it, or is pinged, answers himself."""
        socket = CountingSocket(*marks)
        self._writer.transport.set_protocol(socket)
        return socket

    async def flush(self) -> None:
        """Return when the server has processed what was sent before; ConnectionError when it has closed instead."""
        self.send(b"PING\r\n")
        async with asyncio.timeout(TIMEOUT_S):
            while (line := await self._line()) != b"PONG":
                if line == b"PING":
                    self.send(b"PONG\r\n")
                else:
                    self.said.append(line)

    async def until(self, what: bytes) -> None:
        """Return when something that holds these bytes was received."""
        async with asyncio.timeout(TIMEOUT_S):
            while not any(what in line for line in self.said):
                self.said.append(await self._line())

    async def request(self, subject: bytes, body: bytes, *, headers: bytes | None = None) -> dict[str, Any]:
        """Publish, and give the first reply, which is JSON; one request at a time."""
        self._requests += 1
        inbox = b"_INBOX.raw.%d" % self._requests
        self.send(b"SUB %b r%d\r\n" % (inbox, self._requests))
        self.publish(subject, body, reply=inbox, headers=headers)
        async with asyncio.timeout(TIMEOUT_S):
            while not (line := await self._line()).startswith(b"{"):
                self.said.append(line)
        return json.loads(line)

    async def log_in(self, settings: NatsSettings) -> None:
        """Say who one is, as the first thing."""
        info = json.loads((await self._line()).partition(b" ")[2])
        options: dict[str, object] = {"verbose": False, "pedantic": False, "headers": True, "protocol": 1}
        options |= {"lang": "raw", "version": "1", "no_responders": True}
        if settings.creds is not None:
            pair: Any = nkeys.from_seed(bytearray(settings.creds.read_bytes().strip()))  # pyright: ignore[reportUnknownMemberType]
            signature: bytes = pair.sign(info["nonce"].encode())
            options["nkey"] = pair.public_key.decode()
            options["sig"] = base64.urlsafe_b64encode(signature).rstrip(b"=").decode()
        self.send(b"CONNECT %b\r\n" % json.dumps(options).encode())
        await self.flush()
        if self.said:
            raise ConnectionError(self.said[0].decode("utf-8", "replace"))

    async def _line(self) -> bytes:
        line = await self._reader.readline()
        if not line:
            raise ConnectionError("the server has closed the connection")
        return line.removesuffix(_LINE_END)


@asynccontextmanager
async def raw_client(settings: NatsSettings) -> AsyncGenerator[RawClient]:
    """Connect as one of the server's users; the socket is closed when the block ends."""
    address = urlsplit(settings.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port, limit=16 * 1024 * 1024)
    try:
        client = RawClient(reader, writer)
        await client.log_in(settings)
        yield client
    finally:
        writer.close()
