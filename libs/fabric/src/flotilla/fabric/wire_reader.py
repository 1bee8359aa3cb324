"""
Reading what the server sends: the lines of the protocol, and what follows them.

The server copies a subject from the sender's line to the receiver's, whatever its bytes are, as long as they are no space,
tab or line end. nats-py's parser splits at any whitespace and expects UTF-8: a vertical tab or a byte 0xFF in a subject
makes it leave the server, and a subject that looks like the rest of the line has a message handed to another subscription.
Here a line is split at single spaces, as the server writes them, and everything but sizes and ids stays bytes.
"""

import json
from typing import TYPE_CHECKING, Any, Final

from nats.errors import ProtocolError
from nats.protocol.parser import Parser

if TYPE_CHECKING:
    from flotilla.fabric.prompt_client import PromptClient

LINE_BYTES_MAX: Final = 1024 * 1024
"""The longest is INFO, with the URLs of a cluster; longer than this, it is no NATS server that speaks."""

_CRLF: Final = b"\r\n"
_WITH_REPLY: Final = 5


class WireReader(Parser):
    """In the place of nats-py's parser; tells the client where a read begins and ends."""

    def __init__(self, client: "PromptClient") -> None:
        self._client = client
        self._pending: tuple[int, bytes, bytes, int, int] | None = None
        super().__init__(client)  # pyright: ignore[reportUnknownMemberType]

    def reset(self) -> None:
        """Forget what is half read: it belongs to a connection that is no more."""
        super().reset()
        self._pending = None

    async def parse(self, data: bytes = b"") -> None:
        """
        Take in what arrived, and hand on every message that is complete.

        Raises:
            ProtocolError: What arrived is not the protocol.
        """
        self._client.begin_read()
        try:
            await self._read(data)
        finally:
            self._client.end_read()

    async def _read(self, data: bytes) -> None:
        buffer = self.buf
        buffer += data
        at = 0
        # Where a handler has waited, the connection may have been lost meanwhile, and the buffer with it.
        while self.buf is buffer:
            pending = self._pending
            if pending is None:
                end = buffer.find(_CRLF, at)
                if end < 0:
                    if len(buffer) - at > LINE_BYTES_MAX:
                        raise ProtocolError
                    break
                line = bytes(buffer[at:end])
                at = end + 2
                words = line.split(b" ")
                operation = words[0]
                if operation == b"MSG":
                    self._pending = _message(words)
                elif operation == b"HMSG":
                    self._pending = _message_with_headers(words)
                else:
                    await self._take_other(operation, line[len(operation) :])
                continue
            sid, subject, reply, header_size, size = pending
            end = at + size
            if len(buffer) < end + 2:
                break
            body = bytes(buffer[at + header_size : end])
            headers = bytes(buffer[at : at + header_size]) if header_size else None
            at = end + 2
            self._pending = None
            await self._client._process_msg(sid, subject, reply, body, headers)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        if self.buf is buffer:
            del buffer[:at]

    async def _take_other(self, operation: bytes, rest: bytes) -> None:
        client: Any = self._client
        match operation:
            case b"PING":
                await client._process_ping()  # noqa: SLF001
            case b"PONG":
                await client._process_pong()  # noqa: SLF001
            case b"+OK":
                pass
            case b"-ERR":
                await client._process_err(rest.strip().decode("utf-8", "replace").lower())  # noqa: SLF001
            case b"INFO":
                await client._process_info(json.loads(rest))  # noqa: SLF001
            case _:
                raise ProtocolError


def _message(line: list[bytes]) -> tuple[int, bytes, bytes, int, int]:
    """Of `MSG <subject> <sid> [reply] <size>`: sid, subject, reply, bytes of headers, bytes in all."""
    if len(line) == _WITH_REPLY:
        _, subject, sid, reply, size = line
    else:
        reply = b""
        try:
            _, subject, sid, size = line
        except ValueError:
            raise ProtocolError from None
    if not (sid.isdigit() and size.isdigit()):
        raise ProtocolError
    return int(sid), subject, reply, 0, int(size)


def _message_with_headers(line: list[bytes]) -> tuple[int, bytes, bytes, int, int]:
    """Of `HMSG <subject> <sid> [reply] <header size> <size>`, as above."""
    if len(line) < _WITH_REPLY:
        raise ProtocolError
    header_size = line.pop(-2)
    found = _message(line)
    if not header_size.isdigit() or int(header_size) > found[4]:
        raise ProtocolError
    return (*found[:3], int(header_size), found[4])
