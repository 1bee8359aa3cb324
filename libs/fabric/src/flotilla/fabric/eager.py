"""
Running coroutines at once, up to their first wait.

On the path that every task takes, most steps do not wait at all: a message is decoded and another is sent. As asyncio
tasks each would cost a task and another turn of the event loop. Python 3.12 has eager tasks for this; these do the same
on 3.11.
"""

import asyncio
from collections.abc import Coroutine, Generator
from contextvars import Context
from typing import Any


def start(coroutine: Coroutine[Any, Any, None], context: Context | None = None) -> "asyncio.Task[None] | None":
    """
    Run a coroutine up to its first wait; only if it waits does it become a task. Gives the task, None when it is over.

    Before its first wait the coroutine runs in whatever calls this, which may be no task at all: it must not use
    `asyncio.timeout` or `asyncio.current_task` until it has waited once. What it sets in context variables is its
    caller's too, unless it is given a `context` of its own.
    """
    try:
        waits_for = coroutine.send(None) if context is None else context.run(coroutine.send, None)
    except StopIteration:
        return None
    return asyncio.get_running_loop().create_task(_rest_of(coroutine, waits_for), context=context)


async def _rest_of(coroutine: Coroutine[Any, Any, None], waits_for: Any) -> None:
    await _Resumed(coroutine, waits_for)


class _Resumed:
    """Awaits what a coroutine that was begun waits for, and goes on with it."""

    __slots__ = ("_coroutine", "_waits_for")

    def __init__(self, coroutine: Coroutine[Any, Any, None], waits_for: Any) -> None:
        self._coroutine = coroutine
        self._waits_for = waits_for

    def __await__(self) -> Generator[Any, Any, None]:
        coroutine, waits_for = self._coroutine, self._waits_for
        try:
            while True:
                try:
                    sent = yield waits_for
                except GeneratorExit:
                    # Nobody will ever resume it, and it may be closed before this: thrown into, it would complain.
                    coroutine.close()
                    raise
                except BaseException as error:  # noqa: BLE001  (it is the coroutine's to handle)
                    waits_for = coroutine.throw(error)
                else:
                    waits_for = coroutine.send(sent)
        except StopIteration:
            return
