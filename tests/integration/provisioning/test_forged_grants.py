"""A grant is forged by nobody who has no right to write what is kept of approvals: the server refuses each of them."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from flotilla.contracts import subjects
from flotilla.fabric.connection import NatsSettings
from flotilla.testkit.nats_server import RunningServer, running_server
from flotilla.testkit.patient_client import PatientClient
from flotilla.testkit.plain_client import settled

pytestmark = pytest.mark.asyncio(loop_scope="module")

REQUEST = "0" * 32
BUCKET = subjects.approvals_bucket("acme")
FORGERIES = (
    subjects.key(BUCKET, REQUEST),
    subjects.suspended("acme", "t"),
    subjects.resumed("acme", "t"),
    subjects.audit("acme", REQUEST, "granted"),
    subjects.step_payload("acme", "t", REQUEST),
    subjects.step_passed("acme", "t", REQUEST),
    subjects.pipeline_step("acme", "t", "report", "-", REQUEST),
    "scope.acme.api.decide",
    f"$JS.API.STREAM.MSG.DELETE.{subjects.bucket_stream(BUCKET)}",
    f"$JS.API.STREAM.PURGE.{subjects.suspended_stream('acme')}",
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningServer]:
    """
    Two tenants; the pools of a fleet.
    """
    async with running_server(tmp_path_factory.mktemp("forged"), scopes=("default", "acme")) as running:
        yield running


async def refused(settings: NatsSettings) -> set[str]:
    """Of all forgeries, those that the server does not let a user publish."""
    nc: Any = PatientClient()  # its types are partial
    said: list[str] = []

    async def on_error(error: Exception) -> None:
        said.append(str(error).lower())

    seed = None if settings.creds is None else str(settings.creds)
    await nc.connect(settings.url, nkeys_seed=seed, inbox_prefix=settings.inbox_prefix, error_cb=on_error)
    try:
        for subject in FORGERIES:
            await nc.publish(subject, b"{}")
        # Violations come before the second PONG.
        await settled(nc)
    finally:
        await nc.close()
    return {subject for subject in FORGERIES if any(f'"{subject.lower()}"' in each for each in said)}


@pytest.mark.parametrize("who", ["its tenant", "its approver", "another tenant", "another approver", "local", "cloud"])
async def test_who_is_no_orchestrator_writes_nothing_of_approvals(server: RunningServer, who: str):
    """
    No record, no message that is due, no line of the audit, no input that is shown, no result of a step.
    """
    settings = {
        "its tenant": server.tenant("acme"),
        "its approver": server.approver("acme"),
        "another tenant": server.tenant(),
        "another approver": server.approver(),
        "local": server.worker("local", "local"),
        "cloud": server.worker("cloud", "cloud"),
    }[who]

    assert set(FORGERIES) == await refused(settings)
