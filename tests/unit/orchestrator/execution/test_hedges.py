"""Hedging: when a second attempt is made, where, how many there may be, and which answer counts."""

import asyncio
from typing import Final

import msgspec
import pytest

from flotilla.contracts.attempts import Failed
from flotilla.contracts.errors import TaskError
from flotilla.contracts.failures import ErrorKind, FailureKind
from flotilla.contracts.policy_rules import Hedge as HedgeRule
from flotilla.contracts.policy_rules import Rules
from flotilla.contracts.results import Result
from flotilla.routing.types import Choice, Figures, PoolView
from flotilla.testkit.run_story import BOTH, FINISHED, TO_HERE, TO_THERE, Story
from orchestrator.execution.hedges import BURST_MAX, CAPABILITIES_MAX, HedgeShares, second_choice
from orchestrator.execution.hedging import Hedge
from orchestrator.execution.run_state import Part, RunState
from orchestrator.execution.run_steps import Send
from orchestrator.state.outcomes import Ended, Outcome
from orchestrator.state.replica_states import Replica

AFTER: Final = Rules(hedge=HedgeRule(after_ms=250.0))
BY_P95: Final = Rules(hedge=HedgeRule())
KNOWN: Final = msgspec.structs.replace(TO_HERE, figures=Figures(p95_ms=40.0))
FAILED: Final = Failed(kind=FailureKind.UNAVAILABLE, message="away")


def pool(name: str, *, replicas: int = 1, slots: int = 2) -> PoolView:
    return PoolView(zone="local", pool=name, models={}, replicas=replicas, slots=slots)


@pytest.mark.parametrize(
    ("rules", "choice", "after_s"),
    [
        (Rules(), KNOWN, None),
        (AFTER, TO_HERE, 0.25),
        (AFTER, KNOWN, 0.25),
        (BY_P95, KNOWN, 0.04),
        (BY_P95, TO_HERE, None),
        (AFTER, msgspec.structs.replace(TO_HERE, probe=True), None),
    ],
    ids=["no option", "after so long", "whatever is known", "the p95", "nothing known", "a health probe"],
)
def test_an_attempt_is_hedged_after_what_the_policy_says(rules: Rules, choice: Choice, after_s: float | None) -> None:
    """
    With the p95 of its own route.
    """
    action = Story(rules=rules).routed(msgspec.structs.replace(BOTH, routes=(choice, TO_THERE)))

    assert Send(choice, hedge_after_s=after_s) == action


def test_what_may_be_deadly_and_what_is_a_part_is_not_hedged() -> None:
    """
    It would be with two replicas at a time.
    """
    deadly, lost, part = (Story(rules=AFTER) for _ in range(3))
    deadly.run.deaths = 1
    lost.run.losses = [frozenset({Replica("here", "r1")})]
    part.run.part = Part(TO_HERE.route)

    for story in (deadly, lost, part):
        action = story.routed(BOTH)
        assert isinstance(action, Send)
        assert action.hedge_after_s is None


@pytest.mark.parametrize(
    ("pools", "busy", "goes_to"),
    [
        ([pool("here"), pool("there")], {}, "there"),
        ([pool("here", replicas=2), pool("there")], {}, "there"),
        ([pool("here", replicas=2), pool("there")], {"there": 2}, "here"),
        ([pool("here"), pool("there")], {"there": 2}, None),
        ([pool("here"), pool("there")], {"there": 1}, "there"),
        ([pool("here"), pool("there", slots=1)], {}, "there"),
        ([pool("here", replicas=2)], {"here": 2}, None),
        ([], {}, None),
    ],
)
def test_a_hedge_goes_to_the_next_route_or_to_another_replica(
    pools: list[PoolView], busy: dict[str, int], goes_to: str | None
) -> None:
    """
    With a free slot; it says why it was made.
    """
    story = Story(rules=AFTER)
    story.routed(BOTH)
    found = second_choice(story.run, TO_HERE, {each.pool: each for each in pools}, busy, why="slow")

    assert goes_to == (None if found is None else found.route.pool)
    assert found is None or found.reason == "slow"


def test_a_hedge_goes_nowhere_but_to_the_routes_of_the_decision() -> None:
    """
    So it never takes restricted data where routing does not.
    """
    story = Story(rules=AFTER)
    story.routed(msgspec.structs.replace(BOTH, routes=(TO_HERE,)))

    assert second_choice(story.run, TO_HERE, {"here": pool("here"), "there": pool("there")}, {}, why="") is None


