"""What a provider may send: too much of anything ends the call with a typed failure, and its memory stays small."""

import asyncio
import functools
import gzip
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Final

import pytest

from flotilla.capabilities.errors import AttemptError
from flotilla.contracts.failures import FailureKind
from flotilla.inference.adapters.anthropic_messages import AnthropicMessages
from flotilla.inference.adapters.http_bounds import ERROR_BYTES_MAX, STREAM_BYTES_MAX, WHOLE_BYTES_MAX
from flotilla.inference.adapters.ollama_chat import OllamaChat
from flotilla.inference.adapters.openai_chat import OpenAIChat
from flotilla.inference.backend import Emit, Model, ModelCall, Turn
from flotilla.testkit.raw_http import RawHttpServer, RawRequest, chunk, head, whole

CALL: Final = ModelCall(model="m", system="", turns=(Turn(role="user", content="hello"),), timeout_s=60.0)
MEMORY_BYTES_MAX: Final = 16 * 1024 * 1024
MIB: Final = 1024 * 1024
EVERY: Final[dict[str, Callable[[str], Model]]] = {
    "ollama": OllamaChat,
    "vllm": lambda url: OpenAIChat(api_key=None, base_url=url, provider="vllm"),
    "openai": lambda url: OpenAIChat(api_key="k", base_url=url),
    "anthropic": lambda url: AnthropicMessages(api_key="k", base_url=url),
}
ANSWERS: Final = {
    "ollama": b'{"model":"m","message":{"role":"assistant","content":"calm"},"done":true,"done_reason":"stop"}',
    "vllm": b'{"model":"m","choices":[{"message":{"content":"calm"},"finish_reason":"stop"}]}',
    "openai": b'{"model":"m","choices":[{"message":{"content":"calm"},"finish_reason":"stop"}]}',
    "anthropic": b'{"model":"m","content":[{"type":"text","text":"calm"}],"stop_reason":"end_turn"}',
}
Write = Callable[[asyncio.StreamWriter], None]
CHUNKED: Final = head("content-type: application/json", "transfer-encoding: chunked")


async def nothing(_: str) -> None:
    """Take a piece."""


@functools.cache
def bomb() -> bytes:
    """100 MiB of blanks."""
    return b"".join(packed_mebibytes(100))


