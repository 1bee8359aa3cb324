"""What deliveries take of the room there is, wherever they go: counted right, and given back in the end."""

from typing import Any, cast

from hypothesis import example, given
from hypothesis import strategies as st

from flotilla.contracts.subjects import PRIORITIES
from flotilla.fabric.pull_groups import PullGroup
from orchestrator.execution.executors import Executor
from orchestrator.ways_in.in_hand import InHand, Place, State

STATES: tuple[State, ...] = ("answering", "parked", "settling")
EXECUTORS = (cast("Executor", "pools"), cast("Executor", "another"))
DELIVERIES = st.tuples(
    st.sampled_from(["classify", "summarize"]),
    st.sampled_from(PRIORITIES),
    st.sampled_from(EXECUTORS),
    st.integers(1, 1000),
)


@given(
    deliveries=st.lists(DELIVERIES, min_size=1, max_size=6),
    moves=st.lists(st.tuples(st.integers(0, 5), st.sampled_from(STATES))),
)
@example(
    deliveries=[("classify", "normal", EXECUTORS[0], 1), ("classify", "normal", EXECUTORS[0], 2)],
    moves=[(0, "answering"), (1, "answering")],
)
def test_counts_are_what_deliveries_stand_where(deliveries: list[Any], moves: list[tuple[int, State]]):
    """
    After every move, also one to where it stands already; settled they take nothing.
    """
    in_hand = InHand()
    groups = {name: PullGroup({}) for name in ("classify", "summarize")}
    places = [
        Place(in_hand, groups[name], priority, executor, size, is_resumed=bool(size % 2))
        for name, priority, executor, size in deliveries
    ]
    stands: dict[int, State] = dict.fromkeys(range(len(places)), "new")
    moves = [(number, state) for number, state in moves if number < len(places)]
    for number, state in [*moves, *((number, "settling") for number in stands)]:
        places[number].enter(cast("State", state))
        stands[number] = cast("State", state)

        here = list(zip(deliveries, stands.values(), strict=True))
        assert [place.state for place in places] == list(stands.values())
        for name, group in groups.items():
            for priority in PRIORITIES:
                assert group.held[priority] == sum(
                    stands == "answering" and (each[0], each[1]) == (name, priority) for each, stands in here
                )
            assert group.in_hand == sum(group.held.values())
            assert group.parked == sum(stands == "parked" and each[0] == name for each, stands in here)
        assert in_hand.resumed_parked == sum(stands == "parked" and each[3] % 2 for each, stands in here)
        assert in_hand.parked_bytes == sum(each[3] for each, stands in here if stands == "parked")
        for executor in EXECUTORS:
            assert in_hand.answering[executor] == sum(
                stands == "answering" and each[2] == executor for each, stands in here
            )

    assert 0 == in_hand.parked_bytes == in_hand.answering.total() == sum(group.in_hand for group in groups.values())
