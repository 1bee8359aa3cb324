"""What a caller may ask for besides the work itself, as the headers of the wire."""

import math
import re
from collections.abc import Mapping
from typing import Any, Final, TypedDict

import msgspec

from flotilla.contracts import headers as wire
from flotilla.contracts.errors import BadRequestError, TaskError
from flotilla.contracts.failures import ErrorKind
from flotilla.contracts.headers import Cache, DataClass, parse_headers
from flotilla.contracts.names import check_task_id
from flotilla.contracts.subjects import Priority

ENVELOPE_BYTES: Final = 4096
"""What an attempt's request adds to the caller's bytes, at most; the orchestrator keeps the same room."""

Input = Mapping[str, Any] | msgspec.Struct | msgspec.Raw | bytes
"""A task's input: a mapping or a Struct is encoded as JSON; bytes are JSON already."""

_LABEL_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_encode: Final = msgspec.json.Encoder().encode


class AskOptions(TypedDict, total=False):
    """
    Options of a task, however it comes in.

    Keys:
        deadline_s: Seconds from acceptance until nobody wants the answer; 60 for `ask` and an hour for `submit` when
            not given.
        data_class: `public`, `internal` or `restricted`; the scope's default is `internal`. Restricted data never
            reaches the cloud zone.
        route: `pool` or `pool/model`: ask for a route. Policy and data class still rule.
        sticky: A key, 1 to 256 characters: tasks with the same one take the same branch of a split.
        cache: `use`: an earlier answer to the same input will do. `refresh`: it will not, and the new one takes its
            place. `off`: no part in it. The fleet's policy decides where it is not given.
        approval: A grant for this very input, as `flotilla approvals sign` gives it, for workers that ask for one.
        resume_run: The id of an earlier run of the pipeline, whose finished steps are not worked on again.
        labels: At most 16; carried to events and to the result, so they must not hold what is secret.
        traceparent: W3C trace context, passed on to the worker.
        tracestate: The same.
    """

    deadline_s: float | None
    data_class: DataClass | None
    route: str | None
    sticky: str | None
    cache: Cache | None
    approval: str | None
    resume_run: str | None
    labels: Mapping[str, str] | None
    traceparent: str | None
    tracestate: str | None


class SubmitOptions(AskOptions, total=False):
    """
    Options of a durable task.

    Keys:
        priority: `high`, `normal` (the default) or `low`; low never starves.
    """

    priority: Priority


def headers_of(
    options: AskOptions, *, task_id: str | None = None, stream: bool = False, accepted: bool = False
) -> dict[str, str] | None:
    """
    The headers that say what `options` ask for; None when there is nothing to say.

    Raises:
        BadRequestError: A value that the fleet would refuse; found before anything is sent.
    """
    found: dict[str, str] = {}
    if task_id is not None:
        check_task_id(task_id)
        found[wire.TASK_ID] = task_id
    if stream:
        found[wire.STREAM] = "true"
    if accepted:
        found[wire.ACCEPTED] = "true"
    deadline_s = options.get("deadline_s")
    if deadline_s is not None:
        found[wire.DEADLINE_MS] = str(_milliseconds(deadline_s))
    plain = {
        wire.DATA_CLASS: options.get("data_class"),
        wire.ROUTE: options.get("route"),
        wire.STICKY: options.get("sticky"),
        wire.CACHE: options.get("cache"),
        wire.APPROVAL: options.get("approval"),
        wire.RESUME: options.get("resume_run"),
        wire.TRACEPARENT: options.get("traceparent"),
        wire.TRACESTATE: options.get("tracestate"),
    }
    found |= {name: value for name, value in plain.items() if value is not None}
    for name, value in (options.get("labels") or {}).items():
        if _LABEL_NAME.fullmatch(name) is None:
            raise BadRequestError("a label's name must be 1 to 128 of A-Za-z0-9_.-", path="labels")
        found[wire.LABEL_PREFIX + name] = value
    if not found:
        return None
    _check(found)
    return found


def encode_input(body: Input, *, payload_bytes_max: int) -> bytes:
    """
    The input as the bytes that travel; encoded once, the whole way to the worker.

    Raises:
        TaskError: `too_large`, or `bad_request` for text that cannot be encoded, before anything is sent.
        TypeError: It is not of a kind that stands for a JSON object.
    """
    if isinstance(body, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # a likely mistake
        raise TypeError('the input is an object such as {"document": "..."}, not a string')
    try:
        encoded = body if isinstance(body, bytes) else _encode(body)
    except UnicodeEncodeError as error:
        raise BadRequestError("the input holds a lone surrogate, which no UTF-8 has", path="input") from error
    limit = payload_bytes_max - ENVELOPE_BYTES
    if len(encoded) > limit:
        raise TaskError(
            ErrorKind.TOO_LARGE,
            f"the input has {len(encoded)} bytes; at most {limit}",
            details={"limit_bytes": limit, "size_bytes": len(encoded)},
        )
    return encoded


def _milliseconds(deadline_s: float) -> int:
    if not math.isfinite(deadline_s) or deadline_s <= 0:
        raise BadRequestError("deadline_s: expected a number of seconds greater than 0", path="deadline_s")
    return math.ceil(deadline_s * 1000)


def _check(headers: dict[str, str]) -> None:
    for name, value in headers.items():
        # A header is a line; the NATS client would turn a line break into a space and cut spaces at the ends.
        if not value.isprintable() or value != value.strip():
            raise BadRequestError(f"header {name}: expected printable text without spaces at the ends", path=name)
    parse_headers(headers)
