"""
What a nats-server holds in memory, by its own heap profile.

Its resident memory says little of it: beside garbage, each stream that is written to or read has the block in use in a
buffer of up to 8 MiB, which the server takes from pools and gives back when the stream was left alone for ten seconds
(nats-server, `filestore.go`: `getMsgBlockBuf`, `defaultCacheBufferExpiration`). Those are bounded by the number of streams,
and no leak; what is counted here is everything else.

    binary = profiled_binary(tmp_path)
    monkeypatch.setenv("FLOTILLA_NATS_SERVER", str(binary))
    async with running_fleet(tmp_path) as fleet:
        held = await held_bytes(binary)
"""

import asyncio
import math
import re
import shlex
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from flotilla.provisioning.embedded_server import BINARY, find_nats_server
from flotilla.testkit.ports import free_ports

TIMEOUT_S: Final = 60.0
COLLECTIONS: Final = 3
"""What is in a pool of Go's is garbage after two."""
SAMPLED_BYTES: Final = 8192
"""One allocation in so many bytes is in the profile: Go's 512 KiB would be wrong by a MiB or two."""
BLOCK_BUFFERS: Final = "server.getMsgBlockBuf"

_HEADER: Final = re.compile(r"heap profile: .* @ heap/(\d+)\n")
_RECORD: Final = re.compile(r"^(\d+): (\d+) \[", re.MULTILINE)
_STACKS: Final = re.compile(r"^# Stack = (\d+)", re.MULTILINE)


def profiled_binary(directory: Path) -> Path:
    """A program that is nats-server, and serves its profile; for the environment variable FLOTILLA_NATS_SERVER."""
    # The server names a file after its program, and is found by that.
    path = directory / "profiled" / BINARY
    path.parent.mkdir()
    # Of a port of its own choosing only its log tells, which turns over.
    (port,) = free_ports(1)
    _port_of(path).write_text(str(port))
    program = f'exec {shlex.quote(str(find_nats_server()))} --profile {port} "$@"'
    path.write_text(f"#!/bin/sh\nGODEBUG=memprofilerate={SAMPLED_BYTES} {program}\n")
    path.chmod(0o755)
    return path


async def held_bytes(binary: Path) -> int:
    """The bytes that live objects and stacks of goroutines of the server take, without the buffers of streams' blocks."""
    url = f"http://127.0.0.1:{_port_of(binary).read_text()}/debug/pprof/heap?debug=1&gc=1"
    profiles = [await asyncio.to_thread(_get, url) for _ in range(COLLECTIONS)]
    return held_in(profiles[-1])


def held_in(profile: str) -> int:
    """The same, of the text of a profile."""
    header, stacks = _HEADER.match(profile), _STACKS.search(profile)
    if header is None or stacks is None:
        raise RuntimeError(f"no heap profile: {profile[:100]!r}")
    sampled_bytes = int(header.group(1)) / 2
    return int(stacks.group(1)) + round(sum(_live(profile, sampled_bytes)))


def _live(profile: str, sampled_bytes: float) -> Iterator[float]:
    """The bytes of each place that allocates, as Go's own tools reckon them from the sample."""
    records = list(_RECORD.finditer(profile))
    ends = [each.start() for each in records[1:]] + [len(profile)]
    for record, end in zip(records, ends, strict=True):
        objects, size = int(record.group(1)), int(record.group(2))
        if objects and BLOCK_BUFFERS not in profile[record.end() : end]:
            yield size / -math.expm1(-size / objects / sampled_bytes)


def _port_of(binary: Path) -> Path:
    return binary.parent / "port"


def _get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:  # noqa: S310  (a constant scheme)
        return answer.read().decode()
