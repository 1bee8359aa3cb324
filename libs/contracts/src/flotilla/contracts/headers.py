"""The headers of a task: what a caller may ask for, decoded once into `TaskOptions`."""

from collections.abc import Iterable, Mapping
from typing import Final, Literal, cast

from msgspec import Struct

from flotilla.contracts.errors import BadRequestError
from flotilla.contracts.header_names import holds_an_option, is_lookalike
from flotilla.contracts.names import is_name, is_task_id

DataClass = Literal["public", "internal", "restricted"]
Cache = Literal["off", "use", "refresh"]

TASK_ID: Final = "Nats-Msg-Id"
DEADLINE_MS: Final = "Flotilla-Deadline-Ms"
DATA_CLASS: Final = "Flotilla-Data-Class"
ROUTE: Final = "Flotilla-Route"
STREAM: Final = "Flotilla-Stream"
STICKY: Final = "Flotilla-Sticky"
CACHE: Final = "Flotilla-Cache"
APPROVAL: Final = "Flotilla-Approval"
RESUME: Final = "Flotilla-Resume"
"""Of a pipeline: the id of an earlier run, whose finished steps are not worked on again."""
ACCEPTED: Final = "Flotilla-Accepted"
"""On an `ask`: whether the fleet is to say that it was taken. On a reply: that it is this word, and no answer yet."""
LABEL_PREFIX: Final = "Flotilla-Label-"
TRACEPARENT: Final = "traceparent"
TRACESTATE: Final = "tracestate"
EVENT_TASK: Final = "Flotilla-Task"
"""The id of the task that an event is about; callers do not set it."""
ERROR_CODE: Final = "Nats-Service-Error-Code"
ERROR_TEXT: Final = "Nats-Service-Error"

ASK_DEADLINE_MS_DEFAULT: Final = 60_000
TASK_DEADLINE_MS_DEFAULT: Final = 3_600_000
ASK_DEADLINE_MS_MAX: Final = 3_600_000
TASK_DEADLINE_MS_MAX: Final = 7 * 24 * 3_600_000
LABELS_MAX: Final = 16
LABEL_LENGTH_MAX: Final = 128
STICKY_LENGTH_MAX: Final = 256
APPROVAL_LENGTH_MAX: Final = 1024

_PREFIX: Final = "flotilla-"
_CACHES: Final[dict[str, Cache]] = {"off": "off", "use": "use", "refresh": "refresh"}
_DATA_CLASSES: Final[dict[str, DataClass]] = {
    "public": "public",
    "internal": "internal",
    "restricted": "restricted",
}


class TaskOptions(Struct, frozen=True, kw_only=True):
    """
    What the headers of a task say; every field has the wire's default.

    Attributes:
        task_id: As given and unchecked; `names.check_task_id` is the rule.
        deadline_ms: From acceptance; None stands for the default of the way in.
        data_class: None stands for the scope's default, which is `internal` unless a policy says otherwise.
        route_pool: The pool asked for by `Flotilla-Route`; policy and data class still rule.
        route_model: The model asked for by `Flotilla-Route: pool/model`.
        approval: A grant as it travels (`approvals.py`), unchecked: the worker that needs one checks it.
        resume: The id of the run of a pipeline that this one goes on with.
        accepted: Of an `ask`: its caller wants to be told that it was taken, before the answer comes.
        cache: Whether a kept answer will do; None leaves it to the policy.
    """

    task_id: str | None = None
    deadline_ms: int | None = None
    data_class: DataClass | None = None
    route_pool: str | None = None
    route_model: str | None = None
    stream: bool = False
    sticky: str | None = None
    cache: Cache | None = None
    approval: str | None = None
    resume: str | None = None
    accepted: bool = False
    labels: dict[str, str] = {}
    traceparent: str | None = None
    tracestate: str | None = None


NO_OPTIONS: Final = TaskOptions()


def parse_headers(headers: Mapping[str, str] | Iterable[tuple[str, str]] | None) -> TaskOptions:
    """
    Decode the headers of a task, as `header_block.read_block` gives them. Names are compared without regard to case.

    Foreign ones are ignored, however often they stand there.

    Raises:
        BadRequestError: An unknown `Flotilla-*` header or one that looks like it (a misspelt privacy option must not
            pass silently), one given twice, or a value that is not allowed; says which header and what was expected.
    """
    if not headers:
        return NO_OPTIONS
    found: dict[str, object] = {}
    labels: dict[str, str] = {}
    seen: set[str] = set()
    pairs = cast("Mapping[str, str]", headers).items() if isinstance(headers, Mapping) else headers
    for name, value in pairs:
        lowered = name.lower()
        if holds_an_option(value):
            raise _refused(name, "a value that holds no other header")
        if is_ours(lowered):
            if lowered in seen:
                raise _refused(name, "one header of this name")
            seen.add(lowered)
        if lowered.startswith(_LABEL):
            _label(labels, name, value)
        elif lowered in READERS:
            found.update(READERS[lowered](name, value))
        elif lowered.startswith(_PREFIX) or is_lookalike(name):
            raise _refused(name, "one of " + ", ".join(sorted(KNOWN)))
    found.pop("route", None)
    return TaskOptions(labels=labels, **found)  # pyright: ignore[reportArgumentType]


