"""The vaults of a fleet in their bucket: found, changed with compare-and-set, listed, forgotten."""

import asyncio
import base64
import random
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar
from weakref import WeakValueDictionary

from msgspec import Struct

from flotilla.capabilities.errors import AttemptError
from flotilla.chassis.plain_structlog import structlog
from flotilla.contracts import subjects
from flotilla.contracts.clock import unix_ms
from flotilla.contracts.failures import FailureKind
from flotilla.contracts.redaction import VAULTS_LISTED_MAX, VaultEntry, VaultOutput
from flotilla.contracts.subjects import VAULT_BUCKET
from flotilla.fabric import keyvalue
from flotilla.fabric.errors import BucketFullError, FabricError
from flotilla.fabric.inbox import Requests
from flotilla.inference.redaction.vault_keys import VaultKeys
from flotilla.inference.redaction.vault_records import (
    FullVaultError,
    UnreadableVaultError,
    VaultRecord,
    entries_of,
    seal,
    stored_entries,
    unseal,
)
from flotilla.inference.redaction.vault_room import VaultRoom
from flotilla.privacy import Entries

logger = structlog.get_logger("worker")

WRITES_TRIED_MAX: Final = 64
CONFLICT_PAUSE_S: Final = 0.05
MADE_AGAIN_AFTER_S: Final = 1.0
"""Between two looks whether the bucket is there."""
HANDLE_LENGTH: Final = 26
HANDLE_BYTES: Final = 17
MARKER_TTL_S: Final = 60
NOT_FOUND: Final = "no vault of this handle: it was forgotten, has expired, or was made in another scope"

_CASE: Final = b"flotilla-case"
_T = TypeVar("_T")


class StoredVault(Struct, frozen=True, kw_only=True):
    """
    A vault as it stands in the bucket.

    Attributes:
        record: None where there is none (any more).
        revision: To expect when it is written; 0 where the key never was.
        size_bytes: As it is stored; 0 where there is none.
    """

    handle: str
    record: VaultRecord | None
    revision: int
    size_bytes: int = 0

    @property
    def entries(self) -> Entries:
        """The values that it holds, by their placeholders; none where there is no record yet."""
        return entries_of(self.handle, self.record)


