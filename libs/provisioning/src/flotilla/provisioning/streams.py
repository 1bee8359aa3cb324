"""
Streams and buckets as the server holds them: made and changed to what `topology.py` says, and never deleted.
"""

import asyncio
import logging
import random
from collections.abc import Iterable
from typing import Any, Final, Protocol, cast

import msgspec
from msgspec import Struct

from flotilla.fabric.errors import NoRespondersError, RequestTimeoutError, TopologyError
from flotilla.fabric.jetstream_api import (
    STREAM_NAMES,
    UNAVAILABLE,
    ApiError,
    ErrorCode,
    stream_create,
    stream_info,
    stream_update,
)
from flotilla.provisioning.stream_config import NS_PER_S, StreamConfig

logger = logging.getLogger("flotilla.provisioning")

API_TIMEOUT_S: Final = 5.0
PATIENCE_S: Final = 30.0
RETRY_AFTER_S: Final = 0.2
NAMES_PER_PAGE: Final = 1024
"""As many as the server gives at once."""
STREAMS_MAX: Final = 16 * NAMES_PER_PAGE
_AT_CREATION: Final = frozenset({"first_seq"})
_SERVER_CHOOSES: Final = frozenset({"duplicate_window", "num_replicas", "storage"})
"""Left at their defaults, the server fills them in."""


class Reply(Protocol):
    """The reply to a request."""

    @property
    def data(self) -> bytes:
        """The JetStream API's answer, as JSON."""
        ...


class ApiRequests(Protocol):
    """
    Sends one request and gives its reply (`inbox.Requests` does).

    Raises NoRespondersError or RequestTimeoutError.
    """

    async def request(self, subject: str, body: bytes, *, timeout_s: float) -> Reply:
        """Send and await the reply."""
        ...


async def ensure(requests: ApiRequests, streams: Iterable[StreamConfig], *, patience_s: float = PATIENCE_S) -> None:
    """
    Make the server hold these streams: create what is missing, update what differs, delete nothing.

    Each is looked at first: a server whose disk is spoken for refuses to create even what it holds already. No bound is
    lowered below what its stream holds. Safe at any time from several orchestrators at once. While JetStream does not
    answer, or a cluster has no leader yet, it tries again for `patience_s` in all.

    Raises:
        TopologyError: The server refused a stream, or was not ready in time; names the stream and says why.
    """
    api = _Api(requests, give_up_at=asyncio.get_running_loop().time() + patience_s)
    for config in streams:
        held = await api.ask(stream_info(config.name))
        if held.is_missing:
            created = await api.ask(stream_create(config.name), _encode(config))
            if created.error is None:
                continue
            if created.error.err_code != ErrorCode.STREAM_NAME_EXIST:
                raise _refused(config.name, created.error)
            # Another one made it in this moment, and differently.
            held = await api.ask(stream_info(config.name))
        if held.error is not None:
            raise _refused(config.name, held.error)
        changed = _changes(config, held)
        if changed:
            updated = await api.ask(stream_update(config.name), _encode({**held.config, **changed}))
            if updated.error is not None:
                raise _refused(config.name, updated.error)


async def set_duplicate_window(
    requests: ApiRequests, stream: str, window_s: float, *, patience_s: float = PATIENCE_S
) -> None:
    """
    Set for how long a stream knows a repeated message id: at least 0.1 s. Nothing else of it changes.

    Raises:
        TopologyError: As in `ensure`; also when there is no such stream.
    """
    api = _Api(requests, give_up_at=asyncio.get_running_loop().time() + patience_s)
    answer = await api.ask(stream_info(stream))
    if answer.error is None:
        changed = {**answer.config, "duplicate_window": round(window_s * NS_PER_S)}
        answer = await api.ask(stream_update(stream), _encode(changed))
    if answer.error is not None:
        raise _refused(stream, answer.error)


