"""Who may decide what leaves: the scope's approver alone, of whom the server says which user it is."""

import json
from collections.abc import AsyncIterator
from typing import Any

import nats.errors
import pytest
import pytest_asyncio
from nats.aio.msg import Msg

from flotilla.contracts import subjects
from flotilla.fabric.connection import NatsSettings
from flotilla.fabric.seed_files import public_key_of
from flotilla.provisioning import roles
from flotilla.testkit.nats_server import RunningServer, running_server
from flotilla.testkit.patient_client import WAIT_S, PatientClient
from flotilla.testkit.plain_client import settled

pytestmark = pytest.mark.asyncio(loop_scope="module")

SCOPES = ("default", "acme", "clinic")
SEALED = "sealed."


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningServer]:
    """
    With a sealed lane, which one of the scopes has alone.
    """
    directory = tmp_path_factory.mktemp("approver")
    async with running_server(directory, scopes=SCOPES, sealed=True, sealed_scopes=("clinic",)) as running:
        yield running


class Member:
    """A connection that keeps what the server refused it."""

    def __init__(self) -> None:
        self.nc: Any = PatientClient()  # its types are partial
        self.refused: list[str] = []

    async def _on_error(self, error: Exception) -> None:
        self.refused.append(str(error))

    async def connect(self, settings: NatsSettings) -> "Member":
        seed = None if settings.creds is None else str(settings.creds)
        await self.nc.connect(
            settings.url, nkeys_seed=seed, inbox_prefix=settings.inbox_prefix, error_cb=self._on_error
        )
        return self

    async def may_publish(self, subject: str) -> bool:
        self.refused.clear()
        await self.nc.publish(subject, b"{}")
        return await self._was_let()

    async def may_subscribe(self, subject: str) -> bool:
        self.refused.clear()
        await self.nc.subscribe(subject)
        return await self._was_let()

    async def _was_let(self) -> bool:
        # A violation comes before the second PONG.
        await settled(self.nc)
        return not self.refused


@pytest.mark.parametrize("scope", ["acme", "clinic"])
async def test_the_approver_alone_asks_what_waits_and_decides_it(server: RunningServer, scope: str):
    """
    It submits nothing, and asks nothing else; the tenant does the rest, without hearing the approver's inbox.
    """
    tenant = await Member().connect(server.tenant(scope))
    approver = await Member().connect(server.approver(scope))
    decides = ("api.approvals", "api.decide")
    submits = ("tasks.classify", "ask.classify", "api.status", "api.cancel", "api.dead")
    lanes = ("", SEALED) if scope == "acme" else ("",)
    try:
        for lane in lanes:
            assert [True, True] == [await approver.may_publish(lane + subject) for subject in decides]
            assert [False, False] == [await tenant.may_publish(lane + subject) for subject in decides]
            assert [True] * 5 == [await tenant.may_publish(lane + subject) for subject in submits]
            assert [False] * 5 == [await approver.may_publish(lane + subject) for subject in submits]
            assert await approver.may_subscribe(f"{lane}events.>")
            assert not await approver.may_subscribe(f"{lane}results.>")
        assert not await tenant.may_subscribe(f"{subjects.APPROVER_INBOX}.>")
        assert not await tenant.may_subscribe(">")
        assert not await approver.may_subscribe("_INBOX.>")
        assert not await approver.may_publish(f"scope.{scope}.api.decide")
    finally:
        await tenant.nc.close()
        await approver.nc.close()


async def test_the_server_says_which_user_of_which_account_asks(server: RunningServer):
    """
    Whatever the asker writes there; and a decision for one scope never comes in as one for another.
    """
    orchestrator = await Member().connect(server.orchestrator())
    approver = await Member().connect(server.approver("acme"))
    heard: list[Msg] = []

    async def answer(message: Msg) -> None:
        heard.append(message)
        await message.respond(b"{}")

    await orchestrator.nc.subscribe(subjects.api("*", "*"), cb=answer)
    await settled(orchestrator.nc)
    try:
        forged = {"Nats-Request-Info": json.dumps({"acc": "default", "user": "UFORGED"})}
        await approver.nc.request("api.decide", b"{}", timeout=WAIT_S, headers=forged)
        with pytest.raises(nats.errors.Error):
            await approver.nc.request("scope.default.api.decide", b"{}", timeout=1)
    finally:
        await approver.nc.close()
        await orchestrator.nc.close()

    told = json.loads((heard[0].headers or {})["Nats-Request-Info"])
    seed = server.credentials.path(roles.approver_user("acme")).read_bytes().strip()
    assert ["scope.acme.api.decide"] == [message.subject for message in heard]
    assert ("acme", public_key_of(seed)) == (told["acc"], told["user"])
