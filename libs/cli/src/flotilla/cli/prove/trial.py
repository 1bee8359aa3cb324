"""The tasks that canaries travel in: whatever becomes of a task, by every way in."""

import asyncio
import itertools
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import msgspec

from flotilla.cli.console.outcomes import in_parallel
from flotilla.cli.prove.canaries import Canaries
from flotilla.cli.prove.documents import Input, input_of, letter, plain_letter, wrong_input
from flotilla.cli.prove.places import ANSWERS
from flotilla.cli.prove.plan import Lowered, Plan
from flotilla.cli.prove.sealed import SealedLane
from flotilla.cli.prove.watch import Watch
from flotilla.client.answers import Answer
from flotilla.client.errors import TaskFailedError
from flotilla.client.fleet import Fleet
from flotilla.contracts.errors import FlotillaError, TaskError
from flotilla.contracts.failures import ErrorKind
from flotilla.contracts.headers import Cache, DataClass
from flotilla.contracts.redaction import LOCAL_CAPABILITIES, VAULT_LIFETIME_S_MIN

IN_FLIGHT_MAX: Final = 8
TASK_DEADLINE_S: Final = 60.0
TOO_SHORT_S: Final = 0.001
"""A deadline that no task keeps."""
REDACTED: Final = "redacted and restored"
TURNED_DOWN: Final = frozenset({ErrorKind.UNKNOWN_CAPABILITY, ErrorKind.NO_ROUTE, ErrorKind.NOT_PERMITTED})
"""Nothing of the task went anywhere."""
DEAD_TRIES_MAX: Final = 20
DEAD_TRY_EVERY_S: Final = 0.1

Way = Callable[[str], Awaitable[str | None]]
"""Does something with a letter; gives how it ended where not well."""


