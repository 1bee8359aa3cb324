"""Questions that an observer asks once, for somebody who looks."""

from typing import Final, TypeVar

import msgspec
from msgspec import Struct

from flotilla.contracts import subjects
from flotilla.contracts.decoding import UNDECODABLE, checked, safe_text
from flotilla.contracts.errors import DecodeFailedError, TaskError
from flotilla.contracts.headers import ERROR_CODE
from flotilla.contracts.results import ErrorReply
from flotilla.fabric.inbox import Requests
from flotilla.fabric.kv_cache import list_entries
from portal.live.view import POLICY_KEY

ASK_TIMEOUT_S: Final = 5.0
ReplyT = TypeVar("ReplyT")


class PolicySource(Struct, frozen=True, kw_only=True):
    """A version of the policy, as its author wrote it; `deleted` where there was none in force from then on."""

    revision: int
    toml: str = ""
    author: str = ""
    at_unix_ms: int = 0
    deleted: bool = False


class _Source(Struct, frozen=True, kw_only=True):
    toml: str = ""
    author: str = ""
    at_unix_ms: int = 0


class _Stored(Struct, frozen=True, kw_only=True):
    source: _Source = _Source()


_decode_stored: Final = msgspec.json.Decoder(_Stored).decode


async def ask(requests: Requests, scope: str, verb: str, query: Struct, kind: type[ReplyT]) -> ReplyT:
    """
    Ask `api.<verb>` of a scope.

    Raises:
        TaskError: The fleet refused; says why.
        FabricError: Nobody answered.
        DecodeFailedError: The answer is none.
    """
    return await ask_subject(requests, subjects.api(scope, verb), query, kind)


async def ask_subject(requests: Requests, subject: str, query: Struct, kind: type[ReplyT]) -> ReplyT:
    """The same on any subject."""
    message = await requests.request(subject, msgspec.json.encode(query), timeout_s=ASK_TIMEOUT_S)
    try:
        if ERROR_CODE in message.headers:
            raise TaskError.from_body(msgspec.json.decode(message.data, type=ErrorReply).error)
        return msgspec.json.decode(checked(message.data), type=kind)
    except UNDECODABLE as error:
        raise DecodeFailedError(f"answer on {subject}: {safe_text(error)}") from error


async def policy_versions(requests: Requests) -> list[PolicySource]:
    """
    The versions of the policy that its bucket still has, oldest first.

    Raises:
        FabricError: The bucket could not be listed.
    """
    found: list[PolicySource] = []
    for entry in await list_entries(requests, subjects.POLICY_BUCKET, POLICY_KEY):
        revision = int(entry.headers.get("Nats-Sequence", "0"))
        if "KV-Operation" in entry.headers:
            found.append(PolicySource(revision=revision, deleted=True))
            continue
        try:
            source = _decode_stored(checked(entry.data)).source
        except UNDECODABLE:
            source = _Source()  # written by hand
        found.append(
            PolicySource(revision=revision, toml=source.toml, author=source.author, at_unix_ms=source.at_unix_ms)
        )
    return found