def is_ours(name: str) -> bool:
    """Whether a header's name, in lower case, is one that a task is understood by."""
    return name in READERS or name.startswith(_LABEL)


def _refused(name: str, expected: str) -> BadRequestError:
    return BadRequestError(f"header {name[:64]}: expected {expected}", path=f"header {name[:64]}", expected=expected)


def _label(labels: dict[str, str], name: str, value: str) -> None:
    key = name[len(_LABEL) :]
    if not key or len(key) > LABEL_LENGTH_MAX or len(value) > LABEL_LENGTH_MAX:
        raise _refused(name, f"a label name and a value of at most {LABEL_LENGTH_MAX} characters each")
    if len(labels) >= LABELS_MAX:
        raise _refused(name, f"at most {LABELS_MAX} labels")
    labels[key] = value


def _task_id(_name: str, value: str) -> dict[str, object]:
    return {"task_id": value}


def _deadline_ms(name: str, value: str) -> dict[str, object]:
    if not value.isascii() or not value.isdigit() or len(value) > 12 or int(value) < 1:  # noqa: PLR2004
        raise _refused(name, "a whole number of milliseconds, 1 or more")
    return {"deadline_ms": int(value)}


def _data_class(name: str, value: str) -> dict[str, object]:
    if value not in _DATA_CLASSES:
        raise _refused(name, "one of public, internal, restricted")
    return {"data_class": _DATA_CLASSES[value]}


def _route(name: str, value: str) -> dict[str, object]:
    pool, slash, model = value.partition("/")
    if not is_name(pool) or (slash and not model) or len(model) > LABEL_LENGTH_MAX:
        raise _refused(name, "pool or pool/model")
    return {"route": value, "route_pool": pool, "route_model": model or None}


def _stream(name: str, value: str) -> dict[str, object]:
    if value not in ("true", "false"):
        raise _refused(name, "true or false")
    return {"stream": value == "true"}


def _sticky(name: str, value: str) -> dict[str, object]:
    if not value or len(value) > STICKY_LENGTH_MAX:
        raise _refused(name, f"1 to {STICKY_LENGTH_MAX} characters")
    return {"sticky": value}


def _cache(name: str, value: str) -> dict[str, object]:
    if value not in _CACHES:
        raise _refused(name, "one of off, use, refresh")
    return {"cache": _CACHES[value]}


def _approval(name: str, value: str) -> dict[str, object]:
    if not value or len(value) > APPROVAL_LENGTH_MAX or not value.isascii() or not value.isprintable():
        raise _refused(name, f"a grant, 1 to {APPROVAL_LENGTH_MAX} characters of ASCII")
    return {"approval": value}


def _resume(name: str, value: str) -> dict[str, object]:
    if not is_task_id(value):
        raise _refused(name, "the id of a task")
    return {"resume": value}


def _accepted(name: str, value: str) -> dict[str, object]:
    if value not in ("true", "false"):
        raise _refused(name, "true or false")
    return {"accepted": value == "true"}


def _traceparent(_name: str, value: str) -> dict[str, object]:
    return {"traceparent": value[:LABEL_LENGTH_MAX]}


def _tracestate(_name: str, value: str) -> dict[str, object]:
    return {"tracestate": value[:512]}


_LABEL: Final = LABEL_PREFIX.lower()
KNOWN: Final = (DEADLINE_MS, DATA_CLASS, ROUTE, STREAM, STICKY, CACHE, APPROVAL, RESUME, ACCEPTED, LABEL_PREFIX + "*")
READERS: Final = {
    TASK_ID.lower(): _task_id,
    DEADLINE_MS.lower(): _deadline_ms,
    DATA_CLASS.lower(): _data_class,
    ROUTE.lower(): _route,
    STREAM.lower(): _stream,
    STICKY.lower(): _sticky,
    CACHE.lower(): _cache,
    APPROVAL.lower(): _approval,
    RESUME.lower(): _resume,
    ACCEPTED.lower(): _accepted,
    TRACEPARENT: _traceparent,
    TRACESTATE: _tracestate,
}
