"""
No task may wait where nobody looks.

A work-queue stream refuses overlapping consumer filters, so there is no catch-all consumer. Instead, once a second, the
subjects that hold messages are compared with the consumers: a known capability gets its consumers, and the tasks of an
unknown one are failed, with a dead-letter record. Those of a capability that nobody has capacity for are not pulled; here
they are failed when their deadlines pass, or at once when they are no valid tasks.

A subject of the stream is what somebody wrote, and the server takes any bytes. One that is not UTF-8 is not told as it is,
and can be asked for by no name; one with a wildcard is told like any other, and stands for all the rest when it is asked
for. So a message is only ever asked for by a subject that is plain text; the others are found by walking over the stream.
"""

import asyncio
import random
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from flotilla.contracts import subjects
from flotilla.contracts.errors import TaskError
from flotilla.contracts.failures import ErrorBody, ErrorKind
from flotilla.contracts.names import is_name
from flotilla.contracts.results import Result
from flotilla.contracts.subjects import PRIORITIES, Priority, TaskSubject
from flotilla.fabric.consumers import ACK_PENDING_MARGIN, ACK_PENDING_STEP, consumer_exists, ensure_consumer
from flotilla.fabric.errors import FabricError
from flotilla.fabric.held_subjects import HeldSubjects, count_of_each
from flotilla.fabric.inbox import Requests
from flotilla.fabric.per_item import guarded
from flotilla.fabric.stored import StoredMessage, next_message, scan
from flotilla.fabric.subject_guard import is_readable
from orchestrator.execution.executors import Executors
from orchestrator.reporting.metrics import OrchestratorMetrics
from orchestrator.ways_in.durable import Durable
from orchestrator.ways_in.durable_answers import DurableAnswer, refusal
from orchestrator.ways_in.intake import Intake
from orchestrator.ways_in.settlement import Settlement

EVERY_S: Final = 1.0
JITTER_S: Final = 0.2
FAILED_PER_SWEEP_MAX: Final = 500
COMMIT_PATIENCE_S: Final = 5.0
"""For each result: the sweep does not wait for the one that is refused, but looks again."""
OVERDUE_LOOKED_AT_MAX: Final = 100
"""Of each subject in a sweep; the next one goes on where it ended."""
LOOKED_AT_BYTES_MAX: Final = 8 * 1024 * 1024
UNREADABLE_LOOKED_AT_MAX: Final = 1_000
"""Of the whole stream in a sweep, while it holds some on subjects that nobody can read."""
WALKED_MAX: Final = 500
"""Of the whole stream in a sweep, while it holds some on more subjects than are listed."""
COUNTED_MAX: Final = 48
"""Subjects whose tasks are counted in such a sweep, each in a request; the next one goes on with the others."""


