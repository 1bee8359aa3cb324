"""Of all who publish to a subject one stores its message and is told so, however many acknowledgements are lost."""

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest

from flotilla.contracts import subjects
from flotilla.fabric import publish_once as module
from flotilla.fabric.connection import Connection, Message, connected
from flotilla.fabric.errors import RequestTimeoutError
from flotilla.fabric.inbox import Requests
from flotilla.fabric.publish_once import Destination, publish_once
from flotilla.fabric.publish_outcomes import Stored
from flotilla.fabric.stored import last_message, scan
from flotilla.provisioning.stream_config import StreamConfig
from flotilla.provisioning.streams import ensure
from flotilla.provisioning.topology import topology
from flotilla.testkit.nats_server import RunningServer

PATIENCE_S = 60.0
RESULTS = subjects.results_stream("default")


class LossyRequests(Requests):
    """Sends what it is told to; of the acknowledgements, the next `lost` never come, and later ones with a chance."""

    def __init__(self, connection: Connection, *, lost: int = 0, chance: float = 0.0, seed: int = 0) -> None:
        super().__init__(connection)
        self._lost = lost
        self._chance = chance
        self._rng = random.Random(seed)
        self.sent = 0

    async def request(self, subject: str, body: bytes = b"", **options: Any) -> Message:
        """See `Requests`."""
        self.sent += 1
        reply = await super().request(subject, body, **options)
        if self._lost or self._rng.random() < self._chance:
            self._lost = max(0, self._lost - 1)
            raise RequestTimeoutError(subject)
        return reply


@pytest.fixture
async def connection(nats_server: RunningServer) -> AsyncIterator[Connection]:
    """
    Of an orchestrator whose scope has its streams.
    """
    async with connected(nats_server.orchestrator(), name="orchestrator") as connection:
        await ensure(await _requests(connection), topology(("default",)))
        yield connection


@pytest.fixture
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE_S", 0.01)


async def test_the_first_to_be_stored_counts(connection: Connection):
    """
    A second one is told that the subject holds another, also when it brings the same bytes: it did not store them.
    """
    requests = await _requests(connection)

    first, other, same = [await _publish(requests, "t", body) for body in (b"first", b"other", b"first")]

    assert (Stored.NOW, Stored.BEFORE, Stored.BEFORE) == (first, other, same)
    assert [b"first"] == await _held(requests, "t")


@pytest.mark.usefixtures("_short_pauses")
@pytest.mark.parametrize("lost", [1, 2, 3])
async def test_a_lost_acknowledgement_is_found_out(connection: Connection, lost: int):
    """
    The repeat is refused because of the first try: what is there is compared with what was sent.
    """
    requests = await _requests(connection, lost=lost)

    assert Stored.NOW is await _publish(requests, "t", b"mine")
    assert Stored.BEFORE is await _publish(await _requests(connection, lost=lost), "t", b"late")
    assert [b"mine"] == await _held(await _requests(connection), "t")


@pytest.mark.usefixtures("_short_pauses")
@pytest.mark.parametrize("seed", range(3))
async def test_of_any_number_of_publishers_exactly_one_stored_it(connection: Connection, seed: int):
    """
    At the same moments, with half of all acknowledgements lost: what is there is what the one told so has sent.
    """
    several = [await _requests(connection, chance=0.5, seed=100 * seed + number) for number in range(5)]
    for slot in range(8):
        bodies = [f"{slot} of {number}".encode() for number in range(len(several))]

        told = await asyncio.gather(
            *(_publish(each, f"t{slot}", body) for each, body in zip(several, bodies, strict=True))
        )

        assert 1 == told.count(Stored.NOW)
        assert len(several) - 1 == told.count(Stored.BEFORE)
        assert [bodies[told.index(Stored.NOW)]] == await _held(await _requests(connection), f"t{slot}")


