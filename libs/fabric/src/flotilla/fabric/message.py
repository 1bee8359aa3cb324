"""
A message as a handler gets it: its header block as the bytes that arrived, and read only when somebody asks.

A header block is whatever the sender wrote: the server checks its length and nothing else. Reading one here never fails,
and what cannot be read of it is left out. That is right for what the server itself has written (`Nats-Sequence`,
`Nats-Pending-Messages`) and wrong for what a caller asks for: a privacy header that is almost right would be no header.
Whoever decides by what a caller has written takes `raw_headers`, and refuses what is not well-formed.
"""

from typing import Final

VERSION: Final = b"NATS/1.0"
SEQUENCE: Final = "Nats-Sequence"
"""The server ends every stored message that it gives out with it, whatever the message's own headers are."""

_CRLF: Final = b"\r\n"
_SPACE: Final = b" \t"
_STATUS: Final = VERSION + b" "
_STATUS_DIGITS: Final = 3


class Message:
    """
    A message that was received.

    Attributes:
        subject: Well-formed (`subject_guard`), unless whoever subscribed takes unreadable ones.
        reply: Where an answer goes; empty when none is expected.
        data: The body.
        raw_headers: The header block as it arrived, from `NATS/1.0` to the empty line; None when there is none. Nothing
            in it is checked: it may hold any bytes, names twice, lines without a colon.
    """

    __slots__ = ("_block", "data", "raw_headers", "reply", "subject")

    def __init__(self, subject: str, reply: str, data: bytes, raw_headers: bytes | None = None) -> None:
        self.subject: Final = subject
        self.reply: Final = reply
        self.data: Final = data
        self.raw_headers: Final = raw_headers
        self._block: HeaderBlock | None = None

    @property
    def block(self) -> "HeaderBlock":
        """The header block, read leniently; see the module's docstring for what that is good for."""
        if self._block is None:
            self._block = NO_HEADERS if self.raw_headers is None else HeaderBlock(self.raw_headers)
        return self._block

    @property
    def headers(self) -> dict[str, str]:
        """The fields of the header block, read leniently: of a name that comes twice, the last."""
        return self.block.fields


class HeaderBlock:
    """
    What can be read of a header block.

    Attributes:
        status: Three digits on the first line, as the server answers (`503`); None without.
        description: What follows them.
        fields: By name, the last where a name comes twice: what the server adds comes last. Names that are not ASCII and
            lines without a colon are left out, bytes that are not UTF-8 replaced.
    """

    __slots__ = ("description", "fields", "status")

    def __init__(self, raw: bytes) -> None:
        first, *lines = raw.split(_CRLF)
        self.status: str | None = None
        self.description = ""
        self.fields: Final[dict[str, str]] = {}
        if first.startswith(_STATUS):
            said = first[len(_STATUS) :].strip()
            digits = said[:_STATUS_DIGITS]
            if len(digits) == _STATUS_DIGITS and digits.isdigit():
                self.status = digits.decode()
                self.description = said[_STATUS_DIGITS:].strip().decode("utf-8", "replace")
        for line in lines:
            name, colon, value = line.partition(b":")
            name = name.strip(_SPACE)
            if colon and name.isascii():
                # Other whitespace may belong to the value: the server writes subjects here.
                self.fields[name.decode()] = value.strip(_SPACE).decode("utf-8", "replace")


NO_HEADERS: Final = HeaderBlock(b"")


def status_of(message: Message) -> str | None:
    """
    The status with which the server answered itself (`503` no responders, `404`, `408`, `409`), else None.

    Any client can write a status on the first line of its header block. What the server says itself has no body and no
    reply subject; a message of a stream comes with one, or with its sequence among its headers. What is left is a
    status that somebody sends to the reply subject of a request that he was given: no more than an answer of his.
    """
    if message.raw_headers is None or message.data or message.reply:
        return None
    block = message.block
    return None if SEQUENCE in block.fields else block.status


def is_status(message: Message, status: str) -> bool:
    """Whether the server answered itself, with this status."""
    return status_of(message) == status
