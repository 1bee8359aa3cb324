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

from flotilla.chassis.policy_file import read_policy
from flotilla.contracts import subjects
from flotilla.contracts.attempts import UNDECODABLE
from flotilla.contracts.errors import FlotillaError, PolicyError, SettingsError
from flotilla.contracts.policy import decode_policy
from flotilla.fabric import keyvalue
from flotilla.fabric.inbox import Requests
from flotilla.fabric.keyvalue import Entry
from orchestrator.intake import unix_ms
from orchestrator.policy_documents import POLICY_KEY, Source, source_of, stored

logger = structlog.get_logger("orchestrator")

FILE_KEY: Final = "file"
AUTHOR: Final = "policy file"
SETTING: Final = "FLOTILLA_POLICY_FILE"
TRIES_MAX: Final = 50
AGAIN_S: Final = 0.05
"""After somebody else's write: in a cluster theirs may be refused for a moment as well."""


class PolicyContendedError(FlotillaError):
    """The policy was changed again and again while the file's was to be put in force."""


class FileRecord(Struct, frozen=True, kw_only=True):
    """
    What a file last put in force.

    Whoever mirrors the bucket decodes each key as a policy: this one passes for a policy that says nothing, and must.

    Attributes:
        sha256: Of the file's text, in hexadecimal.
        revision: Of the policy that it became.
        by: The orchestrator that wrote this.
        at_unix_ms: When.
    """

    sha256: str = ""
    revision: int = 0
    by: str = ""
    at_unix_ms: int = 0


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


async def put_in_force(requests: Requests, toml: str, *, instance: str) -> int | None:
    """
    Put a file's policy in force if the file is new; gives the policy's revision, None when nothing was written.

    Any number of orchestrators may do this at once: each write is a compare-and-set, so one of them makes the revision
    and the others find it. A policy that this version cannot read is never overwritten by an older file.

    Raises:
        PolicyContendedError: See there.
        FabricError: No answer, or the server refused.
    """
    digest = hashlib.sha256(toml.encode()).hexdigest()
    made: int | None = None
    for _ in range(TRIES_MAX):
        # In this order: a policy that is set by hand in between is newer than the one read, and not overwritten.
        newest = await keyvalue.get(requests, subjects.POLICY_BUCKET, POLICY_KEY)
        record = await keyvalue.get(requests, subjects.POLICY_BUCKET, FILE_KEY)
        policy = None if newest is None or newest.deleted else newest
        if policy is not None and (_is_beyond_us(policy) or _record_of(record).sha256 == digest):
            logger.info("policy_file_left_alone", sha256=digest, revision=policy.revision)
            return made
        if policy is not None and source_of(policy.body).toml == toml:
            revision = policy.revision
        else:
            revision = made = await _write(requests, POLICY_KEY, _document(toml), newest)
        # The record comes second: who dies in between leaves a policy that the next one recognises by its text.
        if revision is not None:
            logger.info("policy_file_put_in_force", sha256=digest, revision=revision, written=made is not None)
            if await _write(requests, FILE_KEY, _record(digest, revision, instance), record) is not None:
                return made
        await asyncio.sleep(AGAIN_S)
    raise PolicyContendedError(f"the policy was changed {TRIES_MAX} times while the file's was to be put in force")


async def _write(requests: Requests, key: str, body: bytes, seen: Entry | None) -> int | None:
    """Write what was decided in view of an entry; None when that is not the newest any more."""
    expected = 0 if seen is None else seen.revision
    return await keyvalue.put(requests, subjects.POLICY_BUCKET, key, body, expected_revision=expected)


def _document(toml: str) -> bytes:
    return stored(Source(toml=toml, author=AUTHOR, at_unix_ms=unix_ms()))


def _record(digest: str, revision: int, instance: str) -> bytes:
    return msgspec.json.encode(FileRecord(sha256=digest, revision=revision, by=instance, at_unix_ms=unix_ms()))


def _is_beyond_us(policy: Entry) -> bool:
    try:
        decode_policy(policy.body)
    except PolicyError:
        return True
    return False


def _record_of(entry: Entry | None) -> FileRecord:
    if entry is None or entry.deleted:
        return FileRecord()
    try:
        return _decode_record(entry.body)
    except UNDECODABLE:
        return FileRecord()
