"""API requests of approvers: `api.approvals` lists, shows and reads the audit; `api.decide` grants and denies."""

from collections.abc import Callable
from typing import Final

import msgspec
import structlog

from flotilla.contracts import subjects
from flotilla.contracts.api_approvals import (
    ApprovalEntry,
    ApprovalList,
    ApprovalShown,
    ApprovalsQuery,
    AuditEntry,
    AuditList,
    DecideQuery,
    decode_audit,
    entry_of,
)
from flotilla.contracts.approval_requests import ApprovalRecord, Decided, Refusal, decide, decode_record
from flotilla.contracts.approvals import SignedGrant, payload_digest, read_grant
from flotilla.contracts.clock import unix_ms
from flotilla.contracts.errors import BadRequestError, DecodeFailedError, TaskError
from flotilla.contracts.failures import ErrorKind
from flotilla.contracts.names import ADMIN
from flotilla.contracts.policy import Policy
from flotilla.fabric import keyvalue
from flotilla.fabric.approver_keys import is_signed
from flotilla.fabric.inbox import Requests
from flotilla.fabric.stored import LAST_SUBJECTS_MAX, between
from flotilla.fabric.stream_usage import sequences
from orchestrator.api.requests import Answerer, ApiRequest, decode_query
from orchestrator.api.turns import Turns
from orchestrator.approvals.parts import Approvals
from orchestrator.approvals.request_store import Kept
from orchestrator.state.origins import REQUEST_INFO, request_info
from orchestrator.state.unreadable_stored import UnreadableStored

logger = structlog.get_logger("orchestrator")

LIST_BYTES_MAX: Final = 512 * 1024
"""Of the entries of one answer, which must fit into one message."""
AUDIT_WALKED_BACK_MAX: Final = 100_000
"""How many lines of the audit are looked back over."""
CHANGES_TRIED_MAX: Final = 5
NO_PAYLOAD: Final = msgspec.Raw(b"null")

_REFUSED: Final = {
    Refusal.FOUR_EYES: (
        ErrorKind.NOT_PERMITTED,
        "whoever submitted the task may not decide on it: ask another approver",
    ),
    Refusal.EXPIRED: (ErrorKind.CONFLICT, "the request has expired, and its task fails"),
    Refusal.ALREADY_DECIDED: (ErrorKind.CONFLICT, "the request is decided already"),
    Refusal.WRONG_DIGEST: (ErrorKind.CONFLICT, "this is not what was shown: show it again, and decide on that"),
    Refusal.WRONG_GROUP: (
        ErrorKind.NOT_PERMITTED,
        "it takes a grant that is signed with a key of the request's group, as the policy's [approvers] names them",
    ),
    Refusal.WRONG_GRANT: (ErrorKind.NOT_PERMITTED, "the grant is for something else: sign what is shown"),
}


