"""Why there is no connection is said in words: what to do differs."""

import errno
import socket

import nats.errors
import pytest

from flotilla.client.errors import CredentialsRefusedError, NoFleetError
from flotilla.client.link import not_connected
from flotilla.fabric.errors import ConnectFailedError

URL = "nats://127.0.0.1:4222"
NO_INFO = nats.errors.Error("nats: empty response from server when expecting INFO message")
SEEN = {
    "connection refused": ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed ('127.0.0.1', 4222)"),
    "no route to host": OSError(errno.EHOSTUNREACH, "Connect call failed ('10.0.0.1', 4222)"),
    "no host of this name is known": socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
    "no answer in time": ConnectFailedError(URL, TimeoutError("no answer in time")),
    "what listens there is no nats-server": ConnectFailedError(URL, NO_INFO),
}


@pytest.mark.parametrize("reason", SEEN)
def test_what_was_seen_last_is_told_in_words(reason: str):
    """
    Nobody listens, nobody can get there, or something else listens.
    """
    told = not_connected(URL, SEEN[reason])

    assert NoFleetError is type(told)
    assert f"no fleet at {URL}: no server can be reached there: {reason}" == str(told)


def test_what_the_system_has_no_words_for_is_told_without():
    """
    Several addresses of one name, each with its own trouble.
    """
    told = not_connected(URL, OSError("Multiple exceptions: ..."))

    assert f"no fleet at {URL}: no server can be reached there" == str(told)


def test_a_server_that_refuses_is_no_server_that_is_missing():
    """
    By its own words.
    """
    assert CredentialsRefusedError is type(not_connected(URL, nats.errors.Error("nats: 'Authorization Violation'")))
