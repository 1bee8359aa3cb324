"""
The results of steps that are kept: what a run that is taken over, or resumed, does not work on again.

A result is published once to a subject that names the run, the step and a digest of all that it was made from (the
definition, the capability, the input and its data class): what was made from anything else is never taken for it. Of a
step that stood at a gate, how it failed is kept too.
"""

import asyncio
import hashlib
import secrets
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from typing import Final

import msgspec
import structlog

from flotilla.contracts import subjects
from flotilla.contracts.decoding import UNDECODABLE, checked
from flotilla.contracts.headers import DataClass
from flotilla.fabric.errors import FabricError
from flotilla.fabric.inbox import Requests
from flotilla.fabric.publish_once import Destination, publish_once
from flotilla.fabric.publish_outcomes import Stored
from flotilla.fabric.stored import StoredMessage, between, last_message, last_of_each
from flotilla.fabric.stream_usage import last_sequence, subjects_holding
from flotilla.fabric.unreadable import Sparing
from flotilla.pipelines.definition import Pipeline
from flotilla.pipelines.errors import PipelineError
from flotilla.pipelines.plan import StepTask
from flotilla.pipelines.reading import read_pipeline
from orchestrator.execution.dependencies import NoRouteNowError
from orchestrator.pipelines.kept_results import (
    KeptDefinition,
    decode_definition,
    encode_kept,
    output_bytes,
    read_kept,
)
from orchestrator.pipelines.step_ended import StepEnded
from orchestrator.state.shared_quota import Room

logger = structlog.get_logger("orchestrator")

PATIENCE_S: Final = 30.0
HEADERS_BYTES_MAX: Final = 1024
READING_MAX: Final = 2
"""Runs of a scope whose kept results are read at a time."""
KEPT_BYTES_MAX: Final = 64 * 1024 * 1024
"""Of one run's results that are read again; the steps whose results are beyond are worked on again."""


