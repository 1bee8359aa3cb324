"""`Fleet.ask` over a real server."""

import asyncio
import time

import msgspec
import pytest

from flotilla.client import Fleet, NoFleetError, TaskError, TaskFailedError, interactive
from flotilla.contracts.failures import ErrorBody, ErrorKind
from flotilla.contracts.headers import parse_headers
from flotilla.fabric import inbox
from flotilla.testkit.fleet_peer import Asked, FleetPeer, result_of
from flotilla.testkit.nats_server import RunningServer

DOCUMENT = {"document": "My card was charged twice", "labels": ["billing", "login"]}
UNHEARD_S = 3.0
"""In which a peer in this process is heard, however busy the machine is."""
UNHEARD_AGAIN_S = 1.5 * UNHEARD_S
"""After which whoever was not heard would have been asked again."""


async def test_an_answer_is_the_result_with_its_output_as_data(fleet: Fleet, peer: FleetPeer):
    """
    The output needs no decoding by the caller, and the rest of the result is there.
    """

    async def classify(asked: Asked) -> None:
        await peer.finish(asked, result_of("ask-7", asked.name, output={"label": "billing", "confidence": 0.5}))

    peer.on_ask = classify

    answer = await fleet.ask("classify", DOCUMENT)

    assert answer.output == {"label": "billing", "confidence": 0.5}
    assert (answer.task, answer.zone, answer.pool, answer.model) == ("ask-7", "local", "local", "small")
    assert msgspec.json.decode(peer.asked[0].body) == DOCUMENT


async def test_every_option_arrives_as_the_wire_reads_it(fleet: Fleet, peer: FleetPeer):
    """
    What a caller asks for is what an orchestrator decodes from the headers.
    """
    await fleet.ask(
        "classify",
        DOCUMENT,
        task_id="mail-1",
        deadline_s=1.5,
        data_class="restricted",
        route="ollama/llama3.1:8b",
        sticky="customer 7",
        cache="refresh",
        labels={"team": "support"},
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    )

    options = parse_headers(peer.asked[0].headers)
    assert options.task_id == "mail-1"
    assert options.deadline_ms == 1500
    assert options.data_class == "restricted"
    assert (options.route_pool, options.route_model) == ("ollama", "llama3.1:8b")
    assert options.sticky == "customer 7"
    assert options.cache == "refresh"
    assert options.labels == {"team": "support"}
    assert options.traceparent == "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    assert options.stream is False


async def test_many_asks_at_once_get_their_own_answers(fleet: Fleet, peer: FleetPeer):
    """
    Replies that come in another order find their callers.
    """
    held: list[Asked] = []

    async def answer_in_reverse(asked: Asked) -> None:
        held.append(asked)
        if len(held) == 50:
            for each in reversed(held):
                await peer.echo(each)

    peer.on_ask = answer_in_reverse

    answers = await asyncio.gather(*(fleet.ask("classify", {"document": str(n)}) for n in range(50)))

    assert [answer.output["document"] for answer in answers] == [str(n) for n in range(50)]


async def test_a_task_that_failed_raises_with_its_attempts(fleet: Fleet, peer: FleetPeer):
    """
    The error tells the kind, and the answer in it what was tried.
    """
    error = ErrorBody(kind=ErrorKind.PROVIDER_FAILED, message="every route failed", retryable=True)

    async def fail(asked: Asked) -> None:
        await peer.finish(asked, result_of("ask-1", asked.name, error=error))

    peer.on_ask = fail

    with pytest.raises(TaskFailedError) as caught:
        await fleet.ask("classify", DOCUMENT)

    assert caught.value.kind is ErrorKind.PROVIDER_FAILED
    assert [attempt.outcome for attempt in caught.value.answer.attempts] == ["timeout"]


async def test_a_refusal_raises_with_its_kind_and_details(fleet: Fleet, peer: FleetPeer):
    """
    What never became a task is no TaskFailedError: there is no result.
    """

    async def refuse(asked: Asked) -> None:
        await peer.refuse(asked, TaskError(ErrorKind.NO_CAPACITY, "busy", details={"retry_after_s": 1.0}))

    peer.on_ask = refuse

    with pytest.raises(TaskError) as caught:
        await fleet.ask("classify", DOCUMENT)

    assert type(caught.value) is TaskError
    assert caught.value.kind is ErrorKind.NO_CAPACITY
    assert caught.value.details == {"retry_after_s": 1.0}


async def test_without_orchestrators_the_caller_knows_at_once(nats_server: RunningServer):
    """
    No responders is no timeout.
    """
    async with Fleet.connect(nats_server.url) as fleet:
        began_at = time.monotonic()
        with pytest.raises(NoFleetError, match=r"nobody answers on ask\.classify"):
            await fleet.ask("classify", DOCUMENT, deadline_s=60)

    assert time.monotonic() - began_at < 30.0


async def test_a_fleet_that_says_nothing_ends_with_the_deadline(
    fleet: Fleet, peer: FleetPeer, monkeypatch: pytest.MonkeyPatch
):
    """
    A caller never hangs, whatever becomes of the orchestrator that took its task.
    """
    monkeypatch.setattr(interactive, "DEADLINE_MARGIN_S", 0.1)
    peer.on_ask = None
    began_at = time.monotonic()

    with pytest.raises(TaskError) as caught:
        await fleet.ask("classify", DOCUMENT, deadline_s=0.1)

    assert time.monotonic() - began_at < 30.0
    assert caught.value.kind is ErrorKind.DEADLINE_EXCEEDED


