"""
`python -m flotilla.testkit.steered_worker`: a real worker whose latency and failures a test changes while it runs.

    steering = Steering(tmp_path / "local.json", latency_ms=50)
    await start_steered(fleet, steering, "local")
    steering.set(latency_ms=2000)
    steering.set(failure_rate=0.05, failure="unavailable")

The file that the environment variable STEERING_FILE names says what it does; it is looked at for every attempt, so a
change holds for the next one. Attempts under way keep the latency that they began with.
"""

import asyncio
import os
import sys
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from flotilla.capabilities.catalogue import Catalogue
from flotilla.capabilities.errors import AttemptError
from flotilla.chassis.service import run_service
from flotilla.contracts.failures import FailureKind
from flotilla.contracts.subjects import Zone
from flotilla.inference.backend import Answer, Work
from flotilla.inference.engines.noop import NoopEngine
from flotilla.inference.serving import Serving, serve_worker
from flotilla.inference.settings import WorkerSettings
from flotilla.testkit.fleet import RunningFleet
from flotilla.testkit.fleet_process import FleetProcess

FILE: Final = "STEERING_FILE"


class Behaviour(Struct, frozen=True, kw_only=True):
    """
    What a steered worker does.

    Attributes:
        latency_ms: Of an answer, good or bad.
        failure_rate: The fraction of the work that fails, evenly spread: 0.05 fails every twentieth attempt.
        failure: The kind.
        retry_after_s: What a failure says of when to come back.
        failures_max: No more attempts than this fail; None is no limit.
    """

    latency_ms: float = 0.0
    failure_rate: float = 0.0
    failure: FailureKind = FailureKind.UNAVAILABLE
    retry_after_s: float | None = None
    failures_max: int | None = None


class Steering:
    """The test's end: writes the file."""

    def __init__(self, path: Path, *, latency_ms: float = 0.0) -> None:
        self.path: Final = path
        self.behaviour = Behaviour()
        self.set(latency_ms=latency_ms)

    def set(
        self,
        *,
        latency_ms: float | None = None,
        failure_rate: float = 0.0,
        failure: str = "unavailable",
        retry_after_s: float | None = None,
        failures_max: int | None = None,
    ) -> None:
        """From now on: with the latency that it had unless told, and without failures unless told."""
        self.behaviour = Behaviour(
            latency_ms=self.behaviour.latency_ms if latency_ms is None else latency_ms,
            failure_rate=failure_rate,
            failure=FailureKind(failure),
            retry_after_s=retry_after_s,
            failures_max=failures_max,
        )
        written = self.path.with_suffix(".new")
        written.write_bytes(msgspec.json.encode(self.behaviour))
        written.replace(self.path)


class SteeredBackend:
    """The worker's end: the noop engine's answers, as the file says."""

    def __init__(self, engine: NoopEngine, path: Path) -> None:
        self._engine = engine
        self._path = path
        self._behaviour = Behaviour()
        self._read: tuple[int, int] = (0, 0)
        self._failures_due = 0.0
        self._failures = 0

    @property
    def provider(self) -> str:
        """`steered`."""
        return "steered"

    def capabilities(self) -> frozenset[str]:
        """As the noop engine's."""
        return self._engine.capabilities()

    async def answer(self, work: Work) -> Answer:
        """
        Answer or fail, after the latency of the moment.

        Raises:
            AttemptError: Of the kind of the moment.
        """
        behaviour = self._now()
        self._failures_due += behaviour.failure_rate
        fails = self._failures_due >= 1.0 and (
            behaviour.failures_max is None or self._failures < behaviour.failures_max
        )
        if fails:
            self._failures_due -= 1.0
            self._failures += 1
        if behaviour.latency_ms:
            await asyncio.sleep(behaviour.latency_ms / 1000)
        if fails:
            raise AttemptError(behaviour.failure, "as the test says", retry_after_s=behaviour.retry_after_s)
        return await self._engine.answer(work)

    async def aclose(self) -> None:
        """Nothing is held."""

    def _now(self) -> Behaviour:
        stat = self._path.stat()
        if (stat.st_ino, stat.st_mtime_ns) != self._read:
            self._read = (stat.st_ino, stat.st_mtime_ns)
            self._behaviour = msgspec.json.decode(self._path.read_bytes(), type=Behaviour)
            self._failures_due = 0.0
            self._failures = 0
        return self._behaviour


async def start_steered(
    fleet: RunningFleet, steering: Steering, zone: Zone = "local", pool: str | None = None, *, slots: int = 32
) -> FleetProcess:
    """Start a replica of a pool (called after its zone, if not given), and wait until the fleet sees it."""
    return await fleet.start_worker(
        zone,
        pool,
        slots=slots,
        command=("-m", "flotilla.testkit.steered_worker"),
        env={FILE: str(steering.path)},
    )


async def _run(settings: WorkerSettings, replica: str) -> None:
    catalogue = Catalogue.load(settings.capability_files)
    backend = SteeredBackend(NoopEngine(capabilities=catalogue), Path(os.environ[FILE]))
    models = settings.model_cards(backend.capabilities(), default_model="steered-1")
    await serve_worker(settings, replica, Serving(backend=backend, catalogue=catalogue, models=models))


if __name__ == "__main__":
    sys.exit(run_service("steered", WorkerSettings, _run))
