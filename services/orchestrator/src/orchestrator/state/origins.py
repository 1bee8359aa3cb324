"""Where a durable task comes from, as its gates must know it: whose it is, and which message it was delivered as."""

import hashlib
from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Struct

from flotilla.contracts.decoding import UNDECODABLE
from flotilla.contracts.fields import WORD_LENGTH_MAX, Word, printable
from flotilla.contracts.headers import LABEL_PREFIX

SUBMITTED_BY: Final = "submitted-by"
"""The label in which a caller who knows its users says whose task it is."""
REQUEST_INFO: Final = "Nats-Request-Info"
PATH_LENGTH_MAX: Final = 95

_LABEL: Final = (LABEL_PREFIX + SUBMITTED_BY).lower()


class RequestInfo(Struct, frozen=True):
    """
    What the server says of who asks, in the place of whatever they wrote there themselves.

    Attributes:
        acc: The account.
        user: Its user's public key, where the import says who asks (`share`); empty otherwise.
    """

    acc: Word = ""
    user: Word = ""


_decode: Final = msgspec.json.Decoder(RequestInfo).decode
_NOBODY: Final = RequestInfo()


class Origin(Struct, frozen=True, kw_only=True):
    """
    Where a task comes from.

    Attributes:
        task: The durable task; of a step the outermost run.
        path: The step that it is of that run, with those around it, as `outer/inner`; empty of the task itself.
        message: The stream and the sequence of the task's own message: deliveries with the same follow one another.
        submission: The same each time that the task is delivered, whether it was suspended in between or not, and not that
            of the same id submitted again.
        submitted_by: See `ApprovalRecord`.
    """

    task: str
    path: str = ""
    message: str
    submission: str
    submitted_by: str

    def below(self, step: str) -> "Origin":
        """Of a step of what this is of; a path that is too long for its record ends with a digest."""
        path = f"{self.path}/{step}" if self.path else step
        if len(path) > WORD_LENGTH_MAX:
            path = f"{path[:PATH_LENGTH_MAX]}~{hashlib.sha256(path.encode()).hexdigest()[:32]}"
        return msgspec.structs.replace(self, path=path)


def request_info(headers: Mapping[str, str]) -> RequestInfo:
    """Who asks; nobody where the message came from inside the account."""
    given = headers.get(REQUEST_INFO)
    if given is None:
        return _NOBODY
    try:
        return _decode(given)
    except UNDECODABLE:
        return _NOBODY


def submitter_of(headers: Mapping[str, str], scope: str) -> str:
    """Who submitted a task: whom its caller names, else the scope. A stream keeps no word of the server's on who it was."""
    named = next((value for name, value in headers.items() if name.lower() == _LABEL), "")
    return printable(named or scope, WORD_LENGTH_MAX)