async def test_cancelling_a_call_that_has_a_task_id_cancels_the_task(fleet: Fleet, peer: FleetPeer):
    """
    No model works on for nobody.
    """
    peer.on_ask = None
    asking = asyncio.create_task(fleet.ask("classify", DOCUMENT, task_id="mail-1"))
    await peer.arrived.wait()
    peer.arrived.clear()

    asking.cancel()
    await peer.arrived.wait()

    assert [(asked.name, asked.body) for asked in peer.api_requests] == [("cancel", b'{"task":"mail-1"}')]
    assert peer.api_requests[0].reply, "an orchestrator answers; it needs somewhere to"


async def test_an_input_that_is_too_large_is_not_sent(fleet: Fleet, peer: FleetPeer):
    """
    The limit is the server's message size less the room for what an attempt adds.
    """
    limit = peer.connection.payload_bytes_max - 4096
    frame = len(msgspec.json.encode({"document": ""}))
    await fleet.ask("classify", {"document": "x" * (limit - frame)})

    with pytest.raises(TaskError) as caught:
        await fleet.ask("classify", {"document": "x" * (limit - frame + 1)})

    assert caught.value.kind is ErrorKind.TOO_LARGE
    assert caught.value.details == {"limit_bytes": limit, "size_bytes": limit + 1}
    # It may have been sent again where the machine was slow.
    assert {limit} == {len(asked.body) for asked in peer.asked}


async def test_the_admin_speaks_for_a_scope(nats_server: RunningServer, peer: FleetPeer):
    """
    A user of the FLEET account names the tenant it means.
    """
    admin = nats_server.admin()
    async with Fleet.connect(nats_server.url, creds=admin.creds, scope="default") as fleet:
        answer = await fleet.ask("classify", DOCUMENT)

    assert answer.output == DOCUMENT


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox, "UNHEARD_S", UNHEARD_S)


@pytest.mark.usefixtures("_impatient")
async def test_what_nobody_has_heard_is_asked_again(fleet: Fleet, peer: FleetPeer):
    """
    Who was chosen may be frozen: the caller hears of whoever is not, and once.
    """

    async def answer_the_third(asked: Asked) -> None:
        if len(peer.asked) == 3:
            await peer.echo(asked)

    peer.on_ask = answer_the_third

    answer = await fleet.ask("classify", DOCUMENT)

    assert answer.output == DOCUMENT
    assert len(peer.asked) == 3
    assert len({each.body for each in peer.asked}) == 1


@pytest.mark.usefixtures("_impatient")
async def test_what_was_heard_is_not_asked_again_and_a_second_taker_is_told_to_stop(fleet: Fleet, peer: FleetPeer):
    """
    The word that it was taken is no answer; the first who says it goes on, another one works for nobody.
    """

    async def accept_twice(asked: Asked) -> None:
        await peer.accept(asked, "ask-1")
        await peer.accept(asked, "ask-1")
        await peer.accept(asked, "ask-2")
        await asyncio.sleep(UNHEARD_AGAIN_S)
        await peer.echo(asked)

    peer.on_ask = accept_twice

    answer = await fleet.ask("classify", DOCUMENT)

    assert answer.output == DOCUMENT
    assert len(peer.asked) == 1
    assert [("cancel", b'{"task":"ask-2"}')] == [(each.name, each.body) for each in peer.api_requests]


@pytest.mark.usefixtures("_impatient")
async def test_that_a_second_taker_has_stopped_is_no_answer(fleet: Fleet, peer: FleetPeer):
    """
    As after a server that stood still for a while: both orchestrators get the ask, and one is told to stop.
    """
    stopped = asyncio.Event()

    async def on_cancel(_: Asked) -> None:
        stopped.set()

    async def accept_both(asked: Asked) -> None:
        if len(peer.asked) != 2:
            return
        first, second = peer.asked
        await peer.accept(first, "ask-1")
        await peer.accept(second, "ask-2")
        await stopped.wait()
        cancelled = ErrorBody(kind=ErrorKind.CANCELLED, message="cancelled by the caller")
        await peer.finish(second, result_of("ask-2", "classify", error=cancelled))
        await peer.echo(first)

    peer.on_ask = accept_both
    peer.on_question["cancel"] = on_cancel

    answer = await fleet.ask("classify", DOCUMENT)

    assert ("ask-1", DOCUMENT) == (answer.task, answer.output)


@pytest.mark.usefixtures("_impatient")
async def test_a_task_under_an_id_of_its_callers_own_is_asked_once(fleet: Fleet, peer: FleetPeer):
    """
    A repeat could meet the task itself, and be refused in its place.
    """

    async def answer_late(asked: Asked) -> None:
        await asyncio.sleep(UNHEARD_AGAIN_S)
        await peer.echo(asked)

    peer.on_ask = answer_late

    await fleet.ask("classify", DOCUMENT, task_id="mine")

    assert ["mine"] == [each.headers["Nats-Msg-Id"] for each in peer.asked]
    assert "Flotilla-Accepted" not in peer.asked[0].headers
