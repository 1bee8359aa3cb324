"""The buckets of kept answers, one for each scope: looked at, claimed and written. Reads go to the leader of a bucket."""

from typing import Final

from msgspec import Struct

from flotilla.capabilities.errors import AttemptError
from flotilla.contracts import subjects
from flotilla.contracts.clock import unix_ms
from flotilla.contracts.errors import DecodeFailedError
from flotilla.fabric import keyvalue
from flotilla.fabric.connection import Connection
from flotilla.fabric.inbox import Requests
from flotilla.fabric.key_changes import KeyChanges
from orchestrator.caching.records import Claim, KeptAnswer, decode_record, encode_record, will_do
from orchestrator.state.outputs import Outputs
from orchestrator.state.unreadable_stored import UnreadableStored

CLAIM_LIFETIME_S: Final = 6
"""A claim that is not renewed for so long is nobody's; whole seconds."""
CLAIM_RENEWED_EVERY_S: Final = 2.0
_MARKER_TTL_S: Final = 1


class AnswerPlace(Struct, frozen=True, kw_only=True):
    """
    Where an answer is kept.

    Attributes:
        key: See `keys.key_of`.
        ttl_s: How long it is kept, and how old it may be.
    """

    scope: str
    capability: str
    key: str
    ttl_s: int


class Found(Struct, frozen=True, kw_only=True):
    """
    What stands in a place.

    Attributes:
        record: None where there is nothing of use.
        revision: Of what stands there; 0 where nothing does. What is written next must expect it.
    """

    record: KeptAnswer | Claim | None
    revision: int


class AnswerStore:
    """
    Kept answers and claims.

    Every method raises FabricError where the server does not answer or refuses.
    """

    def __init__(
        self,
        connection: Connection,
        requests: Requests,
        *,
        instance: str,
        outputs: Outputs,
        unreadable: UnreadableStored,
    ) -> None:
        self._connection = connection
        self._requests = requests
        self._instance = instance
        self._outputs = outputs
        self._unreadable = unreadable

    def changes(self, place: AnswerPlace) -> KeyChanges:
        """Says when a place is written to."""
        return KeyChanges(self._connection, subjects.cache_bucket(place.scope), place.key)

    async def look(self, place: AnswerPlace) -> Found:
        """What stands in a place; what cannot be read, is too old, or is no output of the capability, is nothing."""
        entry = await keyvalue.get(self._requests, subjects.cache_bucket(place.scope), place.key)
        if entry is None:
            return Found(record=None, revision=0)
        if entry.deleted:
            return Found(record=None, revision=entry.revision)
        return Found(record=self._read(place, entry.body), revision=entry.revision)

    async def claim(self, place: AnswerPlace, revision: int, renewed: int = 0) -> int | None:
        """Say that the answer is being made here; gives the claim's revision, None where somebody else was first."""
        claim = Claim(key=place.key, orchestrator=self._instance, renewed=renewed)
        return await keyvalue.put(
            self._requests,
            subjects.cache_bucket(place.scope),
            place.key,
            encode_record(claim),
            expected_revision=revision,
            ttl_s=CLAIM_LIFETIME_S,
        )

    async def release(self, place: AnswerPlace, revision: int) -> None:
        """End a claim without an answer."""
        await keyvalue.purge(
            self._requests,
            subjects.cache_bucket(place.scope),
            place.key,
            expected_revision=revision,
            marker_ttl_s=_MARKER_TTL_S,
        )

    async def keep(self, place: AnswerPlace, answer: KeptAnswer) -> None:
        """Keep an answer, whatever stands in its place: it is the newest."""
        await keyvalue.put(
            self._requests,
            subjects.cache_bucket(place.scope),
            place.key,
            encode_record(answer),
            ttl_s=place.ttl_s,
        )

    def _read(self, place: AnswerPlace, body: bytes) -> KeptAnswer | Claim | None:
        try:
            record = decode_record(body, key=place.key, capability=place.capability)
            if isinstance(record, KeptAnswer):
                self._outputs.check(record.output, place.capability)
                return record if will_do(record, ttl_s=place.ttl_s, now_unix_ms=unix_ms()) else None
        except DecodeFailedError as error:
            self._unreadable.found("cache", place.key, error)
            return None
        except AttemptError as error:
            self._unreadable.found("cache", place.key, DecodeFailedError(f"cache: {error.message}"))
            return None
        return record
