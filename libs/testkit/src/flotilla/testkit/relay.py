"""
A line to a server that a test can cut, so that one member of a fleet is away while the others go on.

    async with relay("127.0.0.1", port) as line:
        line.cut()
        line.mend()
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Final

PIECE_BYTES_MAX: Final = 64 * 1024


class Relay:
    """
    Hands bytes on in both directions.

    Attributes:
        port: Of loopback, where it takes connections.
    """

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._is_cut = False
        self._writers: Final[set[asyncio.StreamWriter]] = set()
        self.port = 0

    def cut(self) -> None:
        """Break every connection, and those that come."""
        self._is_cut = True
        for writer in self._writers:
            writer.transport.abort()

    def mend(self) -> None:
        """Take connections again."""
        self._is_cut = False

    async def hand_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until one side ends it."""
        if self._is_cut:
            writer.transport.abort()
            return
        far_reader, far_writer = await asyncio.open_connection(self._host, self._port)
        self._writers.update({writer, far_writer})
        try:
            await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))
        finally:
            self._writers.difference_update({writer, far_writer})


@asynccontextmanager
async def relay(host: str, port: int) -> AsyncGenerator[Relay]:
    """A line to this server while the block runs."""
    line = Relay(host, port)
    server = await asyncio.start_server(line.hand_on, "127.0.0.1", 0)
    line.port = server.sockets[0].getsockname()[1]
    async with server:
        try:
            yield line
        finally:
            line.cut()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while piece := await reader.read(PIECE_BYTES_MAX):
            writer.write(piece)
            await writer.drain()
    writer.close()
