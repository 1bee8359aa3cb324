"""What is seen while canaries are under way: every place's messages, counted as they come and kept nowhere."""

from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Final

from msgspec import Struct

from flotilla.cli.prove.canaries import Canaries
from flotilla.cli.prove.places import CACHE, CACHE_KEYS, CLOUD_LANES, FILES, HEARD, LOGS, READ, VAULTS, Place
from flotilla.contracts.subjects import VAULT_BUCKET
from flotilla.fabric.connection import Connection, Message

LOG_CHUNK_BYTES: Final = 1024 * 1024
LOGS_MAX: Final = 2_000
VAULT_STREAM: Final = f"KV_{VAULT_BUCKET}"


class Sight(Struct, frozen=True, kw_only=True):
    """What was seen at a place: messages, those of them with a canary where none may be, and with one where it may."""

    place: str
    messages: int
    leaks: int
    at_home: int


class Watch:
    """
    Counts what is heard and read; holds a few numbers for each place.

    Attributes:
        decoys: How many messages with a decoy were heard in cloud lanes.
        part_bytes_max: The length of the longest part of a canary that is looked for.
    """

    def __init__(self, canaries: Canaries) -> None:
        self._canaries: Final = canaries
        self._places: Final = {place.name: place for place in (*HEARD, *READ)}
        self._messages: Final = dict.fromkeys(self._places, 0)
        self._leaks: Final = dict.fromkeys(self._places, 0)
        self._home: Final = dict.fromkeys(self._places, 0)
        self.part_bytes_max: Final = canaries.part_bytes_max
        self.decoys = 0

    def sights(self) -> list[Sight]:
        """All places, in their order."""
        return [
            Sight(place=name, messages=self._messages[name], leaks=self._leaks[name], at_home=self._home[name])
            for name in self._places
        ]

    def see(self, name: str, body: bytes, *, beside: bytes = b"", count: int = 1) -> None:
        """
        Take one message of a place.

        Args:
            name: Of the place.
            body: What the place's own rule is for.
            beside: What came with it, and may hold a canary nowhere.
            count: How many messages it stands for.
        """
        place = self._places[name]
        self._messages[name] += count
        if name == CLOUD_LANES and self._canaries.decoy_is_in(body):
            self.decoys += 1
        if self._canaries.are_in(beside):
            self._leaks[name] += 1
        elif self._canaries.are_in(body):
            allowed = place.at_home or not self._canaries.are_in(place.watched(body))
            counted = self._home if allowed else self._leaks
            counted[name] += 1

    def leak(self, name: str) -> None:
        """Count one leak that is seen without its text."""
        self._leaks[name] += 1

    async def listen(self, connection: Connection) -> None:
        """Subscribe to all places; returns when the server has taken every subscription."""
        for place in HEARD:
            for subject in place.subjects:
                await self._subscribe(connection, place, subject)
        await connection.settle()

    async def _subscribe(self, connection: Connection, place: Place, subject: str) -> None:
        async def on_message(message: Message) -> None:
            beside = message.subject.encode("utf-8", "replace") + (message.raw_headers or b"")
            self.see(CACHE if message.subject.startswith(CACHE_KEYS) else place.name, message.data, beside=beside)

        await connection.subscribe(subject, on_message)


class LogReader:
    """
    Reads what was written since this was made, a piece at a time.

    Args:
        folders: With the logs of a fleet on this machine.
        named: Other files, and folders of which every file counts: where logs are collected, where a collector writes traces.
    """

    def __init__(self, folders: Sequence[Path], named: Sequence[Path] = ()) -> None:
        self._folders: Final = folders
        self._named: Final = named
        self._began_at: Final = {path: _size(path) for path, _ in self._files()}

    def read_into(self, watch: Watch) -> None:
        """Look through all that was written meanwhile. Blocks: to be run in a thread."""
        for path, place in self._files():
            before = b""
            for chunk in _chunks(path, self._began_at.get(path, 0)):
                watch.see(place, before + chunk, count=chunk.count(b"\n"))
                # What is cut in two is found, and what is whole in the first chunk is not found twice.
                before = chunk[1 - watch.part_bytes_max :]

    def _files(self) -> list[tuple[Path, str]]:
        """With the place that each belongs to."""
        logs = (path for folder in self._folders if folder.is_dir() for path in sorted(folder.glob("*.log*")))
        named = (path for one in self._named for path in (sorted(one.rglob("*")) if one.is_dir() else (one,)))
        found = chain(((path, LOGS) for path in logs), ((path, FILES) for path in named if path.is_file()))
        return list(islice(found, LOGS_MAX))


class VaultReader:
    """
    Reads the vaults as they lie on disk: all of each block that was written to since this was made.

    Args:
        stores: JetStream's folders of servers on this machine.
    """

    def __init__(self, stores: Sequence[Path]) -> None:
        self._stores: Final = stores
        self._began_with: Final = {path: _written(path) for path in self._blocks()}

    def read_into(self, watch: Watch) -> None:
        """Look through the blocks, one message for each. Blocks: to be run in a thread."""
        for path in self._blocks():
            if _written(path) == self._began_with.get(path):
                continue
            before = b""
            for count, chunk in enumerate(_chunks(path, 0)):
                watch.see(VAULTS, before + chunk, count=0 if count else 1)
                before = chunk[1 - watch.part_bytes_max :]

    def _blocks(self) -> list[Path]:
        found = (path for store in self._stores for path in store.glob(f"**/streams/{VAULT_STREAM}/msgs/*.blk"))
        return list(islice(found, LOGS_MAX))


def _written(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns


def _chunks(path: Path, offset: int) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            # A log that was begun anew is read from its beginning.
            file.seek(offset if offset <= _size(path) else 0)
            while chunk := file.read(LOG_CHUNK_BYTES):
                yield chunk
    except OSError:
        return


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