class StepResults:
    """Keeps and finds the results of steps."""

    def __init__(self, requests: Requests, *, outputs: Room, payload_bytes_max: int) -> None:
        """
        Read nothing yet.

        Args:
            requests: The connection's.
            outputs: Room for the bytes of the outputs that runs hold, those among them that were read again.
            payload_bytes_max: The server's limit on one message.
        """
        self._requests = requests
        self._outputs = outputs
        self._bytes_max = payload_bytes_max - HEADERS_BYTES_MAX
        self._sparing = Sparing()
        self._reading: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(READING_MAX))

    async def begin(self, scope: str, task_id: str, run: str, pipeline: Pipeline) -> "RunResults":
        """
        Keep the definition that a run begins with, or find the one that it has begun with, and what it has done.

        Args:
            scope: Whose run it is.
            task_id: The run's own id: a run that goes on with another begins with the definition of now.
            run: Whose results it goes on with; its own id, or that of the other.
            pipeline: The definition of now.

        Raises:
            NoRouteNowError: They can be neither kept nor read now.
        """
        subject = subjects.pipeline_run(scope, task_id, pipeline.name)
        definition = KeptDefinition(
            digest=pipeline.digest, beginning=secrets.token_hex(8), source_text=pipeline.source_text
        )
        body = msgspec.json.encode(definition)
        stored = await self.keep(scope, subject, body)
        if stored is Stored.NOW and run == task_id:
            return RunResults(self, scope, pipeline, {}, run=run, task_id=task_id)
        try:
            if stored is Stored.BEFORE:
                pipeline = await self._definition(scope, subject, pipeline)
            # A batch of messages is held while it is read: many runs that are taken over at once come one after the other.
            async with self._reading[scope]:
                done = await self._done(scope, run, task_id)
            return RunResults(self, scope, pipeline, done, run=run, task_id=task_id)
        except FabricError:
            raise NoRouteNowError from None

    async def keep(self, scope: str, subject: str, body: bytes) -> Stored:
        """
        Publish once.

        Raises:
            NoRouteNowError: The server could not be reached in time, or refuses.
        """

        def refused(reason: str) -> None:
            unsaid = self._sparing.due(reason)
            if unsaid is not None:
                logger.error("step_result_refused", scope=scope, error=reason, unsaid=unsaid)

        destination = Destination(publish=subject, stream=subjects.steps_stream(scope), stored=subject)
        try:
            stored = await publish_once(self._requests, destination, body, patience_s=PATIENCE_S, on_refused=refused)
        except FabricError:
            raise NoRouteNowError from None
        if stored is Stored.NOT:
            raise NoRouteNowError
        return stored

    def fits(self, body: bytes) -> bool:
        """Whether a result can be kept at all."""
        return len(body) <= self._bytes_max

    async def find(self, scope: str, subject: str) -> StepEnded | None:
        """
        What is kept under a subject, by its stream's leader; None when that cannot be read.

        Raises:
            NoRouteNowError: The server could not be asked.
        """
        try:
            found = await last_message(self._requests, subjects.steps_stream(scope), subject)
        except FabricError:
            raise NoRouteNowError from None
        return None if found is None else read_kept(found.subject, found.body)

    async def is_kept(self, scope: str, subject: str) -> bool:
        """
        Whether anything is kept under a subject, by its stream's leader: what a replica has not heard of yet counts too.

        Raises:
            FabricError: The server could not be asked.
        """
        return await last_message(self._requests, subjects.steps_stream(scope), subject) is not None

    async def _definition(self, scope: str, subject: str, pipeline: Pipeline) -> Pipeline:
        # Of the leader: a replica that has not heard of it yet would have the run go on under what there is now.
        found = await last_message(self._requests, subjects.steps_stream(scope), subject)
        if found is None:
            return pipeline
        try:
            kept = decode_definition(checked(found.body))
            return pipeline if kept.digest == pipeline.digest else read_pipeline(kept.source_text, pipeline.name)
        except (*UNDECODABLE, PipelineError):
            # Of a version that reads other files: the run goes on under what there is now.
            logger.warning("definition_unreadable", subject=subject)
            return pipeline

    def give_back(self, scope: str, done: Iterable[StepEnded]) -> None:
        """Outputs that were read again are not held any more, or by their run from now on."""
        self._outputs.give_back(scope, sum(map(output_bytes, done)))

    async def _done(self, scope: str, run: str, task_id: str) -> dict[str, StepEnded]:
        """What the run has given, and what has failed of it in this task: another one begins anew where it failed."""
        done: dict[str, StepEnded] = {}
        try:
            await self._read_done(scope, run, task_id, done)
        except BaseException:
            self.give_back(scope, done.values())
            raise
        return done

    async def _read_done(self, scope: str, run: str, task_id: str, done: dict[str, StepEnded]) -> None:
        """Read it, as far as there is room for its outputs; NoRouteNowError where there is not."""
        stream = subjects.steps_stream(scope)
        size_bytes = 0
        for owner in dict.fromkeys((run, task_id)):
            pattern = subjects.pipeline_step(scope, owner, "*", "*", "*")
            async for message in self._all(stream, pattern):
                size_bytes += len(message.body)
                if size_bytes > KEPT_BYTES_MAX:
                    return
                ended = read_kept(message.subject, message.body)
                if ended is not None and (owner == task_id or isinstance(ended.result.output, msgspec.Raw)):
                    if not self._outputs.take(scope, output_bytes(ended)):
                        raise NoRouteNowError
                    done[message.subject] = ended

    async def _all(self, stream: str, pattern: str) -> AsyncIterator[StoredMessage]:
        """
        What stands on the subjects that match, as the stream's leader has it: one message on each.

        The answers are a replica's, which may lag behind the last writes. The leader says which there are, and gives those
        that were not among the answers: whatever was missing would be worked on again.
        """
        missing = await subjects_holding(self._requests, stream, pattern)
        if not missing:
            return
        async for message in self._of_a_replica(stream, pattern):
            missing.pop(message.subject, None)
            yield message
        for subject in missing:
            message = await last_message(self._requests, stream, subject)
            if message is not None:
                yield message

    async def _of_a_replica(self, stream: str, pattern: str) -> AsyncIterator[StoredMessage]:
        found = await last_of_each(self._requests, stream, pattern)
        if found is not None:
            for message in found:
                yield message
            return
        last = await last_sequence(self._requests, stream)
        async for message in between(self._requests, stream, pattern, from_sequence=1, before=last + 1):
            yield message


