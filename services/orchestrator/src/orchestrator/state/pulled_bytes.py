"""How many bytes of durable tasks a scope may have here: on their way, and in hand until they are acknowledged."""

from typing import Final

from flotilla.fabric.pull_consumers import Grant, Puller
from orchestrator.state.shared_quota import Room

BESIDES_BYTES: Final = 8 * 1024
"""What the server counts of a message besides its payload, at most: its subject, and the one it is acknowledged on."""
PULL_BYTES_MIN: Final = 512
SHARED_AMONG_MIN: Final = 16
"""
Pullers come one after the other, as capabilities become known: the first ones must leave room for those, since a request
that waits for a message keeps its room for seconds.
"""


class PulledBytes:
    """
    One scope's part of the room for pulled tasks, shared out among its pullers.

    A request for messages takes the bytes that it allows when it is sent, so that all that may come has its room. Those
    that may wait long for a first message take half of what is reserved for the scope, in equal parts; one whose next
    message is larger asks for it alone. Where even that finds no room, one message comes all the same: a scope whose
    large tasks no room is left for would wait for the others without end. So all scopes together hold no more than the
    room and one message each.
    """

    def __init__(self, room: Room, scope: str, *, payload_bytes_max: int) -> None:
        self._room = room
        self._scope = scope
        self._message_bytes_max = payload_bytes_max + BESIDES_BYTES
        self._in_room = 0
        self.pullers = 1
        """Among how many it is shared."""
        self.held = 0
        """Bytes on their way and in hand."""

    @property
    def largest(self) -> int:
        """The most that finds room."""
        return self._room.largest

    def grant(self, puller: Puller, batch: int) -> Grant | None:
        """See `Allowance`."""
        free = self._room.free(self._scope)
        if puller.refused_bytes:
            if puller.outstanding:
                return None
            if free > puller.refused_bytes:
                return self._granted(Grant(1, min(free, self._message_bytes_max), waits=False))
            return self._one_more(puller)
        size = max(self._room.reserve // 2 // max(self.pullers, SHARED_AMONG_MIN), PULL_BYTES_MIN)
        if puller.backlog:
            size = max(size, min(2 * batch * puller.last_bytes, free // 2))
        size = min(size, free)
        if size < PULL_BYTES_MIN:
            return None if puller.outstanding else self._one_more(puller)
        return self._granted(Grant(batch, size))

    def exceed(self, size_bytes: int) -> None:
        """See `Allowance`."""
        self.held += size_bytes

    def give_back(self, size_bytes: int) -> None:
        """See `Allowance`."""
        self.held -= size_bytes
        if self._in_room > self.held:
            self._room.give_back(self._scope, self._in_room - self.held)
            self._in_room = self.held

    def _granted(self, grant: Grant) -> Grant:
        self._room.take(self._scope, grant.bytes_max)
        self._in_room += grant.bytes_max
        self.held += grant.bytes_max
        return grant

    def _one_more(self, puller: Puller) -> Grant | None:
        """A message for which there is no room, if the scope has none such already."""
        if self.held > self._in_room:
            return None
        # Larger than what was too small, whatever the server's limit on a message was when this one came.
        size = max(self._message_bytes_max, 2 * puller.refused_bytes)
        self.held += size
        return Grant(1, size, waits=False)