async def stream_names(requests: ApiRequests) -> set[str]:
    """
    The streams, and buckets among them, that the server holds; of more than STREAMS_MAX not all.

    Raises:
        TopologyError: The server's answer is none, or a refusal.
        FabricError: No answer.
    """
    names: set[str] = set()
    for offset in range(0, STREAMS_MAX, NAMES_PER_PAGE):
        reply = await requests.request(STREAM_NAMES, b'{"offset":%d}' % offset, timeout_s=API_TIMEOUT_S)
        try:
            page = _decode_names(reply.data)
        except msgspec.MsgspecError as error:
            raise TopologyError("STREAM.NAMES: the answer is not JetStream's") from error
        if page.error is not None:
            raise _refused("NAMES", page.error)
        names.update(page.streams or ())
        if offset + NAMES_PER_PAGE >= page.total:
            break
    return names


class _State(Struct, frozen=True, kw_only=True):
    messages: int = 0
    bytes: int = 0


class _Answer(Struct, frozen=True, kw_only=True):
    error: ApiError | None = None
    config: dict[str, Any] = {}
    state: _State = _State()

    @property
    def is_missing(self) -> bool:
        return self.error is not None and self.error.err_code == ErrorCode.STREAM_NOT_FOUND


class _Names(Struct, frozen=True, kw_only=True):
    error: ApiError | None = None
    total: int = 0
    streams: list[str] | None = None


_decode_names: Final = msgspec.json.Decoder(_Names).decode
_decode_answer: Final = msgspec.json.Decoder(_Answer).decode
_encode: Final = cast("Any", msgspec.json.Encoder()).encode


def _changes(config: StreamConfig, held: _Answer) -> dict[str, Any]:
    """The settings of a stream that the server has otherwise; settings that this module does not know of stay."""
    # As JSON says it, which is what the server's answer was.
    wanted = msgspec.json.decode(_encode(msgspec.structs.replace(config, **_kept(config, held.state))))
    changed: dict[str, Any] = {}
    for field in msgspec.structs.fields(StreamConfig):
        value = wanted.get(field.name, field.default)
        if field.name in _AT_CREATION or (field.name in _SERVER_CHOOSES and value == field.default):
            continue
        if held.config.get(field.name, field.default) != value:
            changed[field.name] = value
    return changed


def _kept(config: StreamConfig, state: _State) -> dict[str, int]:
    """Bounds that the stream is over already, at what it holds: lowered further, the server would drop that."""
    kept: dict[str, int] = {}
    if 0 < config.max_bytes < state.bytes:
        kept["max_bytes"] = state.bytes
    if 0 < config.max_msgs < state.messages:
        kept["max_msgs"] = state.messages
    if kept:
        logger.warning("stream_over_its_bounds", extra={"stream": config.name, **kept})
    return kept


def _may_pass(error: ApiError) -> bool:
    return error.code == UNAVAILABLE or error.err_code == ErrorCode.CLUSTER_NO_PEERS


def _refused(name: str, refusal: ApiError) -> TopologyError:
    return TopologyError(f"stream {name}: {refusal.description} ({refusal.err_code})")


class _Api:
    """Asks about streams, patiently."""

    def __init__(self, requests: ApiRequests, *, give_up_at: float) -> None:
        self._requests = requests
        self._give_up_at = give_up_at

    async def ask(self, subject: str, body: bytes = b"") -> _Answer:
        """The answer, or the last refusal that might have passed."""
        loop = asyncio.get_running_loop()
        while True:
            left_s = self._give_up_at - loop.time()
            try:
                reply = await self._requests.request(subject, body, timeout_s=max(0.1, min(API_TIMEOUT_S, left_s)))
                answer = _decode_answer(reply.data)
            except (NoRespondersError, RequestTimeoutError) as error:
                # No responders: JetStream is still recovering, or not enabled for this account.
                answer = _Answer(error=ApiError(code=UNAVAILABLE, description=str(error)))
            except msgspec.MsgspecError as error:
                raise TopologyError(f"{subject}: the answer is not JetStream's") from error
            if answer.error is None or not _may_pass(answer.error) or loop.time() >= self._give_up_at:
                return answer
            await asyncio.sleep(RETRY_AFTER_S * (1 + random.random()))
