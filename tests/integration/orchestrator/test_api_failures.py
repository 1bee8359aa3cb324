"""How a question is answered that the orchestrator cannot answer."""

import asyncio
import json

import pytest
import structlog

from flotilla.fabric.connection import connected
from flotilla.fabric.errors import RequestTimeoutError
from flotilla.fabric.inbox import Requests
from flotilla.testkit.nats_server import RunningServer
from orchestrator.api.requests import Answerer, ApiRequest
from orchestrator.api.server import Api


async def _unreachable(_question: ApiRequest) -> None:
    raise RequestTimeoutError("$JS.API.STREAM.MSG.GET.TASKS_default")


async def _wrong(_question: ApiRequest) -> None:
    raise ValueError("secret")


async def _endless(_question: ApiRequest) -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("answerer", "event", "text"),
    [
        (_unreachable, "api_failed", "could not be reached"),
        (_wrong, "api_crashed", "the logs have it"),
        (_endless, "api_stopped", "was stopped"),
    ],
)
async def test_the_logs_have_an_internal_error_under_its_id(
    nats_server: RunningServer, answerer: Answerer, event: str, text: str
):
    """
    Whatever it was: stores that do not answer, a fault of the orchestrator's, or its end.
    """
    begun = asyncio.Event()

    async def answer_it(question: ApiRequest) -> None:
        begun.set()
        await answerer(question)

    async with (
        connected(nats_server.admin(), name="orchestrator") as connection,
        connected(nats_server.admin(), name="caller") as caller,
    ):
        api = Api(connection, scopes=("default",), verbs={"status": answer_it})
        await api.start()
        await connection.settle()
        requests = Requests(caller)
        await requests.start()
        with structlog.testing.capture_logs() as logged:
            asking = asyncio.ensure_future(requests.request("scope.default.api.status"))
            await begun.wait()
            if answerer is _endless:
                await api.stop()
            answer = await asking
        await requests.stop()

    error = json.loads(answer.data)["error"]
    assert error["kind"] == "internal"
    assert text in error["message"]
    assert "secret" not in error["message"]
    assert [(entry["event"], entry["id"]) for entry in logged] == [(event, error["details"]["id"])]