@pytest.mark.usefixtures("_short_pauses")
async def test_a_refusal_is_told_and_tried_again_only_so_often(connection: Connection, nats_server: RunningServer):
    """
    A stream without room refuses each try; with no bound on refusals, it is tried until the patience is over.
    """
    async with connected(nats_server.admin(), name="admin") as admin:
        full = await _requests(admin)
        await ensure(full, [_tiny("full.>")])
        await full.request("full.first", b"")
        destination = Destination(publish="full.t", stream="FULL", stored="full.t")
        bounded: list[str] = []
        patient: list[str] = []

        outcomes = (
            await publish_once(
                full, destination, b"x", patience_s=PATIENCE_S, refusals_max=3, on_refused=bounded.append
            ),
            await publish_once(full, destination, b"x", patience_s=2.0, on_refused=patient.append),
        )

    assert (Stored.NOT, Stored.NOT) == outcomes
    assert ["maximum messages exceeded (10077)"] * 3 == bounded
    assert set(bounded) == set(patient)
    assert len(patient) > 3


@pytest.mark.usefixtures("_short_pauses")
async def test_what_answers_in_a_streams_place_is_a_refusal(connection: Connection, nats_server: RunningServer):
    """
    Whatever bytes it sends: nobody has said that the message is stored.
    """
    async with connected(nats_server.admin(), name="admin") as admin:
        bodies = [b"", b"+OK", b"\xff", b"[]", b'{"error":7}', b'{"seq":"1"}']
        answers = iter(bodies)

        async def answer(message: Message) -> None:
            await admin.publish(message.reply, next(answers))

        await admin.subscribe("nobody.t", answer)
        refusals: list[str] = []
        outcome = await publish_once(
            await _requests(admin),
            Destination(publish="nobody.t", stream=RESULTS, stored="nobody.t"),
            b"x",
            patience_s=PATIENCE_S,
            refusals_max=len(bodies),
            on_refused=refusals.append,
        )

    assert Stored.NOT is outcome
    assert len(bodies) == len(refusals)
    assert all(refusal.startswith("acknowledgement: ") for refusal in refusals)


@pytest.mark.usefixtures("_short_pauses")
async def test_where_no_stream_listens_patience_ends(connection: Connection, nats_server: RunningServer):
    """
    Nobody answers, and nobody is told of a refusal: there was none. Between two tries it pauses.
    """
    refusals: list[str] = []
    async with connected(nats_server.admin(), name="admin") as admin:
        requests = await _requests(admin)
        outcome = await publish_once(
            requests,
            Destination(publish="nobody.t", stream=RESULTS, stored="nobody.t"),
            b"x",
            patience_s=0.3,
            refusals_max=1,
            on_refused=refusals.append,
        )

    assert Stored.NOT is outcome
    assert [] == refusals
    assert requests.sent <= 0.3 / module.PAUSE_S + 2


async def test_a_stream_that_comes_late_still_takes_it(connection: Connection, nats_server: RunningServer):
    """
    As after a cluster's election: it is tried again until somebody answers.
    """
    async with connected(nats_server.admin(), name="admin") as admin:
        requests = await _requests(admin)
        destination = Destination(publish="late.t", stream="FULL", stored="late.t")
        publishing = asyncio.ensure_future(
            publish_once(requests, destination, b"x", patience_s=PATIENCE_S, on_refused=lambda _reason: None)
        )
        await asyncio.sleep(0.3)
        await ensure(requests, [_tiny("late.>")])

        assert Stored.NOW is await publishing
        found = await last_message(requests, "FULL", "late.t")

    assert found is not None
    assert b"x" == found.body


def _tiny(pattern: str) -> StreamConfig:
    """A stream with room for one message."""
    return StreamConfig(
        name="FULL",
        subjects=(pattern,),
        retention="limits",
        discard="new",
        max_bytes=1024 * 1024,
        max_msgs=1,
        allow_direct=True,
    )


async def _requests(connection: Connection, **losses: Any) -> LossyRequests:
    requests = LossyRequests(connection, **losses)
    await requests.start()
    return requests


async def _publish(requests: Requests, task: str, body: bytes) -> Stored:
    destination = Destination(
        publish=subjects.commit("default", "classify", task),
        stream=RESULTS,
        stored=subjects.results("default", "classify", task),
    )
    return await publish_once(requests, destination, body, patience_s=PATIENCE_S, on_refused=pytest.fail)


async def _held(requests: Requests, task: str) -> list[bytes]:
    found = await scan(requests, RESULTS, subjects.results("default", "classify", task), messages_max=10)
    return [message.body for message in found]
