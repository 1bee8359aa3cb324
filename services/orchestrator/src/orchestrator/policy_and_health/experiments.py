"""
The arms of splits as the whole fleet has seen them: this orchestrator's totals, written to the bucket of experiments.

Each orchestrator writes keys of its own, one per experiment, and has a new name at each start: nobody ever writes over what
another has counted. A report adds all of them up. Without a split nothing is counted and nothing is written.
"""

import asyncio
import secrets
from typing import Final

from flotilla.contracts import subjects
from flotilla.contracts.clock import unix_ms
from flotilla.contracts.errors import DecodeFailedError
from flotilla.contracts.experiments import (
    ArmOfTask,
    ArmsRecord,
    ArmTotals,
    decode_arms,
    encode_experiment,
    experiment_of,
)
from flotilla.contracts.policy_rules import Rules
from flotilla.contracts.results import Result
from flotilla.fabric import keyvalue
from flotilla.fabric.connection import Connection
from flotilla.fabric.inbox import Requests
from flotilla.fabric.per_item import guarded
from flotilla.fabric.stored import LAST_SUBJECTS_MAX
from flotilla.routing.arms import Arms
from orchestrator.state.tasks import Task
from orchestrator.state.unreadable_stored import UnreadableStored

PUBLISH_EVERY_S: Final = 1.0
WRITERS_MAX: Final = 4 * LAST_SUBJECTS_MAX
"""Orchestrators whose totals are added up for a report; one that starts again is another one."""
NAMES_MAX: Final = 1_000

Routes = dict[tuple[str, str], ArmTotals]


class Experiments:
    """Counts the tasks of splits here, and adds up what all orchestrators have counted."""

    def __init__(
        self, connection: Connection, requests: Requests, unreadable: UnreadableStored, *, instance: str
    ) -> None:
        self._connection = connection
        self._requests = requests
        self._unreadable = unreadable
        self._writer: Final = f"{instance}-{secrets.token_hex(4)}"
        self._arms: Final = Arms()
        self._names: dict[str, tuple[Rules, str]] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Write what is counted until `stop`."""
        self._task = asyncio.get_running_loop().create_task(self._publish_loop())

    async def stop(self) -> None:
        """Write what has not been written yet, and no more."""
        if self._task is not None:
            self._task.cancel()
        await self._publish()

    def ended(self, task: Task, result: Result, rules: Rules) -> None:
        """A task of a split has its result."""
        experiment = self.name_of(task.capability, rules)
        if experiment:
            self._arms.ended(task.scope, result, experiment, unix_ms())

    def name_of(self, capability: str, rules: Rules) -> str:
        """The experiment that the rules of a capability make; empty where they make none."""
        known = self._names.get(capability)
        if known is None or known[0] is not rules:
            if len(self._names) >= NAMES_MAX:
                self._names.clear()
            known = self._names[capability] = (rules, experiment_of(capability, rules))
        return known[1]

    def arm_of_recent(self, scope: str, task: str) -> ArmOfTask | None:
        """The arm of a task that ended here lately."""
        return self._arms.arm_of_recent(scope, task)

    async def totals(self, capability: str, experiment: str) -> tuple[int, Routes]:
        """
        When an experiment began (unix ms; 0 without a task) and the totals of its routes, of all orchestrators.

        Raises:
            FabricError: The bucket cannot be read.
        """
        pattern = subjects.arms_key(capability, experiment, "*")
        keys = await keyvalue.keys(self._requests, subjects.EXPERIMENTS_BUCKET, pattern)
        own_key = subjects.arms_key(capability, experiment, self._writer)
        others = [key for key in keys if key != own_key][:WRITERS_MAX]
        own = self._arms.record(capability, experiment)
        records = [] if own is None else [own]
        for place in range(0, len(others), LAST_SUBJECTS_MAX):
            batch = others[place : place + LAST_SUBJECTS_MAX]
            entries = await keyvalue.newest(self._requests, subjects.EXPERIMENTS_BUCKET, batch)
            read = (self._read(entry.key, entry.body) for entry in entries if not entry.deleted)
            records += [record for record in read if record is not None]
        added: Routes = {}
        for arm in (arm for record in records for arm in record.arms):
            known = added.get((arm.pool, arm.model))
            added[arm.pool, arm.model] = arm if known is None else known + arm
        return min((record.began_unix_ms for record in records), default=0), added

    def _read(self, key: str, body: bytes) -> ArmsRecord | None:
        try:
            return decode_arms(body)
        except DecodeFailedError as error:
            self._unreadable.found("experiment", key, error)
            return None

    async def _publish_loop(self) -> None:
        while True:
            await asyncio.sleep(PUBLISH_EVERY_S)
            await self._publish()

    async def _publish(self) -> None:
        for key in tuple(self._arms.changed):
            capability, experiment = key
            self._arms.changed.discard(key)
            record = self._arms.record(capability, experiment)
            if record is not None and not await self._write(capability, experiment, record):
                self._arms.changed.add(key)

    async def _write(self, capability: str, experiment: str, record: ArmsRecord) -> bool:
        key = subjects.arms_key(capability, experiment, self._writer)
        with guarded("experiments", key):
            await self._connection.publish(subjects.key(subjects.EXPERIMENTS_BUCKET, key), encode_experiment(record))
            return True
        return False
