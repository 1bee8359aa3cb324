"""
The gate that a task stands at until somebody has approved its input: asks, waits, and opens once per grant.

A gate holds nothing. Who finds no decision leaves (`AwaitingApprovalError`): the task is suspended, and whoever delivers it
again comes to the same gate, where the digest of what is about to leave is computed again. Another input is another request.
"""

from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
import structlog
from msgspec import Struct

from flotilla.contracts.approval_requests import (
    ApprovalRecord,
    GatedInput,
    InUse,
    Pass,
    Shut,
    Wait,
    at_gate,
    digest_of,
    new_record,
    withdrawn,
)
from flotilla.contracts.approvals import payload_digest
from flotilla.contracts.clock import unix_ms
from flotilla.contracts.errors import DecodeFailedError, TaskError
from flotilla.contracts.failures import ErrorBody, ErrorKind
from flotilla.contracts.results import Result
from flotilla.contracts.subjects import Zone
from flotilla.fabric.errors import BucketFullError
from flotilla.fabric.per_item import guarded
from orchestrator.approvals.request_store import Kept, RequestStore
from orchestrator.approvals.terms import Terms, zones_of
from orchestrator.execution.dependencies import AwaitingApprovalError, NoRouteNowError
from orchestrator.reporting.events import Events
from orchestrator.state.origins import Origin
from orchestrator.state.tasks import Task

logger = structlog.get_logger("orchestrator")

IN_USE_LOOK_S: Final = 30.0
"""How long a second message of a task waits for the one that has used the grant."""
CHANGES_TRIED_MAX: Final = 5
STRICTER: Final = "its gate has become stricter since it was asked about: submit the task again"
Pending = Callable[[str, str], Awaitable[list[str]]]

_KINDS: Final = {
    "denied": (ErrorKind.APPROVAL_DENIED, "an approver has denied it"),
    "expired": (ErrorKind.APPROVAL_EXPIRED, "nobody has approved it in time, or the approval was not used in time"),
    "withdrawn": (ErrorKind.APPROVAL_EXPIRED, "its request was withdrawn"),
}


class Opened(Struct, frozen=True, kw_only=True):
    """
    What an open gate gives along.

    Attributes:
        grant: The signed grant, for workers that ask for one; None where the decision was not signed.
        until_unix_ms: From then on nothing may be sent.
    """

    grant: str | None
    until_unix_ms: int

    def on_time(self, result: Result) -> Result:
        """What came of the task; its deadline was the grant's, and says so if that is what has passed."""
        error = result.error
        if not isinstance(error, ErrorBody) or error.kind is not ErrorKind.DEADLINE_EXCEEDED:
            return result
        if unix_ms() < self.until_unix_ms:
            return result
        kind = ErrorKind.APPROVAL_EXPIRED
        late = ErrorBody(kind=kind, message="the approval was not used in time", retryable=kind.retryable)
        return msgspec.structs.replace(result, error=late)