class Sweep:
    """Sweeps the task stream of one scope."""

    def __init__(
        self,
        requests: Requests,
        *,
        scope: str,
        intake: Intake,
        executors: Executors,
        durable: Durable,
        settlement: Settlement,
        metrics: OrchestratorMetrics,
    ) -> None:
        self._requests = requests
        self._scope = scope
        self._intake = intake
        self._executors = executors
        self._durable = durable
        self._settlement = settlement
        self._metrics = metrics
        self._every_task = f"scope.{scope}.tasks.>"
        self._held = HeldSubjects(requests, subjects.tasks_stream(scope), self._every_task)
        self._backlog: dict[tuple[str, str, str], int] = {}
        self._counted = 0
        self._looked_at: dict[str, int] = {}
        self._due = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Sweep until `stop`."""
        self._task = asyncio.get_running_loop().create_task(self._loop())

    async def stop(self) -> None:
        """Stop sweeping."""
        if self._task is not None:
            self._task.cancel()

    def look_again(self) -> None:
        """The fleet changed: sweep without waiting for the second to pass."""
        self._due.set()

    async def _loop(self) -> None:
        while True:
            with guarded("sweep", self._scope):
                await self.once()
            # Python 3.11's wait_for loses a cancellation that comes with the event.
            with suppress(TimeoutError):
                async with asyncio.timeout(EVERY_S + random.random() * JITTER_S):
                    await self._due.wait()
            self._due.clear()

    async def once(self) -> None:
        """One sweep: consumers for what is announced and for what waits, failures for what nobody knows or serves in time."""
        served = frozenset(self._executors.capabilities())
        wanted = set(served)
        held = await self._held.now()
        if held is None:
            await self._walk(wanted)
            with self._guarded("backlog"):
                await self._count(wanted)
        else:
            await self._look_at(held, wanted)
        self._metrics.gauges.backlog_is(self._scope, self._backlog, served)
        for capability in sorted(wanted):
            with self._guarded(capability):
                await self._ensure(capability)
        with self._guarded("unused"):
            await self._durable.pull_groups.close_unused(wanted)
            still = {self._every_task, *(held or ())}
            self._looked_at = {subject: at for subject, at in self._looked_at.items() if subject in still}
        # Last: what is resumed takes room of its capability, whose pullers are known then.
        with self._guarded("resumed"):
            await self._durable.resumed.ensure()

    async def _look_at(self, held: Mapping[str, int], wanted: set[str]) -> None:
        """Each subject that holds tasks; adds the capabilities that are known to `wanted`."""
        backlog: dict[tuple[str, str, str], int] = {}
        readable = {subject: count for subject, count in held.items() if is_readable(subject)}
        if len(readable) < len(held):
            await self._fail_unreadable()
        for subject, count in readable.items():
            with self._guarded(subject):
                parsed = subjects.parse_tasks(subject)
                if parsed is not None and await self._is_known(parsed):
                    wanted.add(parsed.capability)
                    backlog[(self._scope, parsed.capability, parsed.priority)] = count
                    if self._may_be_overdue(parsed):
                        await self._fail_overdue(subject)
                else:
                    await self._fail_all(subject)
        self._backlog = backlog

    async def _walk(self, wanted: set[str]) -> None:
        """
        The next messages of the stream, one by one, where it holds some on more subjects than can be listed.

        Most of these are nobody's capabilities, and end here; a part of them in each sweep.
        """
        for message in await self._next_of(self._every_task, messages_max=WALKED_MAX):
            with self._guarded(message.sequence):
                parsed = subjects.parse_tasks(message.subject) if is_readable(message.subject) else None
                answer: DurableAnswer | None = None
                if parsed is None or not await self._is_known(parsed):
                    answer = DurableAnswer(self._unknown(message))
                else:
                    wanted.add(parsed.capability)
                    if self._may_be_overdue(parsed):
                        answer = await self._answer_overdue(message)
                if answer is not None:
                    await self._end(message, answer)

    async def _count(self, wanted: set[str]) -> None:
        """The backlog of what is known, COUNTED_MAX subjects of it; of the others it is what it was."""
        known = wanted | {capability for _, capability, _ in self._backlog}
        due: list[tuple[str, Priority]] = [
            (capability, priority) for capability in sorted(known) for priority in PRIORITIES
        ]
        begin = self._counted % len(due) if due else 0
        counted = (due[begin:] + due[:begin])[:COUNTED_MAX]
        self._counted = begin + len(counted)
        of_subjects = {
            subjects.tasks(self._scope, capability, priority): (self._scope, capability, priority)
            for capability, priority in counted
        }
        found = await count_of_each(self._requests, subjects.tasks_stream(self._scope), of_subjects)
        fresh = {labels: found.get(subject, 0) for subject, labels in of_subjects.items()}
        self._backlog = {labels: count for labels, count in (self._backlog | fresh).items() if count}

    def _may_be_overdue(self, parsed: TaskSubject) -> bool:
        """Whether tasks are to be looked at where they wait: nobody pulls them."""
        has_capacity = self._executors.of(parsed.capability).capacity(parsed.capability) > 0
        return not has_capacity and not self._durable.intake.is_held_off

    def _guarded(self, item: object) -> guarded:
        return guarded("sweep", f"{self._scope} {item}")

    async def _is_known(self, parsed: TaskSubject) -> bool:
        """Also when only a consumer is left of a worker that announced it, before this orchestrator was started."""
        if self._intake.knows(parsed.capability):
            return True
        found = is_name(parsed.capability) and await consumer_exists(
            self._requests, scope=self._scope, capability=parsed.capability, priority=parsed.priority
        )
        if found:
            self._intake.remember(parsed.capability)
        return found

    async def _ensure(self, capability: str) -> None:
        capacity = self._executors.of(capability).capacity(capability)
        pull_group = self._durable.pull_groups.open(capability)
        # Parked messages are unacknowledged too, and must not keep the others from being delivered.
        parked = -(-pull_group.parked // ACK_PENDING_STEP) * ACK_PENDING_STEP
        ack_pending_max = capacity + max(ACK_PENDING_MARGIN, capacity // 4) + parked
        missing = any(puller.missing for puller in pull_group.pullers.values())
        if pull_group.ack_pending_max == ack_pending_max and not missing:
            return
        for priority in PRIORITIES:
            await ensure_consumer(
                self._requests,
                scope=self._scope,
                capability=capability,
                priority=priority,
                ack_pending_max=ack_pending_max,
            )
            pull_group.pullers[priority].missing = False
        pull_group.ack_pending_max = ack_pending_max
        self._durable.look_again()

    async def _fail_all(self, subject: str) -> None:
        stream = subjects.tasks_stream(self._scope)
        after = 0
        for _ in range(FAILED_PER_SWEEP_MAX):
            message = await next_message(self._requests, stream, subject, from_sequence=after + 1)
            if message is None:
                return
            after = message.sequence
            with self._guarded(after):
                await self._end(message, DurableAnswer(self._unknown(message)))

    def _unknown(self, message: StoredMessage) -> Result:
        parsed = subjects.parse_tasks(message.subject)
        if parsed is None:
            error = ErrorBody(
                kind=ErrorKind.UNKNOWN_CAPABILITY, message="the subject is not tasks.<capability>[.high|.low]"
            )
        else:
            error = self._intake.unknown(parsed.capability).body
        return refusal(message, error)

    async def _fail_unreadable(self) -> None:
        for message in await self._next_of(self._every_task, messages_max=UNREADABLE_LOOKED_AT_MAX):
            if not is_readable(message.subject):
                with self._guarded(message.sequence):
                    await self._end(message, DurableAnswer(self._unknown(message)))

    async def _fail_overdue(self, subject: str) -> None:
        """Nobody pulls what nobody has capacity for: its deadlines pass in the stream."""
        for message in await self._next_of(subject, messages_max=OVERDUE_LOOKED_AT_MAX):
            with self._guarded(message.sequence):
                answer = await self._answer_overdue(message)
                if answer is not None:
                    await self._end(message, answer)

    async def _answer_overdue(self, message: StoredMessage) -> DurableAnswer | None:
        """The end of a task that waits in the stream beyond its deadline, or is none; None while it may wait."""
        try:
            task = self._durable.intake.take(message)
        except TaskError as error:
            return DurableAnswer(refusal(message, error.body))
        if time.monotonic() < task.deadline_at or self._executors.holds(self._scope, task.id):
            return None
        return DurableAnswer(await self._executors.run(task), task)

    async def _next_of(self, pattern: str, *, messages_max: int) -> list[StoredMessage]:
        """The messages on the subjects that match, from where the last sweep ended; from the first one after the last."""
        found = await scan(
            self._requests,
            subjects.tasks_stream(self._scope),
            pattern,
            messages_max=messages_max,
            from_sequence=self._looked_at.pop(pattern, 1),
            bytes_max=LOOKED_AT_BYTES_MAX,
        )
        if found:
            self._looked_at[pattern] = found[-1].sequence + 1
        return found

    async def _end(self, message: StoredMessage, answer: DurableAnswer) -> None:
        """Settle a message that no consumer delivered."""
        if not await self._settlement.settle(self._scope, message, answer, patience_s=COMMIT_PATIENCE_S):
            raise FabricError("the result of a task in the stream could not be committed")
