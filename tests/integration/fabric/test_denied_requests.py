"""A request on a subject that a user may not publish to: whoever says that it may be so is told at once."""

import asyncio

import pytest

from flotilla.fabric.connection import connected
from flotilla.fabric.errors import NoRespondersError, RequestDeniedError, RequestTimeoutError
from flotilla.fabric.inbox import Requests
from flotilla.testkit.nats_server import RunningServer
from flotilla.testkit.patient_client import WAIT_S


async def test_a_denied_request_is_told_at_once_to_whoever_may_be_denied(nats_server: RunningServer):
    """
    To others it is silence, as before; and one on an allowed subject beside it is not taken for denied.
    """
    async with connected(nats_server.anonymous(), name="tenant") as connection:
        requests = Requests(connection)
        await requests.start()
        denied = requests.request("sealed.api.Status", timeout_s=WAIT_S, may_be_denied=True)
        silent = requests.request("sealed.api.Status", timeout_s=0.5)
        allowed = requests.request("api.status", timeout_s=WAIT_S, may_be_denied=True)
        ended = await asyncio.gather(denied, silent, allowed, return_exceptions=True)
        await requests.stop()

    assert [RequestDeniedError, RequestTimeoutError, NoRespondersError] == [type(error) for error in ended]


async def test_a_denied_request_is_a_request_without_an_answer():
    """
    So nobody who waits out silence has to know it.
    """
    assert issubclass(RequestDeniedError, RequestTimeoutError)
    with pytest.raises(RequestTimeoutError):
        raise RequestDeniedError("a.subject")
