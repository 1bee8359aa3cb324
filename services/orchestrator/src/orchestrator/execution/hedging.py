"""A second attempt beside one that takes long: the first answer wins, and the other attempt is cancelled at its worker."""

import asyncio
from typing import Final, Literal, NamedTuple

from flotilla.contracts.attempts import Finished
from flotilla.routing.types import Choice
from orchestrator.execution.parts import PartRun, run_part, stop_parts
from orchestrator.execution.run_state import PartEnded
from orchestrator.state.outcomes import Ended, Outcome

HedgeEnd = Literal["won", "lost", "failed"]


class Hedge:
    """
    One second attempt under way.

    Attributes:
        choice: Where it goes.
        run: Its run, a part of the task's.
    """

    def __init__(self, run: PartRun, choice: Choice) -> None:
        self.run: Final = run
        self.choice: Final = choice
        self._task = asyncio.ensure_future(run_part(run, choice))

    def stop(self) -> None:
        """Its answer is not wanted any more: the other attempt has begun to answer."""
        self._task.cancel()

    async def beside(self, first: "asyncio.Future[Outcome]") -> "Beside":
        """
        Await the first answer of the two; the hedge is over when this returns or raises.

        A failure of one is no answer while the other goes on; the end of the task's time, or of the wish for it, is.
        """
        task = self._task
        try:
            await asyncio.wait([first, task], return_when=asyncio.FIRST_COMPLETED)
            if not first.done() and _answer_of(task) is None:
                await asyncio.wait([first])
            elif first.done() and _may_be_bettered(first.result()) and not task.done():
                await asyncio.wait([task])
        finally:
            await stop_parts([] if task.done() else [task])
        answer = _answer_of(task)
        if answer is not None and not (first.done() and not _may_be_bettered(first.result())):
            return Beside("won", answer)
        return Beside("lost" if answer is not None or task.cancelled() else "failed", None)


class Beside(NamedTuple):
    """How a hedge ended, and its answer where that is the task's."""

    end: HedgeEnd
    answer: PartEnded | None


def _may_be_bettered(outcome: Outcome) -> bool:
    """Whether an attempt came to no answer, and another's would be one."""
    return not isinstance(outcome, Finished) and outcome is not Ended.CANCELLED and outcome is not Ended.DEADLINE


def _answer_of(task: "asyncio.Task[PartEnded]") -> PartEnded | None:
    """The part with its answer; None of one that has none, or has not ended."""
    if not task.done() or task.cancelled() or task.exception() is not None:
        return None
    ended = task.result()
    return ended if ended.finished is not None else None


async def quiet_for(outcome: "asyncio.Future[Outcome]", after_s: float) -> bool:
    """Whether an attempt is still under way after so long."""
    done, _ = await asyncio.wait([outcome], timeout=after_s)
    return not done
