"""`Fleet.stream` over a real server."""

import pytest

from flotilla.client import Fleet, NoFleetError, StreamCutError, TaskError, TaskFailedError, interactive
from flotilla.contracts.failures import ErrorBody, ErrorKind
from flotilla.contracts.headers import parse_headers
from flotilla.testkit.fleet_peer import Asked, FleetPeer, result_of
from flotilla.testkit.nats_server import RunningServer

DOCUMENT = {"document": "a long story"}


async def _read(fleet: Fleet) -> list[str]:
    async with fleet.stream("summarize", DOCUMENT) as stream:
        return [piece async for piece in stream]


async def test_pieces_come_in_order_and_then_the_answer(fleet: Fleet, peer: FleetPeer):
    """
    The message that closes the reply is no piece, and the answer is there once the pieces are through.
    """

    async def tell(asked: Asked) -> None:
        for seq, text in enumerate(("once ", "upon ", "a time")):
            await peer.piece(asked, seq, text)
        await peer.finish(asked, result_of("t", asked.name, output={"summary": "once upon a time"}))

    peer.on_ask = tell

    async with fleet.stream("summarize", DOCUMENT) as stream:
        pieces = [piece async for piece in stream]

    assert pieces == ["once ", "upon ", "a time"]
    assert stream.answer.text == "once upon a time"
    assert stream.pieces == 3
    assert parse_headers(peer.asked[0].headers).stream is True
    assert peer.api_requests == [], "a stream that was read to its end is not cancelled"


async def test_it_can_be_read_without_a_block(fleet: Fleet, peer: FleetPeer):
    """
    `async for piece in fleet.stream(...)` is enough.
    """
    stream = fleet.stream("summarize", DOCUMENT)

    assert [piece async for piece in stream] == []
    assert stream.answer.output == DOCUMENT


async def test_a_missing_piece_cuts_the_stream(fleet: Fleet, peer: FleetPeer):
    """
    Text with a hole in it is not handed out as if it were whole.
    """

    async def skip(asked: Asked) -> None:
        await peer.piece(asked, 0, "once ")
        await peer.piece(asked, 2, "a time")
        await peer.finish(asked, result_of("t", asked.name, output={"summary": "?"}))

    peer.on_ask = skip

    with pytest.raises(StreamCutError, match="piece 1 is missing") as caught:
        await _read(fleet)

    assert caught.value.pieces == 1


async def test_a_stream_without_a_result_is_cut(fleet: Fleet, peer: FleetPeer):
    """
    The end of the pieces alone is no complete answer.
    """

    async def stop_short(asked: Asked) -> None:
        await peer.piece(asked, 0, "once ")
        await peer.piece(asked, 1, "upon")
        await peer.close(asked)

    peer.on_ask = stop_short

    with pytest.raises(StreamCutError, match="after 2 pieces: it ended without a result"):
        await _read(fleet)


async def test_a_failure_after_some_pieces_raises(fleet: Fleet, peer: FleetPeer):
    """
    The pieces before it are counted.
    """
    error = ErrorBody(kind=ErrorKind.PROVIDER_FAILED, message="cut after 1 piece")

    async def fail(asked: Asked) -> None:
        await peer.piece(asked, 0, "once ")
        await peer.finish(asked, result_of("t", asked.name, error=error))

    peer.on_ask = fail
    stream = fleet.stream("summarize", DOCUMENT)

    with pytest.raises(TaskFailedError, match="cut after 1 piece"):
        await stream.finish()

    assert stream.pieces == 1
    with pytest.raises(RuntimeError):
        _ = stream.answer


async def test_a_refusal_raises_before_any_piece(fleet: Fleet, peer: FleetPeer):
    """
    As for an ask.
    """

    async def refuse(asked: Asked) -> None:
        await peer.refuse(asked, TaskError(ErrorKind.BAD_REQUEST, "no document"))

    peer.on_ask = refuse

    with pytest.raises(TaskError, match="no document"):
        await _read(fleet)


async def test_leaving_early_cancels_the_task(fleet: Fleet, peer: FleetPeer):
    """
    The fleet is told, under the id that the task was sent with.
    """

    async def begin(asked: Asked) -> None:
        await peer.piece(asked, 0, "once ")

    peer.on_ask = begin

    async with fleet.stream("summarize", DOCUMENT) as stream:
        async for _ in stream:
            break
        peer.arrived.clear()
    await peer.arrived.wait()

    assert peer.asked[0].headers["Nats-Msg-Id"] == stream.task
    assert [(asked.name, asked.body) for asked in peer.api_requests] == [
        ("cancel", b'{"task":"%s"}' % stream.task.encode())
    ]


async def test_a_silent_stream_ends_with_the_deadline(fleet: Fleet, peer: FleetPeer, monkeypatch: pytest.MonkeyPatch):
    """
    Pieces that stop coming do not keep the caller for ever.
    """
    # The piece comes before that is over, however busy the machine is.
    monkeypatch.setattr(interactive, "DEADLINE_MARGIN_S", 2.0)

    async def begin(asked: Asked) -> None:
        await peer.piece(asked, 0, "once ")

    peer.on_ask = begin
    stream = fleet.stream("summarize", DOCUMENT, deadline_s=0.1)

    with pytest.raises(TaskError) as caught:
        await stream.finish()

    assert caught.value.kind is ErrorKind.DEADLINE_EXCEEDED
    assert caught.value.details == {"pieces": 1}


async def test_without_orchestrators_it_fails_at_once(nats_server: RunningServer):
    """
    As for an ask.
    """
    async with Fleet.connect(nats_server.url) as fleet:
        with pytest.raises(NoFleetError, match=r"nobody answers on ask\.summarize"):
            await _read(fleet)


async def test_losing_the_connection_cuts_the_stream(nats_server: RunningServer, fleet: Fleet, peer: FleetPeer):
    """
    Pieces sent in between are lost and nothing after them would show it, so the stream does not wait for its deadline.
    """

    async def begin(asked: Asked) -> None:
        await peer.piece(asked, 0, "once ")

    peer.on_ask = begin
    stream = fleet.stream("summarize", DOCUMENT)
    assert await anext(stream) == "once "

    await nats_server.restart()

    with pytest.raises(StreamCutError, match="after 1 pieces: the connection was lost"):
        await anext(stream)
