"""
The policy of a file that every orchestrator mounts, put in force by the first that starts with a new one.

The file counts when its text is not the one that a file last put in force; that one's digest stands beside the policy
in the bucket. So a policy that is set by hand holds, across any number of starts, until somebody changes the file.
"""

import asyncio
import hashlib
from pathlib import Path
from typing import Final

import msgspec
import structlog
from msgspec import Struct

from flotilla.chassis.policy_toml import read_policy
from flotilla.contracts import subjects
from flotilla.contracts.clock import unix_ms
from flotilla.contracts.decoding import UNDECODABLE, checked
from flotilla.contracts.errors import FlotillaError, NoPolicyError, PolicyError, SettingsError
from flotilla.contracts.fields import Sequence, UnixMs, Word
from flotilla.contracts.policy import decode_policy
from flotilla.fabric import keyvalue
from flotilla.fabric.errors import FabricError
from flotilla.fabric.inbox import Requests
from flotilla.fabric.keyvalue import Entry
from orchestrator.policy_and_health.policy_documents import POLICY_KEY, Source, last_good, source_of, stored

logger = structlog.get_logger("orchestrator")

FILE_KEY: Final = "file"
AUTHOR: Final = "policy file"
SETTING: Final = "FLOTILLA_POLICY_FILE"
UNREADABLE: Final = "?"
"""In the place of a digest: there is a record, and nobody can tell of what."""
PATIENCE_S: Final = 30.0
ROUND_S: Final = 2.0
AGAIN_S: Final = 0.1


class PolicyFileError(FlotillaError):
    """The file's policy could not be put in force in time: the bucket did not answer, or others changed it all along."""


class FileRecord(Struct, frozen=True, kw_only=True):
    """
    What a file last put in force.

    Orchestrators of earlier versions decode each key of the bucket as a policy: for them this passes for one that says
    nothing, and must.

    Attributes:
        sha256: Of the file's text, in hexadecimal.
        revision: Of the policy that it became.
        by: The orchestrator that wrote this.
        at_unix_ms: When.
    """

    sha256: Word = ""
    revision: Sequence = 0
    by: Word = ""
    at_unix_ms: UnixMs = 0


_decode_record: Final = msgspec.json.Decoder(FileRecord).decode


def read_policy_setting(path: Path | None) -> str | None:
    """
    The policy of the file that `FLOTILLA_POLICY_FILE` names; None when it names none.

    Raises:
        SettingsError: The file cannot be read or is no policy; with its first fault.
    """
    if path is None:
        return None
    try:
        return read_policy(path)
    except PolicyError as error:
        first, *others = error.faults
        more = f" (and {len(others)} more: flotilla policy check)" if others else ""
        raise SettingsError(f"setting {SETTING}: {first}{more}") from error


async def put_in_force(requests: Requests, toml: str, *, instance: str, patience_s: float = PATIENCE_S) -> None:
    """
    Put a file's policy in force if the file is new.

    Any number of orchestrators may do this at once: each write is a compare-and-set, so one of them makes the revision
    and the others find it. A policy that this version cannot read is never overwritten by an older file.

    Raises:
        PolicyFileError: The file cannot be put in force: it is no policy, or the bucket could not be written in `patience_s`.
    """
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + patience_s
    while True:
        reason = "others change the policy"
        try:
            async with asyncio.timeout(ROUND_S):
                if await _is_settled(requests, toml, instance):
                    return
        except (FabricError, TimeoutError) as error:
            # A bucket that a cluster has only just made has no leader yet, and then nobody answers. What was written
            # without an answer is found in the next round.
            reason = str(error) or "no answer in time"
        if loop.time() >= give_up_at:
            raise PolicyFileError(f"the policy of the file could not be put in force: {reason}")
        await asyncio.sleep(AGAIN_S)


async def _is_settled(requests: Requests, toml: str, instance: str) -> bool:
    """Do what is to be done, once; False when somebody else wrote meanwhile."""
    digest = hashlib.sha256(toml.encode()).hexdigest()
    # In this order: a policy that is set by hand in between is newer than the one read, and not overwritten.
    newest = await keyvalue.get(requests, subjects.POLICY_BUCKET, POLICY_KEY)
    record = await keyvalue.get(requests, subjects.POLICY_BUCKET, FILE_KEY)
    policy = await _in_force(requests, newest)
    if policy is not None and (_is_beyond_us(policy) or await _put_last(requests, record) in (digest, UNREADABLE)):
        logger.info("policy_file_unchanged", sha256=digest, revision=policy.revision)
        return True
    if policy is not None and source_of(policy.body).toml == toml:
        revision = policy.revision
    else:
        revision = await _write(requests, POLICY_KEY, _document(toml), newest)
        if revision is None:
            return False
        logger.info("policy_file_applied", sha256=digest, revision=revision)
    # The record comes second: who dies in between leaves a policy that the next one recognises by its text.
    return await _write(requests, FILE_KEY, _record(digest, revision, instance), record) is not None


async def _write(requests: Requests, key: str, body: bytes, seen: Entry | None) -> int | None:
    """Write what was decided in view of an entry; None when that is not the newest any more."""
    expected = 0 if seen is None else seen.revision
    return await keyvalue.put(requests, subjects.POLICY_BUCKET, key, body, expected_revision=expected)


def _document(toml: str) -> bytes:
    return stored(Source(toml=toml, author=AUTHOR, at_unix_ms=unix_ms()))


def _record(digest: str, revision: int, instance: str) -> bytes:
    return msgspec.json.encode(FileRecord(sha256=digest, revision=revision, by=instance, at_unix_ms=unix_ms()))


async def _in_force(requests: Requests, newest: Entry | None) -> Entry | None:
    """The entry that counts: the newest, or where that is nothing that was meant as a policy the last one before it."""
    if newest is None or newest.deleted:
        return None
    try:
        decode_policy(newest.body)
    except NoPolicyError:
        return last_good(await keyvalue.history(requests, subjects.POLICY_BUCKET, POLICY_KEY))
    except PolicyError:
        pass
    return newest


def _is_beyond_us(policy: Entry) -> bool:
    try:
        decode_policy(policy.body)
    except PolicyError:
        return True
    return False


async def _put_last(requests: Requests, record: Entry | None) -> str:
    """
    The digest of the text that a file last put in force; "" when none did.

    What stands in the record's place and is none does not make the file new: what was set by hand since would be lost.
    """
    if record is None or record.deleted:
        return ""
    found = _record_of(record)
    if found is None:
        history = await keyvalue.history(requests, subjects.POLICY_BUCKET, FILE_KEY)
        found = next((earlier for entry in reversed(history) if (earlier := _record_of(entry)) is not None), None)
        logger.error(
            "policy_file_record_not_understood",
            revision=record.revision,
            do="" if found is not None else "to have the file count, delete the key `file` of the bucket `policy`",
        )
    return UNREADABLE if found is None else found.sha256


def _record_of(entry: Entry) -> FileRecord | None:
    try:
        record = _decode_record(checked(entry.body))
    except UNDECODABLE:
        return None
    return record if record.sha256 else None
