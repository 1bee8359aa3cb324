"""The sealed lane, tried and looked into with the credentials of its own orchestrators: nobody else is in its account."""

import asyncio
import itertools
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

import msgspec
from msgspec import UNSET

from flotilla.cli.prove.documents import Input, input_of
from flotilla.cli.prove.places import SEALED, beside_output
from flotilla.cli.prove.stores import Marks, look_into, marked
from flotilla.cli.prove.watch import Watch
from flotilla.contracts import headers, subjects
from flotilla.contracts.errors import DecodeFailedError
from flotilla.contracts.names import ORCHESTRATOR
from flotilla.contracts.results import decode_result
from flotilla.fabric.connection import NatsSettings, connected
from flotilla.fabric.inbox import Requests
from flotilla.fabric.stored import last_message

STORED_WITHIN_S: Final = 10.0
RESULT_WITHIN_S: Final = 60.0
LOOKED_EVERY_S: Final = 0.1


class SealedLane:
    """Sends durable tasks into the lane, and reads its stores. They hold what was sent until it expires there."""

    def __init__(self, requests: Requests, watch: Watch, *, scope: str, run: str, marks: Marks) -> None:
        self._requests = requests
        self._watch = watch
        self._scope = scope
        self._run = run
        self._marks = marks
        self._numbers = itertools.count()

    async def submit(self, capability: str, text: str) -> str:
        """
        Have one task done; gives `ok` or the kind of its failure.

        Raises:
            FabricError: The server does not answer.
        """
        given: Input = input_of(capability, text)
        task = f"{self._run}-sealed-{next(self._numbers)}"
        await self._requests.request(
            subjects.tasks(self._scope, capability),
            msgspec.json.encode(given),
            # What a caller says of the class counts for nothing there.
            headers={headers.TASK_ID: task, headers.DATA_CLASS: "public"},
            timeout_s=STORED_WITHIN_S,
        )
        subject = subjects.results(self._scope, capability, task)
        stream = subjects.results_stream(self._scope)
        gives_up_at = time.monotonic() + RESULT_WITHIN_S
        message = await last_message(self._requests, stream, subject)
        while message is None:
            if time.monotonic() > gives_up_at:
                return "no answer"
            await asyncio.sleep(LOOKED_EVERY_S)
            message = await last_message(self._requests, stream, subject)
        self._watch.see(SEALED, beside_output(message.body))
        try:
            result = decode_result(message.body)
        except DecodeFailedError:
            return "unreadable"
        if result.zone == "cloud":
            self._watch.leak(SEALED)
        return result.status if result.error is UNSET else result.error.kind.value

    async def look(self) -> None:
        """See everything that its account has stored since; raises as `look_into`."""
        await look_into(self._requests, self._scope, self._marks, self._watch, SEALED, sealed=True)


@asynccontextmanager
async def sealed_lane(settings: NatsSettings, watch: Watch, *, scope: str, run: str) -> AsyncGenerator[SealedLane]:
    """The lane, with the credentials of `orchestrator-sealed`."""
    settings = msgspec.structs.replace(settings, inbox_prefix=subjects.inbox_prefix(ORCHESTRATOR))
    async with connected(settings, name="flotilla-prove-sealed") as connection:
        requests = Requests(connection)
        await requests.start()
        try:
            yield SealedLane(requests, watch, scope=scope, run=run, marks=await marked(requests, scope))
        finally:
            await requests.stop()
