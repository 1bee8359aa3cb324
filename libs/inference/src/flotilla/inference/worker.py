"""What a worker does with one attempt: check it may be here, decode, answer, validate. Every failure becomes a kind."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

import msgspec

from flotilla.capabilities.catalogue import Catalogue
from flotilla.capabilities.errors import AttemptError
from flotilla.chassis.logs import where
from flotilla.chassis.plain_structlog import structlog
from flotilla.contracts.attempts import Failed, Finished, Timings
from flotilla.contracts.errors import BadRequestError
from flotilla.contracts.failures import FailureKind
from flotilla.contracts.fields import MODEL_LENGTH_MAX, TEXT_LENGTH_MAX, WORD_LENGTH_MAX, printable
from flotilla.contracts.presence import PriceCard
from flotilla.contracts.redaction import EVERY_TYPE
from flotilla.contracts.subjects import Zone
from flotilla.fabric.slots import ActiveAttempt
from flotilla.fabric.unreadable import Sparing
from flotilla.inference.approval_check import ApprovalCheck
from flotilla.inference.backend import Backend, NeverWaits, Work

logger = structlog.get_logger("worker")

RELEASABLE: Final = frozenset({"public", "internal"})
DEADLINE_MARGIN_S: Final = 0.5

WorkerObserver = Callable[[ActiveAttempt, Finished | Failed, float], None]
"""Told of every attempt that ended: the attempt, its last word, and how long it took in seconds."""


class Worker:
    """
    Answers attempts with a backend.

    A cloud worker refuses what is not marked releasable, whatever routing said: the third of the layers that keep
    restricted data at home, behind the transport and the routing.
    """

    def __init__(
        self,
        backend: Backend,
        catalogue: Catalogue,
        *,
        zone: Zone,
        replica: str,
        approvals: ApprovalCheck | None = None,
        observe: WorkerObserver | None = None,
        price: PriceCard | None = None,
    ) -> None:
        self._backend = backend
        self._catalogue = catalogue
        self._zone: Zone = zone
        self._replica = replica
        self._approvals = approvals
        self._observe = observe
        self._price = price
        self._sparing = Sparing()
        self._never_waits = isinstance(backend, NeverWaits) and backend.never_waits

    async def __call__(self, held: ActiveAttempt) -> Finished | Failed:
        """Do one attempt; raises nothing but CancelledError."""
        started_at = time.perf_counter()
        if not self._never_waits:
            # The task that asyncio made for this attempt has a context of its own; without one it would be the reader's.
            request = held.request
            structlog.contextvars.bind_contextvars(
                task=request.task, attempt=request.attempt, capability=request.capability
            )
        try:
            answer = await self._answer(held, started_at)
        except AttemptError as error:
            self._log(held.request.capability, error)
            answer = Failed(
                kind=error.kind,
                message=printable(error.message, TEXT_LENGTH_MAX),
                retry_after_s=error.retry_after_s,
                replica=self._replica,
                usage=error.usage.bounded(),
            )
        except BadRequestError as error:
            answer = self._failed(FailureKind.BAD_INPUT, error.message)
        except TimeoutError:
            answer = self._failed(FailureKind.TIMEOUT, "the deadline passed while the model worked")
        except Exception as error:  # noqa: BLE001  (whatever a backend raises is a failed attempt)
            logger.error(  # noqa: TRY400  (a traceback may quote the document)
                "backend_crashed",
                attempt=held.request.attempt,
                capability=held.request.capability,
                error=type(error).__name__,
                where=where(error),
            )
            answer = self._failed(FailureKind.CRASHED, f"the worker failed ({type(error).__name__})")
        if self._price is not None:
            answer = priced(answer, self._price, time.perf_counter() - started_at)
        if self._observe is not None:
            self._observe(held, answer, time.perf_counter() - started_at)
        return answer

    async def _answer(self, held: ActiveAttempt, started_at: float) -> Finished:
        request = held.request
        if self._zone == "cloud" and request.data_class not in RELEASABLE:
            raise AttemptError(
                FailureKind.NOT_RELEASABLE, f"{request.data_class} data is not processed in the cloud zone"
            )
        capability = self._catalogue.get(request.capability)
        if capability is None:
            raise AttemptError(FailureKind.REFUSED, f"this worker does not serve {request.capability}")
        given = capability.decode_input(request.input)
        left_s = request.deadline_unix_ms / 1000 - time.time()
        if left_s <= 0:
            raise AttemptError(
                FailureKind.TIMEOUT,
                "the deadline had passed when the request came: compare this machine's clock with the orchestrators'",
            )
        if self._approvals is not None:
            self._approvals.check(request)
        first_piece_at: list[float] = []

        async def emit(text: str) -> None:
            if not first_piece_at:
                first_piece_at.append(time.perf_counter())
            await held.say_piece(text)

        work = Work(
            task=request.task,
            capability=request.capability,
            input=given,
            model=request.model,
            deadline_s=left_s,
            emit=emit if request.stream else None,
            scope=request.options.scope or "",
            redaction=request.options.redaction or EVERY_TYPE,
        )
        # The orchestrator's own watch ends the attempt; this one only makes sure that the slot comes free.
        held.ends_at = asyncio.get_running_loop().time() + left_s + DEADLINE_MARGIN_S
        answer = await self._backend.answer(work)
        output = answer.output
        if type(output) is not msgspec.Raw:
            output = capability.check_output(given, output)
        return Finished(
            output=output,
            usage=answer.usage.bounded(),
            provider=printable(answer.provider, WORD_LENGTH_MAX),
            model=printable(answer.model, MODEL_LENGTH_MAX),
            timings=Timings(
                provider_ms=answer.provider_ms,
                first_piece_ms=(first_piece_at[0] - started_at) * 1000 if first_piece_at else None,
            ),
            replica=self._replica,
        )

    def _log(self, capability: str, error: AttemptError) -> None:
        """Tell the operator of a failure; one that comes again and again, once a minute."""
        unsaid = self._sparing.due(f"{capability} {error.kind.value} {error.message}")
        if unsaid is not None:
            told = {"capability": capability, "kind": error.kind.value, "reason": error.message, "unsaid": unsaid}
            logger.warning("attempt_failed", **told)

    def _failed(self, kind: FailureKind, message: str) -> Failed:
        return Failed(kind=kind, message=printable(message, TEXT_LENGTH_MAX), replica=self._replica)


def priced(answer: Finished | Failed, price: PriceCard, seconds: float) -> Finished | Failed:
    """With what the work cost here, where nobody else has said what it cost."""
    usage = answer.usage
    if usage.cost_usd:
        return answer
    cost_usd = price.of(seconds=seconds, tokens=usage.input_tokens + usage.output_tokens)
    return msgspec.structs.replace(answer, usage=msgspec.structs.replace(usage, cost_usd=cost_usd))