class Vaults:
    """
    Every vault that a worker may read: those of the scope that a task came from, and no other.

    All methods raise AttemptError: NOT_FOUND for a handle that is none of the scope; UNAVAILABLE when the bucket cannot be
    reached; REFUSED for a vault whose key is not here; TOO_LARGE for one that is full. A bucket that was deleted is made
    again behind the failure that found it missing, so that the next try has one; what was in it is gone.
    """

    def __init__(
        self, requests: Requests, keys: VaultKeys, make_bucket: Callable[[Requests], Awaitable[None]] | None = None
    ) -> None:
        self._requests = requests
        self._room = VaultRoom(requests)
        self._make_bucket = make_bucket
        self._making: asyncio.Task[None] | None = None
        self._keys = keys
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def stop(self) -> None:
        """Make no bucket any more."""
        if self._making is not None:
            self._making.cancel()
            await asyncio.wait([self._making])

    async def entries(self, scope: str, handle: str) -> Entries:
        """What a vault holds."""
        held = await self._held(scope, handle)
        if held.record is None:
            raise AttemptError(FailureKind.NOT_FOUND, NOT_FOUND)
        return held.entries

    async def change(
        self,
        scope: str,
        work: Callable[[Entries], Awaitable[tuple[_T, Entries]]],
        *,
        handle: str | None,
        case: str | None,
        lifetime_s: int,
    ) -> tuple[_T, str, int]:
        """
        Have `work` add to a vault, and store what it gives; gives its outcome, the handle, and when the vault expires.

        The vault is the one of the handle, which must be there; or that of the case, made where there is none; or a new
        one. `work` is called again with newer entries when somebody else has changed the vault meanwhile.
        """
        wanted = (
            handle if handle is not None else await self._of_case(scope, case) if case is not None else _new_handle()
        )
        lock = self._locks.setdefault(f"{scope}.{wanted}", asyncio.Lock())
        async with lock:  # between tasks of this replica; between replicas, compare-and-set alone decides
            for _ in range(WRITES_TRIED_MAX):
                held = await self._held(scope, wanted)
                if held.record is None and handle is not None:
                    raise AttemptError(FailureKind.NOT_FOUND, NOT_FOUND)
                outcome, entries = await work(held.entries)
                record = _record(held.record, entries, lifetime_s)
                if await self._write(scope, held, record):
                    return outcome, wanted, record.expires_unix_ms
                await asyncio.sleep(CONFLICT_PAUSE_S * random.random())
        raise AttemptError(FailureKind.UNAVAILABLE, "the vault is being changed by too many at once: try again")

    async def forget(self, scope: str, *, handle: str | None, case: str | None) -> int:
        """Delete the vault of a handle or a case at once; gives how many there were."""
        handles = [handle] if handle is not None else self._handles_of(scope, case or "")
        forgotten = 0
        for each in handles:
            for _ in range(WRITES_TRIED_MAX):
                held = await self._entry(scope, each)
                if held is None or held.deleted:
                    break
                key = subjects.vault_key(scope, each)
                revision = held.revision
                if await self._asked(
                    keyvalue.purge(
                        self._requests, VAULT_BUCKET, key, expected_revision=revision, marker_ttl_s=MARKER_TTL_S
                    )
                ):
                    forgotten += 1
                    break
        return forgotten

    async def listed(self, scope: str) -> VaultOutput:
        """The scope's vaults, the oldest first; one that cannot be read hides none of the others."""
        prefix = subjects.vault_key(scope, "")
        keys = await self._asked(keyvalue.keys(self._requests, VAULT_BUCKET, f"{prefix}*"))
        found: list[VaultEntry] = []
        unreadable: list[str] = []
        more = False
        for key in keys:
            if len(found) + len(unreadable) >= VAULTS_LISTED_MAX:
                more = True
                break
            handle = key.removeprefix(prefix)
            try:
                record = (await self._held(scope, handle)).record
            except AttemptError as error:
                if error.kind is not FailureKind.REFUSED:
                    raise
                unreadable.append(handle)
                continue
            if record is not None:
                found.append(
                    VaultEntry(
                        vault=handle,
                        entries=len(record.entries),
                        created_unix_ms=record.created_unix_ms,
                        expires_unix_ms=record.expires_unix_ms,
                    )
                )
        found.sort(key=lambda entry: (entry.created_unix_ms, entry.vault))
        return VaultOutput(vaults=found, more=more, unreadable=unreadable)

    def _handles_of(self, scope: str, case: str) -> list[str]:
        """The handle that a case has with each key: while keys are changed it may have been made with either."""
        return [_token(key.derived(_CASE, scope, case)) for key in self._keys]

    async def _of_case(self, scope: str, case: str) -> str:
        handles = self._handles_of(scope, case)
        for handle in sorted(handles):
            if (await self._held(scope, handle)).record is not None:
                return handle
        return handles[0]

    async def _held(self, scope: str, handle: str) -> StoredVault:
        entry = await self._entry(scope, handle)
        if entry is None or entry.deleted:
            return StoredVault(handle=handle, record=None, revision=0 if entry is None else entry.revision)
        try:
            record = unseal(self._keys, scope, handle, entry.body)
        except UnreadableVaultError as error:
            raise AttemptError(FailureKind.REFUSED, str(error)) from None
        # The server removes it within a moment; until then it counts as gone.
        live = record if record.expires_unix_ms > unix_ms() else None
        return StoredVault(handle=handle, record=live, revision=entry.revision, size_bytes=len(entry.body))

    async def _entry(self, scope: str, handle: str) -> keyvalue.Entry | None:
        return await self._asked(keyvalue.get(self._requests, VAULT_BUCKET, subjects.vault_key(scope, handle)))

    async def _write(self, scope: str, held: StoredVault, record: VaultRecord) -> bool:
        try:
            body = seal(self._keys, scope, held.handle, record)
        except FullVaultError:
            raise AttemptError(FailureKind.TOO_LARGE, "the vault is full: redact into another case") from None
        await self._asked(self._room.check(scope, size_bytes=len(body), was_bytes=held.size_bytes))
        left_s = max(1, round((record.expires_unix_ms - time.time() * 1000) / 1000))
        key = subjects.vault_key(scope, held.handle)
        written = keyvalue.put(self._requests, VAULT_BUCKET, key, body, expected_revision=held.revision, ttl_s=left_s)
        return await self._asked(written) is not None

    async def _asked(self, asking: Awaitable[_T]) -> _T:
        try:
            return await asking
        except BucketFullError:
            raise AttemptError(FailureKind.UNAVAILABLE, "there is no room for the vault: forget some") from None
        except FabricError as error:
            if self._make_bucket is not None and (self._making is None or self._making.done()):
                self._making = asyncio.ensure_future(self._make_again(self._make_bucket))
            raise AttemptError(
                FailureKind.UNAVAILABLE, f"the vaults cannot be reached ({type(error).__name__}): try again"
            ) from None

    async def _make_again(self, make_bucket: Callable[[Requests], Awaitable[None]]) -> None:
        try:
            await make_bucket(self._requests)
            logger.info("vault_bucket_ensured")
        except FabricError as error:
            logger.warning("vault_bucket_not_made", error=type(error).__name__)
        await asyncio.sleep(MADE_AGAIN_AFTER_S)


def _record(before: VaultRecord | None, entries: Entries, lifetime_s: int) -> VaultRecord:
    now = unix_ms()
    expires = now + lifetime_s * 1000
    return VaultRecord(
        created_unix_ms=now if before is None else before.created_unix_ms,
        # A document that asks for less does not shorten what another was promised.
        expires_unix_ms=expires if before is None else max(expires, before.expires_unix_ms),
        entries=stored_entries(entries),
    )


def _new_handle() -> str:
    return _token(secrets.token_bytes(HANDLE_BYTES))


def _token(raw: bytes) -> str:
    return base64.b32encode(raw).decode().lower()[:HANDLE_LENGTH]