@functools.cache
def packed_mebibytes(count: int, block: bytes = b" ") -> tuple[bytes, ...]:
    """A gzip of that many MiB of the same, a thousandth as long, in pieces."""
    packer = zlib.compressobj(1, wbits=zlib.MAX_WBITS | 16)
    return (*(packer.compress(block * (MIB // len(block))) for _ in range(count)), packer.flush())


async def answered(kind: str, write: Callable[[asyncio.StreamWriter], object], emit: Emit | None = None) -> str:
    """What an adapter makes of an answer; `write` may be a coroutine function."""

    async def respond(request: RawRequest, writer: asyncio.StreamWriter) -> None:
        if request.target == "/api/show":
            writer.write(whole(b"{}"))
            return
        waits = write(writer)
        if asyncio.iscoroutine(waits):
            await waits

    async with RawHttpServer(respond) as server:
        model = EVERY[kind](server.url)
        try:
            return (await model.complete(CALL, emit)).text
        finally:
            await model.aclose()


async def failed(kind: str, write: Callable[[asyncio.StreamWriter], object], emit: Emit | None = None) -> AttemptError:
    """The failure, and no memory to speak of was needed to find it."""
    await answered_well(kind)
    tracemalloc.start()
    try:
        with pytest.raises(AttemptError) as caught:
            await answered(kind, write, emit)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < WHOLE_BYTES_MAX + MEMORY_BYTES_MAX
    return caught.value


async def answered_well(kind: str) -> None:
    """Import and make what the first call needs."""
    assert "calm" == await answered(kind, lambda writer: writer.write(whole(ANSWERS[kind])))


@pytest.mark.parametrize("emit", [None, nothing], ids=["whole", "streamed"])
@pytest.mark.parametrize("packing", ["gzip", "x-gzip", "GZIP"])
@pytest.mark.parametrize("kind", EVERY)
async def test_a_small_body_that_unpacks_to_a_large_one_is_not_unpacked(kind: str, packing: str, emit: Emit | None):
    """
    600 KB are a gigabyte, unpacked, and were kept whole.
    """
    body = bomb()
    assert len(body) < MIB

    failure = await failed(kind, lambda writer: writer.write(whole(body, f"content-encoding: {packing}")), emit)

    assert FailureKind.INVALID_OUTPUT == failure.kind
    assert "longer than" in failure.message


@pytest.mark.parametrize("kind", EVERY)
async def test_lines_are_bounded_when_each_of_them_is_packed(kind: str):
    """
    A stream is: by its lines, and in all.
    """
    for mebibytes, block in ((3, b"\n"), (4, b"\r\n"), (STREAM_BYTES_MAX // MIB + 2, b" " * 1023 + b"\n")):

        async def lines(writer: asyncio.StreamWriter, mebibytes: int = mebibytes, block: bytes = block) -> None:
            writer.write(
                head("content-type: text/event-stream", "content-encoding: gzip", "transfer-encoding: chunked")
            )
            for packed in packed_mebibytes(mebibytes, block):
                if packed:
                    writer.write(chunk(packed))
            writer.write(chunk(b""))

        with pytest.raises(AttemptError) as caught:
            await answered(kind, lines, nothing)
        assert FailureKind.INVALID_OUTPUT == caught.value.kind


@pytest.mark.parametrize("emit", [None, nothing], ids=["whole", "streamed"])
@pytest.mark.parametrize("kind", EVERY)
async def test_an_answer_without_an_end_is_ended(kind: str, emit: Emit | None):
    """
    One line for ever, in chunks: it is no longer read, and the connection closed.
    """

    async def for_ever(writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED)
        while True:
            writer.write(chunk(b" " * MIB))
            await writer.drain()

    failure = await failed(kind, for_ever, emit)

    assert FailureKind.INVALID_OUTPUT == failure.kind


@pytest.mark.parametrize("kind", EVERY)
async def test_an_answer_that_says_that_it_is_too_long_is_not_read(kind: str):
    """
    Whatever the number.
    """
    for told in (WHOLE_BYTES_MAX + 1, 10**30):
        failure = await failed(kind, lambda writer, told=told: writer.write(head(f"content-length: {told}") + b"{"))

        assert failure.kind in {FailureKind.INVALID_OUTPUT, FailureKind.UNAVAILABLE}


@pytest.mark.parametrize("emit", [None, nothing], ids=["whole", "streamed"])
@pytest.mark.parametrize("kind", EVERY)
async def test_headers_are_bounded(kind: str, emit: Emit | None):
    """
    One that is long, and many that are short.
    """
    for headers in ([f"x: {'y' * 200_000}"], [f"x-{number}: {'y' * 60}" for number in range(1200)]):
        failure = await failed(kind, lambda writer, headers=headers: writer.write(whole(b"{}", *headers)), emit)

        assert failure.kind in {FailureKind.INVALID_OUTPUT, FailureKind.UNAVAILABLE}


@pytest.mark.parametrize("packing", ["", "gzip"])
@pytest.mark.parametrize("kind", EVERY)
async def test_of_a_long_error_the_beginning_is_read_and_its_status_counts(kind: str, packing: str):
    """
    A proxy's page of megabytes must not hide that it was a rate limit.
    """
    page = b"<html>" + b"x" * (ERROR_BYTES_MAX * 20)
    body, headers = (gzip.compress(page), [f"content-encoding: {packing}"]) if packing else (page, [])
    headers.append("retry-after: 7")

    failure = await failed(kind, lambda writer: writer.write(whole(body, *headers, status="429 Too Many Requests")))

    assert (FailureKind.RATE_LIMITED, 7.0) == (failure.kind, failure.retry_after_s)


def gzip_in_two(data: bytes) -> bytes:
    """Two gzips, one after the other."""
    return gzip.compress(data[:9]) + gzip.compress(data[9:])


def raw_deflate(data: bytes) -> bytes:
    """Without zlib's header, as some servers have it."""
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize(
    ("packing", "pack"),
    [
        ("gzip", gzip.compress),
        ("gzip", gzip_in_two),
        ("deflate", zlib.compress),
        ("deflate", raw_deflate),
        ("identity", bytes),
    ],
    ids=["gzip", "gzip in two", "zlib", "raw deflate", "identity"],
)
@pytest.mark.parametrize("kind", EVERY)
async def test_an_answer_that_is_packed_is_read(kind: str, packing: str, pack: Callable[[bytes], bytes]):
    """
    As gateways pack them, in one piece and byte by byte.
    """
    body = pack(ANSWERS[kind])

    async def in_bytes(writer: asyncio.StreamWriter) -> None:
        encoding = f"content-encoding: {packing}"
        writer.write(head("content-type: application/json", "transfer-encoding: chunked", encoding))
        for byte in body:
            writer.write(chunk(bytes([byte])))
        writer.write(chunk(b""))

    assert "calm" == await answered(kind, lambda writer: writer.write(whole(body, f"content-encoding: {packing}")))
    assert "calm" == await answered(kind, in_bytes)


@pytest.mark.parametrize("packing", ["br", "zstd", "gzip, gzip", "compress", "aes128gcm"])
@pytest.mark.parametrize("kind", EVERY)
async def test_a_packing_that_nobody_asked_for_is_no_answer(kind: str, packing: str):
    """
    What is packed twice is a bomb, not thrift.
    """
    body = gzip.compress(gzip.compress(ANSWERS[kind]))

    failure = await failed(kind, lambda writer: writer.write(whole(body, f"content-encoding: {packing}")))

    assert FailureKind.UNAVAILABLE == failure.kind


@pytest.mark.parametrize("kind", EVERY)
async def test_a_broken_packing_is_no_answer(kind: str):
    """
    The next replica, or another route, may have a whole one.
    """
    body = b"no gzip at all"

    failure = await failed(kind, lambda writer: writer.write(whole(body, "content-encoding: gzip")))

    assert FailureKind.UNAVAILABLE == failure.kind
