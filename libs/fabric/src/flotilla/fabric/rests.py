"""A pause between two turns of a loop that ends early when there is something to do."""

import asyncio


class Rest:
    """The rests of one loop, one after the other; costs nothing while none is taken."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[None] | None = None

    async def take(self, for_s: float) -> None:
        """Return after so many seconds, or as soon as `end` is called."""
        self._ended = self._loop.create_future()
        over = self._loop.call_later(for_s, self.end)
        try:
            await self._ended
        finally:
            over.cancel()

    def end(self) -> None:
        """End the rest that is taken now, if one is."""
        ended, self._ended = self._ended, None
        if ended is not None and not ended.done():
            ended.set_result(None)
