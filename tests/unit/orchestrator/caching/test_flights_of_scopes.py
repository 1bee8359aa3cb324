"""What one scope asks of its cache keeps no other from its own."""

import asyncio
from typing import Any, cast

from orchestrator.caching.flights import Flights
from orchestrator.caching.store import AnswerPlace, Found
from orchestrator.state.shared_quota import Room

MOST = 10


class Store:
    """Stands where the buckets do: one scope's does not answer, the other's is broken."""

    def __init__(self) -> None:
        self.answers = asyncio.Event()

    async def look(self, place: AnswerPlace) -> Found:
        """See `AnswerStore`."""
        if place.scope == "broken":
            raise ValueError
        await self.answers.wait()
        return Found(record=None, revision=0)

    async def claim(self, _place: AnswerPlace, _revision: int, _renewed: int = 0) -> int:
        """See `AnswerStore`."""
        return 1

    async def release(self, _place: AnswerPlace, _revision: int) -> None:
        """See `AnswerStore`."""

    def changes(self, _place: AnswerPlace) -> Any:
        """See `AnswerStore`: nobody hears of any."""
        return cast("Any", self)

    is_heard = False


def place(scope: str, number: int = 0) -> AnswerPlace:
    """Of some question of a scope."""
    return AnswerPlace(scope=scope, capability="classify", key=f"{number:064x}", ttl_s=60)


async def test_each_scope_has_its_part_of_the_flights():
    """
    A scope with a question more than may be is told to run it alone; the others find theirs, and all get their room back.
    """
    store = Store()
    room = Room(("evil", "acme"), total_max=MOST, share_max=0.5)
    flights = Flights(cast("Any", store), room)
    turns = [flight.join() for number in range(MOST) if (flight := flights.of(place("evil", number))) is not None]
    assert MOST // 2 == len(turns)

    mine = flights.of(place("acme"))
    assert mine is not None
    turns.append(mine.join())
    for turn in turns:
        turn.cancel()
    await flights.finish(0.0)
    async with asyncio.timeout(60.0):
        while any(room.held().values()):
            await asyncio.sleep(0)
    assert {"evil": 0, "acme": 0} == room.held()


async def test_the_trouble_of_one_bucket_is_its_scopes_own():
    """
    While it is left alone, others' are asked.
    """
    flights = Flights(cast("Any", Store()), Room(("broken", "acme"), total_max=MOST, share_max=0.5))
    flight = flights.of(place("broken"))
    assert flight is not None
    flight.join()
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    assert flights.of(place("broken", 1)) is None
    assert flights.of(place("acme")) is not None
    await flights.finish(0.0)
