"""Coroutines that run at once, up to their first wait."""

import asyncio
from contextvars import ContextVar, copy_context

import pytest

from flotilla.fabric.eager import start

NAME: ContextVar[str] = ContextVar("name", default="")


async def test_what_does_not_wait_is_over_at_once_and_what_does_becomes_a_task():
    """
    The caller goes on when the first wait is reached.
    """
    done: list[str] = []

    async def step(wait: bool) -> None:  # noqa: FBT001
        done.append("begun")
        if wait:
            await asyncio.sleep(0)
        done.append("over")

    assert start(step(wait=False)) is None
    assert ["begun", "over"] == done
    task = start(step(wait=True))
    assert ["begun", "over", "begun"] == done
    assert task is not None
    await task
    assert ["begun", "over", "begun", "over"] == done


async def test_what_it_sets_in_its_own_context_is_its_own():
    """
    Before its first wait and after.
    """
    seen: list[str] = []

    async def step() -> None:
        NAME.set("inside")
        await asyncio.sleep(0)
        seen.append(NAME.get())

    task = start(step(), copy_context())

    assert "" == NAME.get()
    assert task is not None
    await task
    assert ["inside"] == seen


@pytest.mark.parametrize("closed_before", [True, False])
async def test_one_that_nobody_resumes_is_closed_without_a_word(closed_before: bool):  # noqa: FBT001
    """
    At the end of a loop it may be collected before its task, or after.
    """
    ended: list[str] = []

    async def step() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.append("closed")

    coroutine = step()
    task = start(coroutine)
    assert task is not None
    rest = task.get_coro()
    await asyncio.sleep(0)
    if closed_before:
        coroutine.close()
    assert rest is not None
    rest.close()
    task.cancel()
    await asyncio.wait([task])

    assert ["closed"] == ended
