"""What every attempt came to, told to the recorder behind the stats: each is counted once, from its first reply on."""

from typing import Final, Protocol

from flotilla.contracts.attempts import Failed, Finished
from flotilla.contracts.clock import unix_ms
from flotilla.contracts.failures import FailureKind
from flotilla.contracts.stats import RouteKey
from flotilla.routing.recorder import Recorder, RouteRecorder
from orchestrator.state.attempt import Attempt
from orchestrator.state.fleet import Fleet

HUNG_MS: Final = 5_000.0


class Observer(Protocol):
    """Told of every attempt that had a slot, when it has ended."""

    def ended(self, attempt: Attempt, outcome: str, last_word: Finished | Failed | None) -> None:
        """`outcome` is `ok`, a failure kind, or `cancelled`."""
        ...

    def hedged(self, capability: str, end: str) -> None:
        """A second attempt is over: `won`, `lost` or `failed`."""
        ...


class Ledger:
    """
    Counts attempts for routing and for metrics.

    An attempt that found no slot is none. One that was lost before its first reply counts from when it was sent.
    """

    def __init__(self, recorder: Recorder, fleet: Fleet, observer: Observer | None = None) -> None:
        self._recorder = recorder
        self._fleet = fleet
        self._observer = observer
        self._open: dict[str, tuple[RouteRecorder, int]] = {}

    def started(self, attempt: Attempt) -> None:
        """Count an attempt that a replica has taken."""
        recorder = self._recorder.at(RouteKey(attempt.route.pool, attempt.route.model, attempt.task.capability))
        started_unix_ms = unix_ms() - round(attempt.elapsed_ms)
        recorder.started(started_unix_ms)
        self._open[attempt.id] = (recorder, started_unix_ms)
        self._fleet.began(attempt.route.pool)

    def finished(self, attempt: Attempt, finished: Finished) -> None:
        """Count an attempt that went well, with what it used."""
        recorder, started_unix_ms = self._close(attempt)
        recorder.finished(
            started_unix_ms=started_unix_ms,
            now_unix_ms=unix_ms(),
            usage=finished.usage,
            first_piece_ms=finished.timings.first_piece_ms,
        )
        if self._observer is not None:
            self._observer.ended(attempt, "ok", finished)

    def failed(self, attempt: Attempt, failed: Failed, *, blameless: bool = False) -> None:
        """It failed; a `blameless` one does not count against the route."""
        recorder, started_unix_ms = self._close(attempt)
        recorder.failed(
            failed.kind,
            started_unix_ms=started_unix_ms,
            now_unix_ms=unix_ms(),
            retry_after_s=failed.retry_after_s,
            usage=failed.usage,
            blameless=blameless,
        )
        if self._observer is not None:
            self._observer.ended(attempt, failed.kind.value, failed)

    def cancelled(self, attempt: Attempt) -> None:
        """Nobody waits for it any more; nothing is counted when no replica had taken it."""
        if attempt.id not in self._open:
            return
        recorder, started_unix_ms = self._close(attempt)
        recorder.cancelled(started_unix_ms=started_unix_ms, now_unix_ms=unix_ms())
        if self._observer is not None:
            self._observer.ended(attempt, "cancelled", None)

    def ran_out(self, attempt: Attempt) -> None:
        """
        Its task's deadline passed while a replica held it.

        A caller in a hurry says nothing about a route. One that held the task for HUNG_MS, and answered nobody
        meanwhile, hangs: it would be kept otherwise, since its timeout is longer than most deadlines.
        """
        recorder, started_unix_ms = self._open.get(attempt.id, (None, 0))
        if recorder is None or attempt.elapsed_ms < HUNG_MS or recorder.last_ok_unix_ms >= started_unix_ms:
            self.cancelled(attempt)
        else:
            self.failed(attempt, Failed(kind=FailureKind.TIMEOUT, message="no answer before the task's deadline"))

    def hedged(self, capability: str, end: str) -> None:
        """A second attempt beside a slow one is over; the attempts themselves are counted as all others."""
        if self._observer is not None:
            self._observer.hedged(capability, end)

    def _close(self, attempt: Attempt) -> tuple[RouteRecorder, int]:
        if attempt.id not in self._open:
            self.started(attempt)
        self._fleet.ended(attempt.route.pool)
        return self._open.pop(attempt.id)
