"""What a test has heard, when something else has told it that there is no more."""

from flotilla.testkit.nats_server import RunningServer
from flotilla.testkit.plain_client import PlainClient, connect_plainly, settled

MESSAGES = 5_000


async def test_the_end_of_hearing_has_all_that_was_sent_before(nats_server: RunningServer):
    """
    However far the connection that hears is behind the one that told of it.
    """
    listener, teller = await _pair(nats_server)
    async with listener.hearing("heard.>") as heard:
        await _tell(teller)
    await listener.nc.close()
    await teller.nc.close()

    assert MESSAGES == len(heard.messages)


async def test_a_count_can_catch_up_in_between(nats_server: RunningServer):
    """
    And goes on hearing afterwards.
    """
    listener, teller = await _pair(nats_server)
    async with listener.hearing("heard.>") as heard:
        await _tell(teller)
        first = len((await heard.caught_up()).messages)
        await _tell(teller)
        second = len((await heard.caught_up()).messages)
    await listener.nc.close()
    await teller.nc.close()

    assert (MESSAGES, 2 * MESSAGES) == (first, second)


async def _pair(server: RunningServer) -> tuple[PlainClient, PlainClient]:
    role = server.admin()
    first, second = [
        await connect_plainly(server.url, nkeys_seed=str(role.creds), inbox_prefix=role.inbox_prefix) for _ in range(2)
    ]
    return first, second


async def _tell(teller: PlainClient) -> None:
    for _ in range(MESSAGES):
        await teller.nc.publish("heard.now", bytes(200))
    await settled(teller.nc)
