"""
What may go to the server, and what may be taken from it: the one place that knows what a well-formed subject is.

A subject is written into a line of the protocol. One with a line end in it is several lines, sent with the rights of
whoever publishes; one with a space or an empty token breaks the connection for everybody who shares it. So every
publish, request, reply and subscription goes through here on its way to the socket (`prompt_client`), whatever was
checked before. nats-py's own check lets through control characters, wildcards and empty tokens, and costs more.

A check costs 0.2 to 0.4 µs.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from flotilla.fabric.errors import MalformedHeaderError, MalformedSubjectError

SUBJECT_BYTES_MAX: Final = 1_900
"""Of subject and reply each: with both, a line of the protocol stays below the server's 4,096 bytes."""
QUEUE_BYTES_MAX: Final = 256
HEADER_NAME_LENGTH_MAX: Final = 256
HEADER_VALUE_LENGTH_MAX: Final = 4_096
HEADERS_BYTES_MAX: Final = 32_768
REPLACED: Final = "\ufffd"
"""Stands for each byte that is not UTF-8, where the server tells a subject, and where its bytes are decoded leniently."""

SERVER_HEADERS: Final = frozenset(
    {
        "nats-expected-last-sequence",
        "nats-expected-last-subject-sequence",
        "nats-expected-stream",
        "nats-incr",
        "nats-msg-id",
        "nats-rollup",
        "nats-schedule",
        "nats-schedule-target",
        "nats-service-error",
        "nats-service-error-code",
        "nats-ttl",
    }
)
"""
Of the headers on which the server acts, those that the fleet sends. Any other would be one that somebody got in: the
server would copy, schedule or trace a message to a subject of his choice, with the rights of whoever sends it.
"""
SUSPENDED: Final = "suspended."
"""Only there may a schedule deliver."""
_TARGET: Final = "nats-schedule-target"
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_WILDCARDS: Final = re.compile(r"(?<![^.])(?:\*(?![^.])|>\Z)")
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_BEGIN: Final = "NATS/1.0\r\n"
_HEADER_NAMES_KNOWN: Final = 256
_SUBJECTS_KNOWN: Final = 256


def is_literal(subject: str) -> bool:
    """
    Whether this can be published to: no whitespace, control character, surrogate, wildcard or empty token.

    A wildcard is refused within a token too, where the server would take it as it is: nobody means that.
    """
    return (
        # False for control characters, surrogates, separators other than the space, and what only changes direction.
        subject.isprintable()
        and subject != ""
        and " " not in subject
        and "*" not in subject
        and ">" not in subject
        and ".." not in subject
        and subject[0] != "."
        and subject[-1] != "."
        and (len(subject) <= SUBJECT_BYTES_MAX if subject.isascii() else len(subject.encode()) <= SUBJECT_BYTES_MAX)
    )


def is_readable(stored: str) -> bool:
    """Whether what a stream says of a message's subject is that subject, so that it can be asked for or published to."""
    return is_literal(stored) and REPLACED not in stored


@lru_cache(_SUBJECTS_KNOWN)
def literal(subject: str) -> bytes:
    """
    A subject, or a reply subject, as it is published to; known already for those that most messages go to.

    Raises:
        MalformedSubjectError: It is not one (`is_literal`).
    """
    if not is_literal(subject):
        raise MalformedSubjectError(subject)
    return subject.encode()


def check_pattern(subject: str) -> None:
    """
    Refuse to subscribe to what is no subject; wildcards may stand for tokens.

    Raises:
        MalformedSubjectError: It is none.
    """
    # With a letter for each wildcard that stands for tokens, what is left must be a subject.
    if not is_literal(_WILDCARDS.sub("x", subject)):
        raise MalformedSubjectError(subject)


def check_queue(queue: str) -> None:
    """
    Refuse a queue group that is no single token.

    Raises:
        MalformedSubjectError: It is none.
    """
    if not is_literal(queue) or len(queue.encode()) > QUEUE_BYTES_MAX:
        raise MalformedSubjectError(queue)


def header_block(headers: Mapping[str, str]) -> bytes:
    """
    Headers as they are sent. Spaces around a value are dropped, as every reader does.

    Raises:
        MalformedHeaderError: A name that is no HTTP token, or the server's and not in SERVER_HEADERS; a value with a
            line end or another control character; either longer than the bounds.
    """
    block = _BEGIN
    for name, value in headers.items():
        if not _is_header_name(name):
            raise MalformedHeaderError(name, "a name of letters, digits and hyphens, none that the server acts on")
        if len(name) == len(_TARGET) and name.lower() == _TARGET and not value.startswith(SUSPENDED):
            raise MalformedHeaderError(name, f"a subject below {SUSPENDED}")
        if not value.isprintable() and _CONTROL.search(value):
            raise MalformedHeaderError(name, "a value without line ends and other control characters")
        if len(value) > HEADER_VALUE_LENGTH_MAX:
            raise MalformedHeaderError(name, f"a value of at most {HEADER_VALUE_LENGTH_MAX} characters")
        block += f"{name}: {value.strip()}\r\n"
    encoded = f"{block}\r\n".encode()
    if len(encoded) > HEADERS_BYTES_MAX:
        raise MalformedHeaderError("", f"at most {HEADERS_BYTES_MAX} bytes of headers")
    return encoded


@lru_cache(_HEADER_NAMES_KNOWN)
def _is_header_name(name: str) -> bool:
    if len(name) > HEADER_NAME_LENGTH_MAX or _HEADER_NAME.fullmatch(name) is None:
        return False
    lowered = name.lower()
    return not lowered.startswith("nats-") or lowered in SERVER_HEADERS
