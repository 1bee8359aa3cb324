"""What a counting socket has counted, wherever the pieces end in which it comes."""

import pytest

from flotilla.testkit.counting_socket import CountingSocket

SENT = b"ab\nstate\nx\nstate\n\nevents\nab\nab" * 3


@pytest.mark.parametrize("size", range(1, len(SENT) + 1))
def test_a_mark_is_counted_once_wherever_a_piece_ends(size: int):
    """
    Also where several pieces make up one mark.
    """
    socket = CountingSocket(b"\nstate\n", b"\nevents\n", b"ab")
    for at in range(0, len(SENT), size):
        socket.data_received(SENT[at : at + size])

    assert {b"\nstate\n": 6, b"\nevents\n": 3, b"ab": 9} == socket.counts
    assert len(SENT) == socket.size_bytes
