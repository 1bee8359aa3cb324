"""How the room of a capability is shared among its priorities: high goes first, low never starves."""

import time
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flotilla.contracts.subjects import PRIORITIES, Priority
from flotilla.fabric.consumers import INACTIVE_THRESHOLD_S
from flotilla.fabric.pull_groups import WEIGHTS, PullGroup, PullGroups

COUNTS = st.fixed_dictionaries({priority: st.integers(0, 50) for priority in PRIORITIES})


class Asked:
    """Stands where a puller does, and keeps what it is asked for."""

    def __init__(self, backlog: int) -> None:
        self.backlog = backlog
        self.outstanding = 0
        self.room = 0
        self.closed = False

    async def close(self) -> None:
        """See `Puller`."""
        self.closed = True

    async def pull(self, room: int) -> None:
        """See `Puller`."""
        self.room = room


async def _asked(room: int, backlogs: dict[Priority, int], held: dict[Priority, int]) -> dict[Priority, int]:
    pullers: dict[Priority, Asked] = {priority: Asked(backlogs[priority]) for priority in PRIORITIES}
    group = PullGroup(cast("Any", pullers))
    for priority, count in held.items():
        for _ in range(count + 1):
            group.hold(priority)
        group.release(priority)
    await group.pull(room)
    return {priority: puller.room for priority, puller in pullers.items()}


@given(room=st.integers(0, 100), backlogs=COUNTS, held=COUNTS)
async def test_every_priority_that_waits_has_its_share(
    room: int, backlogs: dict[Priority, int], held: dict[Priority, int]
):
    """
    Of slots for n messages each that waits may hold its weight's part, and at least one; nobody asks beyond the room.
    """
    asked = await _asked(room, backlogs, held)

    capacity = room + sum(held.values())
    waiting = {priority for priority in PRIORITIES if backlogs[priority] or held[priority]}
    for priority in PRIORITIES:
        others = waiting - {priority}
        weights = sum(WEIGHTS[each] for each in PRIORITIES if each in others or each == priority)
        share = capacity if not others else max(1, capacity * WEIGHTS[priority] // weights)
        assert asked[priority] == min(room, share - held[priority])


@pytest.mark.parametrize(
    ("room", "held", "expected"),
    [
        (12, {}, {"high": 8, "normal": 3, "low": 1}),
        (1, {"high": 8, "normal": 3}, {"high": 0, "normal": 0, "low": 1}),
        (1, {"high": 3}, {"high": -1, "normal": 1, "low": 1}),
        (0, {"high": 12}, {"high": -4, "normal": 0, "low": 0}),
    ],
)
async def test_with_backlogs_of_all_priorities(room: int, held: dict[Priority, int], expected: dict[Priority, int]):
    """
    Of twelve slots eight are high's, three normal's and one low's; with fewer, one is low's all the same.
    """
    nothing: dict[Priority, int] = {"high": 0, "normal": 0, "low": 0}

    assert expected == await _asked(room, {"high": 100, "normal": 100, "low": 100}, {**nothing, **held})


@pytest.mark.parametrize("priority", PRIORITIES)
async def test_alone_a_priority_has_all_the_room(priority: Priority):
    """
    And one that has nothing is still asked about: something may come.
    """
    nothing: dict[Priority, int] = {"high": 0, "normal": 0, "low": 0}
    asked = await _asked(7, {**nothing, priority: 100}, nothing)

    assert 7 == asked[priority]
    assert all(asked[each] >= 1 for each in PRIORITIES)


FEW = st.fixed_dictionaries({priority: st.integers(0, 5) for priority in PRIORITIES})


@given(room=st.integers(-5, 5), outstanding=FEW)
def test_it_asks_enough_when_every_priority_has_asked_for_all_the_room(room: int, outstanding: dict[Priority, int]):
    """
    However the room is shared out, none would ask for more.
    """
    pullers = {priority: Asked(0) for priority in PRIORITIES}
    for priority, count in outstanding.items():
        pullers[priority].outstanding = count

    assert (min(outstanding.values()) >= room) is PullGroup(cast("Any", pullers)).asks_enough(room)


def test_a_group_that_is_new_holds_nothing():
    """
    And no limit was set for it yet.
    """
    group = PullGroup({})

    assert (0, 0, 0) == (group.in_hand, group.parked, group.ack_pending_max)


def test_a_capability_is_pulled_for_by_a_puller_of_each_priority():
    """
    Once, however often it is asked for; how many there are is told.
    """
    made: list[tuple[str, Priority]] = []
    counts: list[int] = []

    def make(capability: str, priority: Priority) -> Any:
        made.append((capability, priority))
        return Asked(0)

    groups = PullGroups(make, counts.append)
    first = groups.open("classify")
    groups.open("summarize")

    assert groups.open("classify") is first
    assert [(name, priority) for name in ("classify", "summarize") for priority in PRIORITIES] == made
    assert [len(PRIORITIES), 2 * len(PRIORITIES)] == counts


async def test_what_nobody_has_wanted_for_long_is_not_pulled_for_any_more():
    """
    A worker that announces other capabilities every hour costs no more after a day; what is under way, or wanted, stays.
    """
    pullers: list[Asked] = []
    counts: list[int] = []

    def make(_capability: str, _priority: Priority) -> Any:
        pullers.append(Asked(0))
        return pullers[-1]

    groups = PullGroups(make, counts.append)
    for name in ("gone", "in-hand", "on-its-way", "parked", "waits"):
        groups.open(name).wanted_at_s = time.monotonic() - INACTIVE_THRESHOLD_S - 1.0
    groups.open("lately")
    groups.of["in-hand"].hold("low")
    groups.of["parked"].parked = 1
    groups.of["on-its-way"].pullers["high"].outstanding = 1
    await groups.close_unused({"waits"})

    assert {"in-hand", "on-its-way", "parked", "waits", "lately"} == groups.of.keys()
    assert [True] * 3 + [False] * 15 == [puller.closed for puller in pullers]
    assert 15 == counts[-1]
    assert groups.of["waits"].wanted_at_s > time.monotonic() - 60.0