class Gate:
    """All gates of this orchestrator."""

    def __init__(self, store: RequestStore, events: Events, pending: Pending) -> None:
        """
        Keep no gate.

        Args:
            store: Of the requests.
            events: Where it is told that a task waits, and that somebody has decided.
            pending: Gives the ids of the requests that wait, of a scope and task.
        """
        self._store = store
        self._events = events
        self._waiting_of = pending

    async def enter(
        self,
        task: Task,
        origin: Origin,
        terms: Terms,
        *,
        index: int | None = None,
        zones: frozenset[Zone] | None = None,
    ) -> Opened:
        """
        Pass, once the input of a durable task is approved.

        Args:
            task: What is about to be dispatched.
            origin: Of the message that brought it.
            terms: Of the gate.
            index: Of the item, where its step runs for each.
            zones: Where it may go; None for those that its class and capability leave open.

        Raises:
            AwaitingApprovalError: Nobody has decided yet.
            TaskError: `approval_denied` or `approval_expired`.
            FabricError: The stores cannot be reached.
        """
        asked = gated_input(task, origin, index, zones)
        request = digest_of(asked)[:32]
        for _ in range(CHANGES_TRIED_MAX):
            try:
                kept = await self._store.find(task.scope, request)
            except DecodeFailedError:
                # Nobody can say what was decided, so nothing was.
                logger.error("approval_record_unreadable", scope=task.scope, request=request)  # noqa: TRY400  (its text is no help)
                raise _shut("denied", request, "what is kept of its request cannot be read") from None
            if kept is None:
                kept = await self._ask(task, origin, terms, asked)
            if kept is None:
                continue
            opened = await self._look(task, origin, terms, kept)
            if opened is not None:
                return opened
        raise NoRouteNowError

    async def withdraw(self, scope: str, task: str) -> None:
        """A task is over: none of its requests can be granted any more. What fails here is logged, and expires."""
        with guarded("approvals", task):
            for request in await self._waiting_of(scope, task):
                kept = await self._store.find(scope, request)
                record = None if kept is None else withdrawn(kept.record)
                if kept is not None and record is not None:
                    await self._store.change(kept, record)

    async def _ask(self, task: Task, origin: Origin, terms: Terms, asked: GatedInput) -> Kept | None:
        now_ms = unix_ms()
        record = new_record(
            asked,
            submitted_by=origin.submitted_by,
            input_bytes=len(task.body),
            now_unix_ms=now_ms,
            expires_unix_ms=min(now_ms + int(terms.expires_s * 1000), task.deadline_unix_ms),
            group=terms.group,
            four_eyes=terms.four_eyes,
        )
        try:
            kept = await self._store.make(record, task.body)
        except BucketFullError:
            text = "as many requests for approval are kept already as may"
            raise TaskError(ErrorKind.BACKLOG_FULL, text) from None
        if kept is not None:
            self._events.tell(task, "awaiting_approval", step=asked.step)
        return kept

    async def _look(self, task: Task, origin: Origin, terms: Terms, kept: Kept) -> Opened | None:
        """What the record says now; None when somebody changed it at this moment."""
        found = at_gate(kept.record, message=origin.message, now_unix_ms=unix_ms())
        if kept.record.status in ("pending", "granted") and terms.are_stricter_than(kept.record):
            # Whoever decided was held to the terms of when it was asked.
            over = msgspec.structs.replace(
                kept.record, status="withdrawn", grant=None, decided_by="", decided_as="", comment=STRICTER
            )
            found = Shut("withdrawn", over)
        match found:
            case Wait(until_unix_ms=until):
                raise AwaitingApprovalError(until, (kept.record.id,))
            case InUse():
                raise AwaitingApprovalError(unix_ms() + int(IN_USE_LOOK_S * 1000))
            case Shut(why=why, record=record):
                if record is None:
                    # Whoever decided may have died before the audit had it.
                    await self._store.tell(kept.record)
                elif await self._store.change(kept, record) is None:
                    return None
                self._events.tell(task, "approval_decided", step=kept.record.gated.step, error=why)
                raise _shut(why, kept.record.id, (record or kept.record).comment)
            case Pass(record=record):
                return await self._use(task, kept, record)

    async def _use(self, task: Task, kept: Kept, record: ApprovalRecord) -> Opened | None:
        """Use the grant up before anything is dispatched: of all who try, one may go on."""
        if record is not kept.record:
            await self._store.tell(kept.record)
            if await self._store.change(kept, record) is None:
                return None
            self._events.tell(task, "approval_decided", step=record.gated.step)
        else:
            await self._store.tell(record)
        return Opened(grant=record.grant, until_unix_ms=record.usable_until_unix_ms)


def gated_input(task: Task, origin: Origin, index: int | None, zones: frozenset[Zone] | None = None) -> GatedInput:
    """What a request is about, computed from what is about to be dispatched."""
    try:
        digest = payload_digest(task.body)
    except DecodeFailedError:
        raise TaskError(ErrorKind.BAD_REQUEST, "the input cannot be shown to an approver") from None
    return GatedInput(
        scope=task.scope,
        task=origin.task,
        step=origin.path,
        index=index,
        capability=task.capability,
        data_class=task.data_class,
        zones=zones_of(task.capability, task.data_class) if zones is None else sorted(zones),
        input_sha256=digest,
    )


def _shut(why: str, request: str, comment: str) -> TaskError:
    kind, text = _KINDS[why]
    return TaskError(kind, f"{text}: {comment}" if comment else text, details={"approval": request})
