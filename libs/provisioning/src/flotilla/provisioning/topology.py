"""
The streams and buckets of a fleet, as data, and `ensure`, which makes a server hold them.

Every one is bounded in bytes. What is full says so: a task stream refuses new tasks, the histories forget their oldest.
"""

import asyncio
import logging
import random
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Final, Literal, Protocol, cast

import msgspec
from msgspec import Meta, Struct

from flotilla.contracts import subjects
from flotilla.contracts.names import DEFAULT_SCOPE
from flotilla.contracts.presence import EXPIRY_S
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
from flotilla.provisioning import roles

logger = logging.getLogger("flotilla.fabric")

MIB: Final = 1024 * 1024
GIB: Final = 1024 * MIB
DAY_S: Final = 86_400

TASKS_MAX: Final = 200_000
TASKS_BYTES_MAX: Final = 2 * GIB
BACKLOG_MAX: Final = 100_000
DUPLICATE_WINDOW_S: Final = 600
RESULTS_MAX: Final = 200_000
RESULTS_BYTES_MAX: Final = 1 * GIB
RESULTS_AGE_S: Final = 7 * DAY_S
EVENTS_BYTES_MAX: Final = 256 * MIB
EVENTS_AGE_S: Final = 1 * DAY_S
DEAD_MAX: Final = 10_000
DEAD_BYTES_MAX: Final = 256 * MIB
DEAD_AGE_S: Final = 30 * DAY_S
BLACKBOARD_VALUES_MAX: Final = 50_000
BLACKBOARD_BYTES_MAX: Final = 256 * MIB
PRESENCE_BYTES_MAX: Final = 64 * MIB
STATS_BYTES_MAX: Final = 256 * MIB
STATS_TTL_S: Final = 60
POLICY_BYTES_MAX: Final = 64 * MIB
HISTORY: Final = 10
MARKER_TTL_S: Final = 10
"""How long the marker of an expired key stays for watchers; whole seconds."""
BLACKBOARD_MARKER_TTL_S: Final = 2
"""
The same where keys have lifetimes of their own. Short: in a bucket with a history the server keeps every value at least
as long as it would keep its marker (nats-server#6741), so ten seconds here would turn a lifetime of one into ten.
"""

REPLICAS_MAX: Final = 5
API_TIMEOUT_S: Final = 5.0
PATIENCE_S: Final = 30.0
RETRY_AFTER_S: Final = 0.2
NAMES_PER_PAGE: Final = 1024
"""As many as the server gives at once."""
STREAMS_MAX: Final = 16 * NAMES_PER_PAGE

_NS_PER_S: Final = 1_000_000_000
_AT_CREATION: Final = frozenset({"first_seq"})
_SERVER_CHOOSES: Final = frozenset({"duplicate_window", "num_replicas", "storage"})
"""Left at their defaults, the server fills them in."""


class SubjectMapping(Struct, frozen=True, kw_only=True):
    """From which subjects to which (ADR-36 for transforms, ADR-28 for republishing)."""

    src: str
    dest: str