@pytest.mark.parametrize("kind", ["probe", "last_resort"])
def test_a_hedge_is_no_health_probe_and_goes_to_no_ejected_route(kind: str) -> None:
    """
    It is made to be fast.
    """
    story = Story(rules=AFTER)
    story.routed(msgspec.structs.replace(BOTH, routes=(TO_HERE, msgspec.structs.replace(TO_THERE, **{kind: True}))))

    assert second_choice(story.run, TO_HERE, {"here": pool("here"), "there": pool("there")}, {}, why="") is None


@pytest.mark.parametrize(("attempts", "share", "hedges"), [(1000, 0.05, 50), (10, 0.05, 0), (20, 0.05, 1), (7, 1.0, 7)])
def test_no_more_than_the_share_is_hedged(attempts: int, share: float, hedges: int) -> None:
    """
    Whatever the order; what was not used is kept up to a bound.
    """
    shares = HedgeShares()
    made = 0
    for _ in range(attempts):
        shares.sent("a", share)
        made += shares.take("a")
    for _ in range(10_000):
        shares.sent("b", share)

    assert hedges == made
    assert BURST_MAX == sum(shares.take("b") for _ in range(100))


def test_what_was_never_sent_is_not_hedged_and_the_shares_of_capabilities_are_bounded() -> None:
    """
    At the bound those that are known stay; one more, and all begin anew.
    """
    shares = HedgeShares()
    assert not shares.take("0")
    for number in range(CAPABILITIES_MAX):
        shares.sent(str(number), 1.0)
    shares.sent("0", 1.0)
    assert [True, True, True] == [shares.take(each) for each in ("0", "0", "1")]

    shares.sent("one more", 1.0)
    assert [True, False] == [shares.take(each) for each in ("one more", "2")]


def test_an_attempt_that_is_sent_again_at_once_is_hedged_as_the_first_was() -> None:
    """
    Its replica was too full for it.
    """
    story = Story(rules=AFTER)
    story.routed(BOTH)

    assert Send(TO_HERE, has_turn=True, hedge_after_s=0.25) == story.refused(stale=True)


class SecondRun:
    """A part's run that ends as it is told, or when it is cancelled."""

    def __init__(self) -> None:
        self.state: Final = RunState(Story().run.task, part=Part(TO_THERE.route, once=True))
        self.finished = FINISHED
        self.answers: Final[asyncio.Future[bool]] = asyncio.get_running_loop().create_future()
        self.was_cancelled = False

    async def run(self) -> Result:
        try:
            answers = await self.answers
        except asyncio.CancelledError:
            self.was_cancelled = True
            raise
        if not answers:
            raise TaskError(ErrorKind.PROVIDER_FAILED, "as told")
        return Result(task="t", capability="c", status="ok", replica="r2")

    def record_success(self) -> None:
        pass

    def leave(self) -> None:
        pass


@pytest.mark.parametrize(
    ("events", "end"),
    [
        (["second answers"], "won"),
        (["first answers"], "lost"),
        (["second fails", "first answers"], "failed"),
        (["first fails", "second answers"], "won"),
        (["first fails", "second fails"], "failed"),
        (["first is cancelled"], "lost"),
        (["first is too late"], "lost"),
        (["first found no slot", "second answers"], "won"),
        (["stopped", "first answers"], "lost"),
    ],
)
async def test_the_first_answer_counts(events: list[str], end: str) -> None:
    """
    A failure is none while the other goes on; whoever is not waited for any more is cancelled.
    """
    run = SecondRun()
    first: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    hedge = Hedge(run, TO_THERE)
    beside = asyncio.ensure_future(hedge.beside(first))
    for event in events:
        for _ in range(5):
            await asyncio.sleep(0)
        match event:
            case "second answers" | "second fails":
                run.answers.set_result(event == "second answers")
            case "stopped":
                hedge.stop()
            case _:
                first.set_result(
                    {
                        "first answers": FINISHED,
                        "first fails": FAILED,
                        "first is cancelled": Ended.CANCELLED,
                        "first is too late": Ended.DEADLINE,
                        "first found no slot": Ended.NO_SLOT,
                    }[event]
                )
    found = await beside

    assert (end, end == "won") == (found.end, found.answer is not None)
    assert run.was_cancelled == (end == "lost")
    assert not first.cancelled()