class RunResults:
    """
    The kept results of one run.

    Attributes:
        pipeline: The definition that it began with.
    """

    def __init__(
        self,
        results: StepResults,
        scope: str,
        pipeline: Pipeline,
        done: dict[str, StepEnded],
        *,
        run: str,
        task_id: str,
    ) -> None:
        self.pipeline: Final = pipeline
        self._results = results
        self._scope = scope
        self._run = run
        self._task_id = task_id
        self._done = done

    def of(self, step: StepTask, data_class: DataClass) -> StepEnded | None:
        """How it ended before, if that is kept."""
        if not self._done:
            return None
        given = self._done.pop(self._subject(step, data_class), None)
        given = given or self._done.pop(self._subject_of_failure(step, data_class), None)
        if given is not None:
            self._results.give_back(self._scope, (given,))
        return given

    def close(self) -> None:
        """The run is over, or left: hold none of what it has not come to."""
        self._results.give_back(self._scope, self._done.values())
        self._done = {}

    async def keep(self, step: StepTask, data_class: DataClass, ended: StepEnded) -> StepEnded | None:
        """
        Keep a result; gives the one that counts, which is another's where that was kept first. None when it is too large.

        Raises:
            NoRouteNowError: It cannot be kept now.
        """
        body = encode_kept(ended)
        if not self._results.fits(body):
            return None
        return await self._keep(self._subject(step, data_class), body, ended)

    async def keep_failed(self, step: StepTask, data_class: DataClass, ended: StepEnded) -> StepEnded:
        """
        Keep how a step failed, for this task alone: one that goes on with the run tries it anew. As `keep`.

        Raises:
            NoRouteNowError: It cannot be kept now.
        """
        body = encode_kept(ended)
        if not self._results.fits(body):
            return ended
        return await self._keep(self._subject_of_failure(step, data_class), body, ended)

    async def has_passed(self, step: StepTask, data_class: DataClass, submission: str) -> bool:
        """
        Whether a run within this one has passed its gate with this input, in this submission of the task.

        Raises:
            FabricError: The server could not be asked.
        """
        return await self._results.is_kept(self._scope, self._subject_of_passing(step, data_class, submission))

    async def keep_passed(self, step: StepTask, data_class: DataClass, submission: str) -> None:
        """
        Keep that it has, before it begins.

        Raises:
            NoRouteNowError: It cannot be kept now.
        """
        await self._results.keep(self._scope, self._subject_of_passing(step, data_class, submission), b"{}")

    async def _keep(self, subject: str, body: bytes, ended: StepEnded) -> StepEnded:
        if await self._results.keep(self._scope, subject, body) is Stored.NOW:
            return ended
        return await self._results.find(self._scope, subject) or ended

    def _subject(self, step: StepTask, data_class: DataClass) -> str:
        return self._subject_of(self._run, step, data_class)

    def _subject_of_failure(self, step: StepTask, data_class: DataClass) -> str:
        # Another than that of its result, which a task that goes on with the run may yet come to.
        return self._subject_of(self._task_id, step, f"{data_class} failed")

    def _subject_of_passing(self, step: StepTask, data_class: DataClass, submission: str) -> str:
        approved = f"{submission}\0{step.key}\0{self._made_from(step, data_class)}"
        return subjects.step_passed(self._scope, self._task_id, hashlib.sha256(approved.encode()).hexdigest()[:32])

    def _made_from(self, step: StepTask, data_class: str) -> str:
        return f"{self.pipeline.digest}\0{step.capability}\0{data_class}\0{step.input_digest}"

    def _subject_of(self, owner: str, step: StepTask, data_class: str) -> str:
        made_from = self._made_from(step, data_class)
        index = "-" if step.key.index is None else str(step.key.index)
        digest = hashlib.sha256(made_from.encode()).hexdigest()[:32]
        return subjects.pipeline_step(self._scope, owner, step.key.step, index, digest)
