"""
A provider without a model: `python -m flotilla.cli.bench.provider_stand_in`, an OpenAI-compatible server.

It answers every chat at once with the same message, so that what is measured is the way to it and back. HTTP/1.1 as far
as the benchmark's own clients speak it, by hand: a server of a framework would take more CPU time than what it is
compared with. Says its port on standard output, and ends with its standard input.
"""

import asyncio
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final, cast

import msgspec
from msgspec import Struct

from flotilla.cli.bench.children import child
from flotilla.cli.bench.loops import run_loop

MODEL: Final = "stand-in"
ANSWER: Final = "All is well, and nothing has to be done about it."
REQUEST_BYTES_MAX: Final = 1024 * 1024

_HEAD_END: Final = b"\r\n\r\n"
_LENGTH: Final = b"content-length:"
_CHAT: Final = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": MODEL,
    "choices": [{"index": 0, "message": {"role": "assistant", "content": ANSWER}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 200, "completion_tokens": 12, "total_tokens": 212},
}
_MODELS: Final = {"object": "list", "data": [{"id": MODEL, "object": "model", "created": 1, "owned_by": "bench"}]}


def _response(body: object) -> bytes:
    encoded = msgspec.json.encode(body)
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(encoded)}\r\n\r\n"
    return head.encode() + encoded


_CHATTED: Final = _response(_CHAT)
_LISTED: Final = _response(_MODELS)


class Provider(Struct, frozen=True):
    """A running stand-in: its process, and where its API is."""

    pid: int
    url: str


class _Connection(asyncio.Protocol):
    """Requests one after the other, each answered once its whole body is here."""

    def __init__(self) -> None:
        self._received = bytearray()
        self._peer: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._peer = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        received = self._received
        received += data
        while (head_end := received.find(_HEAD_END)) >= 0:
            whole = head_end + len(_HEAD_END) + _body_bytes(bytes(received[:head_end]))
            if whole > REQUEST_BYTES_MAX or self._peer is None:
                break
            if len(received) < whole:
                return
            self._peer.write(_CHATTED if received.startswith(b"POST") else _LISTED)
            del received[:whole]
        if len(received) > REQUEST_BYTES_MAX and self._peer is not None:
            self._peer.close()


def _body_bytes(head: bytes) -> int:
    lowered = head.lower()
    at = lowered.find(_LENGTH)
    return int(lowered[at + len(_LENGTH) :].split(b"\r\n", 1)[0]) if at >= 0 else 0


async def serve() -> None:
    """Answer until standard input ends."""
    server = await asyncio.get_running_loop().create_server(_Connection, "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.buffer.read)


@asynccontextmanager
async def provider_standing_in() -> AsyncGenerator[Provider]:
    """
    Run one while the block runs.

    Raises:
        BenchError: It did not come up.
    """
    module = "flotilla.cli.bench.provider_stand_in"
    async with child(module, name="the provider's stand-in") as (pid, port):
        yield Provider(pid, f"http://127.0.0.1:{int(port)}/v1")


if __name__ == "__main__":
    run_loop(serve)
