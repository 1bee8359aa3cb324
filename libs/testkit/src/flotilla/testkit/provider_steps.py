"""What a provider's server can be told to do, and what it was asked."""

import asyncio
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

EMBEDDING_DIMENSIONS: Final = 8

End = Literal["complete", "limit", "refused"]


@dataclass(frozen=True)
class Says:
    """
    A normal answer.

    Attributes:
        text: The whole answer.
        pieces: How a stream cuts it; None for one piece a word. They must join to `text`.
        end: Why it stops: it is done, it reached the output limit, or it was refused.
        word: What the provider calls that, instead of its usual word for `end`; "" for a provider that says nothing.
        model: What the answer says it came from; None for the model that was asked for.
        counted: Whether the answer reports its usage.
        cached_tokens: How many of the input's tokens came from a cache.
        thinking: What the model thought aloud before, for protocols that show it.
        hold: Awaited before the last piece of a stream, and before a whole answer.
    """

    text: str = "Hello there."
    pieces: tuple[str, ...] | None = None
    end: End = "complete"
    word: str | None = None
    input_tokens: int = 11
    output_tokens: int = 7
    model: str | None = None
    counted: bool = True
    cached_tokens: int = 0
    thinking: str = ""
    hold: asyncio.Event | None = None

    @property
    def cuts(self) -> list[str]:
        """The pieces of a stream."""
        if self.pieces is not None:
            return list(self.pieces)
        words = self.text.split(" ")
        return [word if index == 0 else f" {word}" for index, word in enumerate(words)]


@dataclass(frozen=True)
class Fails:
    """An error, in the provider's own form. `code` and `message` are its words; the message may quote the prompt."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    code: str | None = None
    message: str = "scripted failure"
    param: str | None = None


@dataclass(frozen=True)
class Cuts:
    """
    An answer that breaks off before its end marker.

    Attributes:
        pieces: What a stream sends first; a whole answer breaks off in the middle of its body.
        how: `close` drops the connection; `clean` ends the HTTP body properly, as a proxy may.
        torn: Whether half a frame follows the pieces.
    """

    pieces: tuple[str, ...] = ("Hel", "lo")
    how: Literal["close", "clean"] = "close"
    torn: bool = False


@dataclass(frozen=True)
class Loops:
    """The same piece over and over, until the server takes the answer for a loop and ends it, not as done (Ollama)."""

    piece: str = " and"
    times: int = 31

    @property
    def pieces(self) -> tuple[str, ...]:
        """What a stream sends."""
        return (self.piece,) * self.times


@dataclass(frozen=True)
class FailsInside:
    """A stream that turns into an error after some pieces, in the provider's own form."""

    pieces: tuple[str, ...] = ("Hel", "lo")
    code: str | None = None
    message: str = "scripted failure"


@dataclass(frozen=True)
class Stalls:
    """Not one byte until `until` is set, which may be never."""

    until: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True)
class Garbage:
    """Bytes that are no answer: a proxy's page by default."""

    body: bytes = b"<html><body>Bad gateway</body></html>"
    content_type: str = "text/html"
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


Step = Says | Fails | Cuts | Loops | FailsInside | Stalls | Garbage


class Received:
    """
    One request as the server got it.

    Attributes:
        headers: By lower-case name.
        body: The JSON, None when there was none.
        client_port: Tells the connections apart that requests came on.
        disconnected: Set when the client went away before it had its answer.
    """

    def __init__(self, method: str, path: str, headers: Mapping[str, str], body: Any, client_port: int = 0) -> None:
        self.method = method
        self.path = path
        self.headers = {name.lower(): value for name, value in headers.items()}
        self.body = body
        self.client_port = client_port
        self.disconnected = asyncio.Event()

    @property
    def streams(self) -> bool:
        """Whether a stream was asked for, where the protocol says so with `stream`."""
        return bool(self.body.get("stream"))


def sse(data: Mapping[str, Any] | str, event: str | None = None) -> bytes:
    """One server-sent event."""
    text = data if isinstance(data, str) else json.dumps(data)
    name = f"event: {event}\n" if event else ""
    return f"{name}data: {text}\n\n".encode()


def vector(text: str) -> list[float]:
    """An embedding that depends on nothing but the text: `EMBEDDING_DIMENSIONS` numbers from -1 to 1."""
    digest = hashlib.sha256(text.encode()).digest()[:EMBEDDING_DIMENSIONS]
    return [byte / 127.5 - 1.0 for byte in digest]
