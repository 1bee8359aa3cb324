"""Questions that an observer asks once, for somebody who looks."""

from typing import Annotated, Final, TypeVar

import msgspec
from msgspec import Meta, Struct

from flotilla.client.api_calls import decode_answer
from flotilla.contracts import subjects
from flotilla.contracts.api_routing import POLICY_BYTES_MAX
from flotilla.contracts.decoding import UNDECODABLE, checked
from flotilla.contracts.fields import UnixMs, Word
from flotilla.fabric.inbox import Requests
from flotilla.fabric.kv_cache import list_entries

POLICY_KEY: Final = "routing"
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
    toml: Annotated[str, Meta(max_length=POLICY_BYTES_MAX)] = ""
    author: Word = ""
    at_unix_ms: UnixMs = 0


class _Stored(Struct, frozen=True, kw_only=True):
    source: _Source = _Source()


_decode_stored: Final = msgspec.json.Decoder(_Stored).decode


async def ask(
    requests: Requests,
    scope: str,
    verb: str,
    query: Struct | None,
    kind: type[ReplyT],
    *,
    timeout_s: float = ASK_TIMEOUT_S,
) -> ReplyT:
    """
    Ask `api.<verb>` of a scope, as the observer.

    Raises:
        TaskError: The fleet refused; says why.
        FabricError: Nobody answered.
        DecodeFailedError: The answer is none.
    """
    body = b"" if query is None else msgspec.json.encode(query)
    return decode_answer(await requests.request(subjects.api(scope, verb), body, timeout_s=timeout_s), verb, kind)


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