class StreamConfig(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """
    A stream in the terms of the JetStream API (ADR-8 for buckets, ADR-43 for markers).

    Attributes:
        max_age: In nanoseconds, like every duration here; 0 keeps for ever.
        allow_msg_ttl: Whether a message may bring a lifetime of its own (header `Nats-TTL`).
        first_seq: Of a stream that is made; 0 leaves it to the server.
        subject_delete_marker_ttl: How long a marker tells watchers that a key's last value expired.
    """

    name: str
    subjects: tuple[str, ...]
    retention: Literal["limits", "workqueue"]
    discard: Literal["old", "new"]
    max_bytes: int
    max_age: int = 0
    max_msgs: int = -1
    max_msgs_per_subject: int = -1
    discard_new_per_subject: bool = False
    duplicate_window: int = 0
    allow_direct: bool = False
    allow_msg_ttl: bool = False
    allow_rollup_hdrs: bool = False
    deny_delete: bool = False
    subject_delete_marker_ttl: int = 0
    subject_transform: SubjectMapping | None = None
    republish: SubjectMapping | None = None
    num_replicas: int = 0
    first_seq: int = 0
    storage: Literal["", "file", "memory"] = ""


class TopologyLimits(Struct, frozen=True, kw_only=True):
    """
    What an operator may set.

    All but `replicas` and `backlog_max` are per scope. Counts bound the memory of nats-server, which keeps some 400 bytes
    for each subject that a stream holds (docs/deploy.md, Sizing); bytes bound its disk.

    Attributes:
        replicas: Copies of everything: 1, or 3 on a cluster of three nodes.
        backlog_max: Tasks that may wait per scope, capability and priority; the next is refused.
        tasks_max: Tasks that may wait in all; the next is refused.
        results_max: When there are more the oldest goes, as with records of the dead.
        blackboard_values_max: Keys times the values that each has in its history; the next is refused.
    """

    replicas: Annotated[int, Meta(ge=1, le=REPLICAS_MAX)] = 1
    backlog_max: Annotated[int, Meta(ge=1)] = BACKLOG_MAX
    tasks_max: Annotated[int, Meta(ge=1)] = TASKS_MAX
    tasks_bytes_max: Annotated[int, Meta(ge=1)] = TASKS_BYTES_MAX
    results_max: Annotated[int, Meta(ge=1)] = RESULTS_MAX
    results_bytes_max: Annotated[int, Meta(ge=1)] = RESULTS_BYTES_MAX
    events_bytes_max: Annotated[int, Meta(ge=1)] = EVENTS_BYTES_MAX
    dead_max: Annotated[int, Meta(ge=1)] = DEAD_MAX
    dead_bytes_max: Annotated[int, Meta(ge=1)] = DEAD_BYTES_MAX
    blackboard_values_max: Annotated[int, Meta(ge=1)] = BLACKBOARD_VALUES_MAX
    blackboard_bytes_max: Annotated[int, Meta(ge=1)] = BLACKBOARD_BYTES_MAX


class Reply(Protocol):
    """What came back."""

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


def topology(
    scopes: Sequence[str] = (DEFAULT_SCOPE,), limits: TopologyLimits | None = None
) -> tuple[StreamConfig, ...]:
    """Every stream and bucket of a fleet that serves these scopes."""
    limits = limits or TopologyLimits()
    return tuple(
        msgspec.structs.replace(config, num_replicas=limits.replicas, storage="file")
        for config in (
            *(tasks_stream(scope, limits) for scope in scopes),
            *(results_stream(scope, limits) for scope in scopes),
            *(events_stream(scope, limits) for scope in scopes),
            *(dead_stream(scope, limits) for scope in scopes),
            *(blackboard(scope, limits) for scope in scopes),
            *BUCKETS,
        )
    )


def tasks_stream(scope: str, limits: TopologyLimits) -> StreamConfig:
    """A scope's durable tasks: gone once acknowledged, refused when the backlog of their subject is full."""
    return StreamConfig(
        name=subjects.tasks_stream(scope),
        subjects=(roles.services(scope)[0],),
        retention="workqueue",
        discard="new",
        discard_new_per_subject=True,
        max_msgs_per_subject=limits.backlog_max,
        max_bytes=limits.tasks_bytes_max,
        max_msgs=limits.tasks_max,
        duplicate_window=DUPLICATE_WINDOW_S * _NS_PER_S,
        # Status questions look at the head of a subject without a consumer.
        allow_direct=True,
    )


def results_stream(scope: str, limits: TopologyLimits) -> StreamConfig:
    """
    A scope's committed results, one per task.

    Exactly one can be committed because the publish expects its subject to be empty. When the stream is full the oldest
    result goes: were the new one refused, its task could never end.

    It is published on a subject of its own and republished on `results` once it is stored: subscribers to a stream's own
    subjects also hear the messages that the stream refuses.
    """
    results = roles.streams(scope)[0]
    return StreamConfig(
        name=subjects.results_stream(scope),
        subjects=(f"commit.{scope}.>",),
        subject_transform=SubjectMapping(src=f"commit.{scope}.>", dest=results),
        republish=SubjectMapping(src=results, dest=results),
        retention="limits",
        discard="old",
        max_msgs_per_subject=1,
        max_age=RESULTS_AGE_S * _NS_PER_S,
        max_bytes=limits.results_bytes_max,
        max_msgs=limits.results_max,
        duplicate_window=DUPLICATE_WINDOW_S * _NS_PER_S,
        allow_direct=True,
    )


def events_stream(scope: str, limits: TopologyLimits) -> StreamConfig:
    """A scope's events of the last day, or as many as fit."""
    return StreamConfig(
        name=subjects.events_stream(scope),
        subjects=(roles.streams(scope)[1],),
        retention="limits",
        discard="old",
        max_age=EVENTS_AGE_S * _NS_PER_S,
        max_bytes=limits.events_bytes_max,
        allow_direct=True,
    )


def dead_stream(scope: str, limits: TopologyLimits) -> StreamConfig:
    """A scope's dead-letter records, one per task; when it is full the oldest goes."""
    return StreamConfig(
        name=subjects.dead_stream(scope),
        subjects=(f"dead.{scope}.>",),
        retention="limits",
        discard="old",
        max_age=DEAD_AGE_S * _NS_PER_S,
        max_bytes=limits.dead_bytes_max,
        max_msgs=limits.dead_max,
        allow_direct=True,
    )


def blackboard(scope: str, limits: TopologyLimits) -> StreamConfig:
    """A scope's blackboard: what does not fit is refused."""
    bucket = _bucket(
        subjects.blackboard_bucket(scope),
        bytes_max=limits.blackboard_bytes_max,
        history=HISTORY,
        marker_ttl_s=BLACKBOARD_MARKER_TTL_S,
    )
    return msgspec.structs.replace(bucket, max_msgs=limits.blackboard_values_max)


def _bucket(
    bucket: str,
    *,
    bytes_max: int,
    history: int = 1,
    ttl_s: int = 0,
    duplicate_window_s: int = 120,
    marker_ttl_s: int = MARKER_TTL_S,
) -> StreamConfig:
    """As any NATS client would make it (ADR-8), so that `nats kv` and every client library can use it."""
    return StreamConfig(
        name=subjects.bucket_stream(bucket),
        subjects=(subjects.key(bucket, ">"),),
        retention="limits",
        discard="new",
        max_bytes=bytes_max,
        max_age=ttl_s * _NS_PER_S,
        max_msgs_per_subject=history,
        duplicate_window=min(duplicate_window_s, ttl_s or duplicate_window_s) * _NS_PER_S,
        allow_direct=True,
        allow_msg_ttl=True,
        allow_rollup_hdrs=True,
        deny_delete=True,
        subject_delete_marker_ttl=marker_ttl_s * _NS_PER_S,
    )


BUCKETS: Final = (
    _bucket(subjects.PRESENCE_BUCKET, bytes_max=PRESENCE_BYTES_MAX, ttl_s=int(EXPIRY_S)),
    _bucket(subjects.STATS_BUCKET, bytes_max=STATS_BYTES_MAX, ttl_s=STATS_TTL_S),
    _bucket(subjects.POLICY_BUCKET, bytes_max=POLICY_BYTES_MAX, history=HISTORY),
)


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
    """The settings of a stream that the server has otherwise; what this module does not know of is left alone."""
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
