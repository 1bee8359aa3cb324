"""Server-sent events, cut anywhere and written in every way that the standard allows."""

from collections.abc import AsyncGenerator, Iterable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flotilla.capabilities.errors import AttemptError
from flotilla.contracts.failures import FailureKind
from flotilla.inference.adapters.server_sent_events import EVENT_BYTES_MAX, events, is_event_stream

BOM = b"\xef\xbb\xbf"
SEPARATORS = "\u2028\u2029\x85\x0b\x0c\x1c\x1d\x1e"
"""What Python's splitlines takes for line ends, and the standard does not."""


async def body(chunks: Iterable[bytes]) -> AsyncGenerator[bytes]:
    for chunk in chunks:
        yield chunk


async def read(*chunks: bytes) -> list[tuple[str, str]]:
    return [(event.event, event.data) async for event in events(body(chunks), provider="p")]


@pytest.mark.parametrize(
    ("given_bytes", "expected"),
    [
        (b"data: a\n\ndata: b\n\n", ["a", "b"]),
        (b"data:a\n\n", ["a"]),
        (b"data:  a\n\n", [" a"]),
        (BOM + b"data: a\n\n", ["a"]),
        (b"\n" + BOM + b"data: a\n\n", []),
        (b"data: a\r\rdata: b\r\r", ["a", "b"]),
        (b"data: a\r\n\r\ndata: b\r\n\r\n", ["a", "b"]),
        (b"data: a\r\n\rdata: b\n\r\n", ["a", "b"]),
        (b"retry: 3000\n\ndata: a\n\n", ["a"]),
        (b"retry: soon\n\ndata: a\n\n", ["a"]),
        (b": keep-alive\n\ndata: a\n: inside\n\n", ["a"]),
        (b"id: 7\n\n\n\ndata: a\n\n\n", ["a"]),
        (b"event: ping\n\ndata: a\n\n", ["a"]),
        (b"data: a\ndata: b\n\n", ["a\nb"]),
        (b"data\n\n", []),
        (b"unknown: x\ndata: a\nretry\n\n", ["a"]),
        (b"data: a\n\ndata: unfinished\n", ["a"]),
        (b"data: \xff\n\n", ["\ufffd"]),
        (b"", []),
        (b"{}", []),
    ],
)
async def test_what_the_standard_says(given_bytes: bytes, expected: list[str]):
    """
    Whole, and byte by byte.
    """
    assert expected == [data for _, data in await read(given_bytes)]
    assert expected == [data for _, data in await read(*(given_bytes[i : i + 1] for i in range(len(given_bytes))))]


async def test_the_type_of_an_event_is_its_own():
    """
    An event without data takes its type with it.
    """
    assert [("error", "a"), ("message", "b")] == await read(b"event: error\ndata: a\n\nevent: x\n\ndata: b\n\n")


async def test_an_event_that_ends_in_cr_does_not_wait_for_the_next_one():
    """
    The server may have nothing more to say, and keep the connection.
    """
    seen: list[str] = []

    async def slow() -> AsyncGenerator[bytes]:
        yield b"data: a\r\r"
        assert ["a"] == seen
        yield b"\ndata: b\r\r"

    async for event in events(slow(), provider="p"):
        seen += [event.data]

    assert ["a", "b"] == seen


DATA = st.lists(
    st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]) | st.sampled_from(SEPARATORS)),
    min_size=1,
    max_size=3,
)


@settings(deadline=None)
@given(
    sent=st.lists(DATA, max_size=5),
    ends=st.sampled_from([b"\n", b"\r\n", b"\r"]),
    noise=st.sampled_from([b"", b":", b"retry: 1", b"id: 1"]),
    bom=st.booleans(),
    cuts=st.lists(st.integers(0, 400)),
)
async def test_any_data_comes_through_however_the_bytes_are_cut(
    sent: list[list[str]], ends: bytes, noise: bytes, cuts: list[int], *, bom: bool
):
    """
    Inside a character, between CR and LF, at the byte order mark.
    """
    whole = BOM if bom else b""
    for lines in sent:
        whole += noise + ends if noise else b""
        whole += b"".join(b"data: " + line.encode() + ends for line in lines) + ends
    places = sorted({0, len(whole), *(cut for cut in cuts if cut < len(whole))})
    chunks = [whole[start:stop] for start, stop in pairwise(places)]

    assert [text for lines in sent if (text := "\n".join(lines))] == [data for _, data in await read(*chunks)]


@pytest.mark.parametrize("chunk", [b"x" * 65536, b"data: " + b"x" * 65530, b"data: " + b"x" * 65529 + b"\n"])
async def test_an_event_without_an_end_is_given_up(chunk: bytes):
    """
    Whether its line never ends, or its lines.
    """
    with pytest.raises(AttemptError) as caught:
        await read(*[chunk] * (EVENT_BYTES_MAX // len(chunk) + 2))

    assert FailureKind.TOO_LARGE is caught.value.kind


@pytest.mark.parametrize(
    ("content_type", "beginning", "expected"),
    [
        ("text/event-stream", b"data: {}", True),
        ("text/event-stream; charset=utf-8", b"", True),
        ("text/event-stream", b'{"choices": []}', False),
        ("text/event-stream", BOM + b" \n[", False),
        ("application/json", b"data: {}", True),
        ("text/plain", b": keep-alive\n", True),
        ("", BOM + b"event: x\n", True),
        ("application/json", b"", False),
        ("text/html", b"<html>", False),
    ],
)
def test_what_a_body_is_says_its_beginning_first(content_type: str, beginning: bytes, *, expected: bool):
    """
    Servers do the other of what was asked for, and name it wrongly.
    """
    assert expected is is_event_stream(content_type, beginning)
