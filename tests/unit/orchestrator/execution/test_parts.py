"""Routes that are asked at the same time: who is waited for, who is cancelled, and what is known when it is decided."""

import asyncio
from typing import Final

import msgspec

from flotilla.contracts.attempts import Finished
from flotilla.contracts.errors import TaskError
from flotilla.contracts.failures import ErrorKind
from flotilla.contracts.results import Result
from flotilla.routing.types import Choice, Route
from flotilla.testkit.run_story import Story
from orchestrator.execution.parts import ask_parts
from orchestrator.execution.run_state import Consensus, PartEnded, RunState
from orchestrator.execution.run_steps import AskPanel, PanelEnded
from orchestrator.state.replica_states import Replica

CHOICES: Final = tuple(Choice(route=Route(zone="local", pool=pool, model="m"), reason="") for pool in "abc")


class Saying:
    """A part that says a word after some turns of the loop; `lost` and `failed` are none, and `hangs` never ends."""

    def __init__(self, word: str, turns: int = 0) -> None:
        self._word = word
        self._turns = turns
        self.state = RunState(Story().run.task)
        self.finished: Finished | None = None
        self.was_left = False

    async def run(self) -> Result:
        for _ in range(self._turns):
            await asyncio.sleep(0)
        if self._word == "hangs":
            await asyncio.Event().wait()
        if self._word == "lost":
            self.state.losses = [frozenset({Replica("a", "r")})]
        if self._word in {"lost", "failed"}:
            raise TaskError(ErrorKind.PROVIDER_FAILED, self._word)
        self.finished = answer(self._word)
        return Result(task="t", capability="classify", status="ok", latency_ms=0.0, queued_ms=0.0)

    def record_success(self) -> None:
        """Nothing is counted here."""

    def leave(self) -> None:
        self.was_left = True


def answer(word: str) -> Finished:
    return Finished(output=msgspec.Raw(msgspec.json.encode(word)), provider="p", model="m")


async def ask(*runs: Saying, agree: int = 2, ended: tuple[PartEnded, ...] = ()) -> PanelEnded:
    """What comes of it; those that ended before are the first of the routes."""
    now = CHOICES[len(ended) : len(ended) + len(runs)]
    consensus = Consensus(CHOICES[: max(2, len(ended) + len(runs))], agree, ended)
    async with asyncio.timeout(60):
        return await ask_parts(runs, AskPanel(now, consensus), lambda finished: bytes(finished.output))


def words_of(ended: PanelEnded) -> list[bytes | None]:
    return [None if part.finished is None else bytes(part.finished.output) for part in ended.parts]


async def test_those_that_agree_end_it_and_whoever_has_not_answered_is_cancelled() -> None:
    """
    And leaves the lines.
    """
    hanging = Saying("hangs")
    ended = await ask(hanging, Saying("x", 1), Saying("x", 2))

    assert (1, False, [None, b'"x"', b'"x"']) == (ended.agreed, ended.is_open, words_of(ended))
    assert hanging.was_left
    assert not ended.parts[0].is_lost


async def test_an_answer_beside_a_lost_attempt_decides_nothing() -> None:
    """
    Whichever comes first.
    """
    for turns in ((0, 3), (3, 0)):
        ended = await ask(Saying("lost", turns[0]), Saying("x", turns[1]))

        assert (None, True) == (ended.agreed, ended.is_open)
        assert [True, False] == [part.is_lost for part in ended.parts]


async def test_a_route_that_failed_by_itself_is_no_lost_one() -> None:
    """
    Its silence is known.
    """
    ended = await ask(Saying("failed"), Saying("x"))

    assert (None, False, False) == (ended.agreed, ended.is_open, ended.parts[0].is_lost)


async def test_a_lost_attempt_changes_nothing_where_the_others_agree_or_cannot_any_more() -> None:
    """
    Two of three; and three that differ.
    """
    agreed = await ask(Saying("lost"), Saying("x"), Saying("x", 3))
    differing = await ask(Saying("lost"), Saying("x"), Saying("y", 3), agree=3)

    assert (1, False) == (agreed.agreed, agreed.is_open)
    assert (None, False) == (differing.agreed, differing.is_open)


async def test_what_was_answered_before_counts_when_the_rest_is_asked() -> None:
    """
    In the policy's order, the earlier answer being the first.
    """
    before = PartEnded(CHOICES[0], Saying("x").state, answer("x"), "r")
    agreed, differing = await ask(Saying("x"), ended=(before,)), await ask(Saying("y"), ended=(before,))

    assert (0, False, before) == (agreed.agreed, agreed.is_open, agreed.parts[0])
    assert (None, False) == (differing.agreed, differing.is_open)


async def test_those_that_could_not_be_asked_yet_leave_it_open() -> None:
    """
    A task that replicas may have died of is given to one at a time.
    """
    ended = await ask(Saying("x"))

    assert (None, True, 1) == (ended.agreed, ended.is_open, len(ended.parts))
