"""
Room in the bucket of the vaults, which all scopes share: what one of them takes leaves some for the others.

The first half is for whoever comes. Beyond it a scope that has half as many vaults as there may be makes no more, and no
vault is made large, or grows large: so what one scope can have of the second half does not fill it.
"""

import time
from typing import Final

from flotilla.contracts import subjects
from flotilla.contracts.subjects import VAULT_BUCKET
from flotilla.fabric import keyvalue
from flotilla.fabric.errors import BucketFullError
from flotilla.fabric.inbox import Requests
from flotilla.fabric.stream_usage import StreamUsage

LOOK_S: Final = 1.0
"""Between two looks at how full the bucket is."""
COUNT_S: Final = 30.0
"""Between two counts of a scope's vaults, which are only made beyond the first half."""
SMALL_BYTES_MAX: Final = 4096
"""Of a vault as it is stored: as many as one scope may have take less than half of the bucket."""
SCOPES_COUNTED_MAX: Final = 1_000


class VaultRoom:
    """Says whether a vault may be written."""

    def __init__(self, requests: Requests) -> None:
        self._requests = requests
        self._usage: StreamUsage | None = None
        self._looked_at_s = 0.0
        self._counts: dict[str, tuple[int, float]] = {}

    async def check(self, scope: str, *, size_bytes: int, was_bytes: int) -> None:
        """
        See that there is room for a vault of the scope.

        Args:
            scope: Whose it is.
            size_bytes: As it is to be stored.
            was_bytes: As it is stored; 0 where it is a new one.

        Raises:
            BucketFullError: There is none.
            FabricError: The bucket cannot be reached.
        """
        usage = await self._look()
        if size_bytes > max(SMALL_BYTES_MAX, was_bytes) and 0 < usage.size_bytes_max <= 2 * usage.size_bytes:
            raise BucketFullError(VAULT_BUCKET)
        if was_bytes or not 0 < usage.messages_max <= 2 * usage.messages:
            return
        if 2 * await self._count(scope) >= usage.messages_max:
            raise BucketFullError(VAULT_BUCKET)

    async def _look(self) -> StreamUsage:
        now_s = time.monotonic()
        if self._usage is None or now_s - self._looked_at_s >= LOOK_S:
            self._usage = await keyvalue.room(self._requests, VAULT_BUCKET)
            self._looked_at_s = now_s
        return self._usage

    async def _count(self, scope: str) -> int:
        """The scope's vaults, those among them that were made here since they were counted."""
        now_s = time.monotonic()
        count, counted_at_s = self._counts.get(scope, (0, -COUNT_S))
        if now_s - counted_at_s >= COUNT_S:
            if len(self._counts) >= SCOPES_COUNTED_MAX:
                self._counts.clear()
            pattern = subjects.vault_key(scope, "*")
            count, counted_at_s = len(await keyvalue.keys(self._requests, VAULT_BUCKET, pattern)), now_s
        self._counts[scope] = count + 1, counted_at_s
        return count