class Trial:
    """
    One run.

    Attributes:
        tasks: The ids of the durable tasks, and whether each is known to have ended.
        ends: How many tasks ended how, by the way that they went.
        served: How many restricted tasks went well.
        decoys: How many decoys a cloud pool has served.
        untried: Why no document of a capability went anywhere yet, of those that were named.
        documents: How many letters have been sent, and what became of them is known.
    """

    def __init__(
        self,
        fleet: Fleet,
        plan: Plan,
        canaries: Canaries,
        watch: Watch,
        *,
        run: str,
        sealed: SealedLane | None = None,
    ) -> None:
        self._fleet = fleet
        self._plan = plan
        self._canaries = canaries
        self._watch = watch
        self._run = run
        self._sealed = sealed
        self._numbers = itertools.count()
        self._pools = itertools.cycle(plan.onward_pools)
        self.tasks: Final[dict[str, bool]] = {}
        self.ends: Final[dict[str, Counter[str]]] = {}
        self.served = 0
        self.decoys = 0
        self.untried: Final = dict.fromkeys(plan.named, "there were too few documents: give it more --tasks")
        self.documents = 0

    async def run(self, documents: int, advance: Callable[[], None]) -> None:
        """Send so many letters, each in another way than the one before."""
        ways = itertools.cycle(self._ways())

        async def send(number: int) -> None:
            name, way = next(ways)
            ends = self.ends.setdefault(name, Counter())
            try:
                ended = await way(letter(self._canaries.person(number)))
            except TaskFailedError as error:
                self._watch.see(ANSWERS, msgspec.json.encode(error.answer.result))
                ends[error.kind.value] += 1
            except TaskError as error:
                self._watch.see(ANSWERS, msgspec.json.encode(error.body))
                ends[error.kind.value] += 1
            except FlotillaError as error:
                self._watch.see(ANSWERS, str(error).encode("utf-8", "replace"))
                ends["no answer"] += 1
            else:
                ends[ended or "ok"] += 1
            self.documents += 1
            advance()

        async for _ in in_parallel(send, range(documents), IN_FLIGHT_MAX):
            pass

    def _ways(self) -> list[tuple[str, Way]]:
        plan = self._plan
        found: list[tuple[str, Way]] = []
        found += [("decoys", self._decoy) for _ in plan.onward_pools]
        found += [("asked", self._asking(name)) for name in plan.capabilities]
        found += [("submitted", self._submitting(name)) for name in plan.capabilities]
        found += [("asked twice, with the cache", self._asking_twice(name)) for name in plan.cached]
        if self._sealed is not None:
            found += [("sealed", self._sealing(self._sealed, name)) for name in plan.sealed]
        if plan.redacts:
            found.append((REDACTED, self._redacted_and_restored))
        found += [(f"{low.capability}.{low.field} sent on", self._sending_on(low)) for low in plan.lowered]
        for pool in plan.cloud_pools:
            found.append(("asked of the cloud", self._asking_cloud(pool)))
            found.append(("retried of the cloud", self._dying(route=pool)))
        found += [
            ("died and retried", self._dying(deadline_s=TOO_SHORT_S)),
            ("refused", self._refused),
            ("cancelled", self._cancelled),
        ]
        return found

    def _asking(self, capability: str) -> Way:
        async def way(text: str) -> None:
            try:
                await self._ask(capability, input_of(capability, text))
            except TaskError as error:
                self._tried(capability, error.kind)
                raise
            self._tried(capability)

        return way

    def _tried(self, capability: str, refusal: ErrorKind | None = None) -> None:
        if refusal not in TURNED_DOWN:
            self.untried.pop(capability, None)
        elif capability in self.untried:
            self.untried[capability] = f"{refusal.value}: `flotilla status` shows what is served"

    def _asking_twice(self, capability: str) -> Way:
        async def way(text: str) -> None:
            for _ in range(2):
                await self._ask(capability, input_of(capability, text), cache="use")

        return way

    def _sealing(self, sealed: SealedLane, capability: str) -> Way:
        async def way(text: str) -> str:
            return await sealed.submit(capability, text)

        return way

    def _submitting(self, capability: str) -> Way:
        async def way(text: str) -> None:
            task = await self._submit(capability, input_of(capability, text))
            self._look_at(await self._result(task))

        return way

    def _asking_cloud(self, pool: str) -> Way:
        async def way(text: str) -> None:
            capability = self._any
            await self._ask(capability, input_of(capability, text), route=pool)

        return way

    def _dying(self, *, deadline_s: float | None = None, route: str | None = None) -> Way:
        async def way(text: str) -> None:
            capability = self._any
            task = await self._submit(capability, input_of(capability, text), deadline_s=deadline_s, route=route)
            try:
                self._look_at(await self._result(task))
            except TaskFailedError as error:
                self._watch.see(ANSWERS, msgspec.json.encode(error.answer.result))
                again = await self._retried(task)
                self._look_at(await self._result(again))

        return way

    def _sending_on(self, low: Lowered) -> Way:
        async def way(text: str) -> None:
            if low.capability in LOCAL_CAPABILITIES:
                await self._redaction_sent_on(text, low)
            else:
                output = (await self._ask(low.capability, input_of(low.capability, text))).output
                await self._send_on(output.get(low.field), low.data_class)

        return way

    async def _redaction_sent_on(self, text: str, low: Lowered) -> None:
        output = redacted = await self._redact(text)
        try:
            if low.capability == "restore":
                given = {"document": redacted["document"], "vault": redacted["vault"]}
                output = (await self._ask("restore", given)).output
            await self._send_on(output.get(low.field), low.data_class)
        finally:
            await self._forget(redacted["vault"])

    async def _redacted_and_restored(self, text: str) -> None:
        redacted = await self._redact(text)
        try:
            onward = await self._send_on(redacted["document"], "internal")
            written = redacted["document"] if onward is None else onward.text or redacted["document"]
            await self._ask("restore", {"document": written, "vault": redacted["vault"]})
        finally:
            await self._forget(redacted["vault"])

    async def _decoy(self, _text: str) -> None:
        answer = await self._send_on(plain_letter(self._canaries.decoy), "public")
        self.decoys += answer is not None and answer.result.zone == "cloud"

    async def _refused(self, text: str) -> None:
        # Durable, so that a dead letter is made of it too.
        self._look_at(await self._result(await self._submit(self._any, wrong_input(text))))

    async def _cancelled(self, text: str) -> None:
        task = await self._submit(self._any, input_of(self._any, text))
        await self._fleet.cancel(task)

    @property
    def _any(self) -> str:
        return next(iter(self._plan.capabilities), "classify")

    async def _redact(self, text: str) -> dict[str, Any]:
        given = {"document": text, "lifetime_s": VAULT_LIFETIME_S_MIN}
        return (await self._ask("redact", given)).output

    async def _forget(self, vault: str) -> None:
        await self._ask("vault", {"action": "forget", "vault": vault})

    async def _send_on(self, value: Any, data_class: DataClass) -> Answer | None:
        """Have something done to what may leave; None where there is nothing, or nobody does anything to a text."""
        onward = self._plan.onward
        if onward is None or value is None:
            return None
        text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
        route = next(self._pools, None)
        if not text:
            return None
        # A kept answer would have been on no lane.
        return await self._ask(onward, input_of(onward, text), data_class=data_class, route=route, cache="off")

    async def _ask(
        self,
        capability: str,
        given: Input,
        *,
        data_class: DataClass = "restricted",
        route: str | None = None,
        cache: Cache | None = None,
    ) -> Answer:
        answer = await self._fleet.ask(
            capability, given, deadline_s=TASK_DEADLINE_S, data_class=data_class, route=route, cache=cache
        )
        self._look_at(answer, data_class=data_class)
        return answer

    async def _submit(self, capability: str, given: Input, **options: Any) -> str:
        task = f"{self._run}-{next(self._numbers)}"
        self.tasks[task] = False
        submitted: Mapping[str, Any] = {"deadline_s": TASK_DEADLINE_S, **_given(options)}
        await self._fleet.submit(capability, given, task_id=task, data_class="restricted", **submitted)
        return task

    async def _result(self, task: str) -> Answer:
        try:
            answer = await self._fleet.result(task, timeout_s=TASK_DEADLINE_S)
        except TaskFailedError:
            self.tasks[task] = True
            raise
        self.tasks[task] = True
        return answer

    async def _retried(self, task: str) -> str:
        """Retry a dead task, whose record is written a moment after its result."""
        tries = 1
        while True:
            try:
                again = (await self._fleet.dead_retry(task)).retried_as
            except TaskError as error:
                if error.kind is not ErrorKind.NOT_FOUND or tries >= DEAD_TRIES_MAX:
                    raise
                tries += 1
                await asyncio.sleep(DEAD_TRY_EVERY_S)
            else:
                self.tasks[again] = False
                return again

    def _look_at(self, answer: Answer, *, data_class: DataClass = "restricted") -> None:
        self._watch.see(ANSWERS, msgspec.json.encode(answer.result))
        if data_class != "restricted":
            return
        self.served += 1
        if answer.result.zone == "cloud":
            self._watch.leak(ANSWERS)


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}
