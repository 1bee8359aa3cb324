"""How many asks, and how many bytes of them, one orchestrator holds at a time: of each scope, and of all."""

from collections.abc import Mapping
from typing import Final

from flotilla.contracts.errors import TaskError
from flotilla.contracts.failures import ErrorKind
from flotilla.fabric.connection import Message
from orchestrator.state.shared_quota import Room

RETRY_AFTER_S: Final = 1.0


class AsksInFlight:
    """Lets asks in while there is room for them; what finds none is refused at once, and may be asked again."""

    __slots__ = ("_bytes", "_count")

    def __init__(self, *, count: Room, size: Room) -> None:
        self._count: Final = count
        self._bytes: Final = size

    def enter(self, scope: str, size_bytes: int) -> None:
        """
        Take room for one ask, to be given back by `leave`.

        Raises:
            TaskError: `no_capacity` with `retry_after_s`, or `too_large` for one that never finds room; and no room is
                taken.
        """
        if size_bytes > self._bytes.largest:
            limit = self._bytes.largest
            text = f"an ask may have {limit} bytes here, this one has {size_bytes}; submit it as a durable task"
            raise TaskError(ErrorKind.TOO_LARGE, text, details={"limit_bytes": limit, "size_bytes": size_bytes})
        if not self._count.take(scope):
            raise _no_room(f"{self._count.of(scope)} asks of the scope are in flight")
        if not self._bytes.take(scope, size_bytes):
            self._count.give_back(scope)
            raise _no_room(f"asks of the scope with {self._bytes.of(scope)} bytes are in flight")

    def counts(self) -> Mapping[str, int]:
        """Asks in flight, by scope."""
        return self._count.held()

    def sizes_bytes(self) -> Mapping[str, int]:
        """Their bytes, by scope."""
        return self._bytes.held()

    def leave(self, scope: str, size_bytes: int) -> None:
        """The ask has its answer, or will get none."""
        self._count.give_back(scope)
        self._bytes.give_back(scope, size_bytes)


def size_of(message: Message) -> int:
    """Bytes that a message takes as long as it is held."""
    return len(message.data) + len(message.raw_headers or b"")


def _no_room(what: str) -> TaskError:
    text = f"{what}, and there is no room for this one; ask again later, ask fewer at a time, or submit durable tasks"
    return TaskError(ErrorKind.NO_CAPACITY, text, details={"retry_after_s": RETRY_AFTER_S})