class ApprovalHandlers:
    """Answers approvers; whoever else asks has been refused by the server, and is refused here."""

    def __init__(
        self,
        requests: Requests,
        approvals: Approvals,
        walks: Turns,
        unreadable: UnreadableStored,
        *,
        policy: Callable[[], Policy],
    ) -> None:
        self._requests = requests
        self._store = approvals.store
        self._suspensions = approvals.suspensions
        self._watch = approvals.watch
        self._walks = walks
        self._unreadable = unreadable
        self._policy = policy

    def verbs(self) -> dict[str, Answerer]:
        """What it answers."""
        return {"approvals": self.approvals, "decide": self.decide}

    async def approvals(self, request: ApiRequest) -> ApprovalList | ApprovalShown | AuditList:
        """See `ApprovalsQuery`."""
        _approver(request)
        query = decode_query(request, ApprovalsQuery)
        if query.verb == "audit":
            async with self._walks.turn(request.scope):
                return await self._audit(request.scope, query)
        if query.verb == "list":
            return await self._list(request.scope, query)
        if query.id is None:
            raise BadRequestError("approvals show needs an id", path="$.id", expected="the id of a request")
        kept = await self._find(request.scope, query.id)
        return ApprovalShown(approval=entry_of(kept.record), payload=await self._shown(kept.record))

    async def decide(self, request: ApiRequest) -> ApprovalEntry:
        """See `DecideQuery`."""
        user = _approver(request)
        query = decode_query(request, DecideQuery)
        given = _grant_of(query)
        said = Decided(
            decision=query.decision,
            digest=query.digest,
            comment=query.comment,
            grant=given.grant if given is not None else None,
            grant_text=query.grant,
            by=query.by,
            by_user=user,
            may_submit=not request.from_tenant,
            groups=self._groups_of(given),
        )
        for _ in range(CHANGES_TRIED_MAX):
            kept = await self._find(request.scope, query.id)
            decided = decide(kept.record, said, now_unix_ms=unix_ms())
            if isinstance(decided, Refusal):
                self._refuse_unless_same(kept.record, said, decided)
                # Whoever decided first may have died before the audit had it.
                await self._store.tell(kept.record)
                done = kept
            else:
                if query.decision == "grant" and await self._shown(kept.record) == NO_PAYLOAD:
                    text = (
                        "the input is not kept any more: nobody can see what would leave. Deny it, and submit it again"
                    )
                    raise TaskError(ErrorKind.CONFLICT, text, details={"id": query.id})
                done = await self._store.change(kept, decided)
            if done is not None:
                await self._suspensions.wake(request.scope, done.record.gated.task)
                logger.info("approval_decided", scope=request.scope, request=query.id, status=done.record.status)
                return entry_of(done.record)
        raise TaskError(ErrorKind.CONFLICT, "others decide on it at this moment: look at it again")

    def _groups_of(self, given: SignedGrant | None) -> frozenset[str] | None:
        groups = self._policy().approvers
        if not groups or given is None:
            return frozenset() if groups else None
        return frozenset(name for name, keys in groups.items() if given.grant.approver in keys)

    @staticmethod
    def _refuse_unless_same(record: ApprovalRecord, said: Decided, refusal: Refusal) -> None:
        """Who says the same again, since no answer came, is answered: the task may still have to be woken."""
        status = "granted" if said.decision == "grant" else "denied"
        same_user = record.decided_as == said.by_user and record.grant == (
            said.grant_text if status == "granted" else None
        )
        if refusal is Refusal.ALREADY_DECIDED and record.status == status and same_user:
            return
        kind, text = _REFUSED[refusal]
        details = {"id": record.id, "refusal": refusal.value, "status": record.status}
        raise TaskError(kind, text, details=details)

    async def _find(self, scope: str, request: str) -> Kept:
        try:
            kept = await self._store.find(scope, request)
        except DecodeFailedError:
            text = "what is kept of the request cannot be read: its task will not pass"
            raise TaskError(ErrorKind.INTERNAL, text, details={"id": request}) from None
        if kept is None:
            raise TaskError(ErrorKind.NOT_FOUND, f"there is no request {request}", details={"id": request})
        return kept

    async def _shown(self, record: ApprovalRecord) -> msgspec.Raw:
        """The input, if it is the one that the request is about."""
        body = await self._store.payload(record)
        try:
            is_whole = body is not None and payload_digest(body) == record.gated.input_sha256
        except DecodeFailedError as error:
            self._unreadable.found("approval", record.id, error)
            is_whole = False
        return msgspec.Raw(body) if body is not None and is_whole else NO_PAYLOAD

    async def _list(self, scope: str, query: ApprovalsQuery) -> ApprovalList:
        pending = await self._watch.pending(scope)
        if query.status == "pending":
            found = await self._oldest(scope, pending, query)
        else:
            # The bucket lists its keys by name, so the oldest are known once all have been read.
            async with self._walks.turn(scope):
                ids = await keyvalue.keys(self._requests, subjects.approvals_bucket(scope), "*")
                found = await self._oldest(scope, ids, query)
        entries: list[ApprovalEntry] = []
        size = 0
        for entry in found:
            size += len(msgspec.json.encode(entry))
            if size > LIST_BYTES_MAX:
                break
            entries.append(entry)
        return ApprovalList(approvals=entries, waiting=len(pending))

    async def _oldest(self, scope: str, ids: list[str], query: ApprovalsQuery) -> list[ApprovalEntry]:
        """The oldest of these requests; no more than the limit and one batch are held at a time."""
        pending = query.status == "pending"
        found: list[ApprovalEntry] = []
        for start in range(0, len(ids), LAST_SUBJECTS_MAX):
            records = await self._records(scope, ids[start : start + LAST_SUBJECTS_MAX])
            found += [entry_of(each) for each in records if not pending or each.status == "pending"]
            found.sort(key=lambda entry: (entry.created_unix_ms, entry.id))
            del found[query.limit :]
            if pending and len(found) == query.limit:
                # These ids stand in order.
                break
        return found

    async def _records(self, scope: str, ids: list[str]) -> list[ApprovalRecord]:
        bucket = subjects.approvals_bucket(scope)
        records: list[ApprovalRecord] = []
        for entry in await keyvalue.newest(self._requests, bucket, ids):
            if not entry.deleted:
                try:
                    records.append(decode_record(entry.body))
                except DecodeFailedError as error:
                    self._unreadable.found("approval", entry.key, error)
        return records

    async def _audit(self, scope: str, query: ApprovalsQuery) -> AuditList:
        stream, pattern = subjects.audit_stream(scope), subjects.audit(scope, query.id or "*", "*")
        first, last = await sequences(self._requests, stream)
        found: list[AuditEntry] = []
        before, step = last + 1, query.limit
        oldest = max(first, before - AUDIT_WALKED_BACK_MAX)
        size = 0
        while before > oldest and len(found) < query.limit:
            start = max(oldest, before - step)
            lines = [
                message
                async for message in between(self._requests, stream, pattern, from_sequence=start, before=before)
            ]
            for line in reversed(lines):
                size += len(line.body)
                if len(found) >= query.limit or size > LIST_BYTES_MAX:
                    return AuditList(audit=found)
                try:
                    found.append(decode_audit(line.body))
                except DecodeFailedError as error:
                    self._unreadable.found("audit", line.subject, error)
            before, step = start, min(step * 2, 1_000)
        return AuditList(audit=found)


def _approver(request: ApiRequest) -> str:
    """
    Who asks: the user of the scope's account as the server names it, or the fleet's admin.

    A server with the configuration of an earlier version names no user, and lets every tenant ask.
    """
    if not request.from_tenant:
        return ADMIN
    info = request_info({REQUEST_INFO: request.request_info})
    if info.acc != request.scope or not info.user:
        text = "only the scope's approver may ask this, with the credentials approver.<scope>"
        raise TaskError(ErrorKind.NOT_PERMITTED, text)
    return info.user


def _grant_of(query: DecideQuery) -> SignedGrant | None:
    if query.grant is None:
        return None
    try:
        given = read_grant(query.grant)
    except DecodeFailedError as error:
        raise BadRequestError(str(error), path="$.grant", expected="a grant, as approvers' keys sign it") from None
    if query.decision != "grant" or not is_signed(given):
        raise BadRequestError(
            "the grant's signature is not its approver's", path="$.grant", expected="a good signature"
        )
    return given
