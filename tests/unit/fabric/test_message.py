"""A header block is any bytes: reading it never fails, and what a client writes is not taken for the server's word."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flotilla.fabric.message import HeaderBlock, Message, status_of

REPLY = "$JS.ACK.TASKS_default.classify.1.7.7.1700000000000000000.0"


def _message(raw: bytes | None, data: bytes = b"", reply: str = "") -> Message:
    return Message("subject", reply, data, raw)


@pytest.mark.parametrize(
    ("raw", "status", "description"),
    [
        (b"NATS/1.0 503\r\n\r\n", "503", ""),
        (b"NATS/1.0 404 No Messages\r\n\r\n", "404", "No Messages"),
        (b"NATS/1.0 408 Request Timeout\r\nNats-Pending-Messages: 1\r\n\r\n", "408", "Request Timeout"),
        (b"NATS/1.0\r\nStatus: 503\r\n\r\n", None, ""),
        (b"NATS/1.0 \xff\xff\xff\r\n\r\n", None, ""),
        (b"NATS/1.0 \xd9\xa1\xd9\xa1\xd9\xa1\r\n\r\n", None, ""),
        (b"NATS/1.0", None, ""),
        (b"", None, ""),
        (None, None, ""),
    ],
)
def test_a_status_is_three_digits_on_the_first_line(raw: bytes | None, status: str | None, description: str):
    """
    A field of that name is not one.
    """
    message = _message(raw)

    assert (status, description) == (status_of(message), message.block.description)


@pytest.mark.parametrize(
    ("reply", "data", "more"),
    [
        (REPLY, b"", b""),
        ("", b"body", b""),
        ("", b"", b"Nats-Stream: KV_presence\r\nNats-Subject: $KV.presence.a\r\nNats-Sequence: 3\r\n"),
    ],
    ids=["pulled from a stream", "with a body", "read out of a stream"],
)
def test_a_stored_message_that_says_that_it_is_a_status_is_a_message(reply: str, data: bytes, more: bytes):
    """
    It would end a listing, or stay in the stream for ever.
    """
    assert status_of(_message(b"NATS/1.0 503\r\n" + more + b"\r\n", data, reply)) is None


def test_of_a_name_that_comes_twice_the_last_holds():
    """
    What the server adds to a stored message comes last, and is what the fleet goes by.
    """
    raw = b"NATS/1.0\r\nNats-Sequence: 99\r\n\r\nNats-Sequence: 98\r\nno colon\r\n\xff: x\r\nNats-Sequence: 7\r\n\r\n"

    assert HeaderBlock(raw).fields == {"Nats-Sequence": "7"}


def test_the_block_is_kept_as_it_arrived():
    """
    What a caller asks for is read from it strictly, and nothing of it may be lost before.
    """
    raw = b"NATS/1.0\r\n Flotilla-Data-Class : restricted\r\nFlotilla-Data-Class: public\r\n\xff\r\n\r\n"

    assert _message(raw).raw_headers == raw


@given(raw=st.binary(max_size=200) | st.binary(max_size=80).map(lambda end: b"NATS/1.0" + end))
def test_reading_a_block_never_fails(raw: bytes):
    """
    Any bytes at all; and what comes of it can be encoded.
    """
    message = _message(raw)

    for name, value in message.headers.items():
        assert name.isascii()
        value.encode()
    assert status_of(message) is None or len(status_of(message) or "") == 3
