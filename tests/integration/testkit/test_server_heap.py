"""What is counted of a nats-server's memory: what it keeps for subjects and members, and no buffers of what it wrote last."""

from pathlib import Path

import pytest

from flotilla.testkit.nats_server import running_server
from flotilla.testkit.raw_client import raw_client
from flotilla.testkit.server_heap import held_bytes, profiled_binary

MIB = 1024 * 1024
MESSAGES = 40_000
AT_ONCE = 1_000
STREAM = b'{"name":"T","subjects":["t.>"],"storage":"file"}'


async def test_buffers_do_not_count_and_subjects_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """
    Messages on one subject are in buffers alone; of each on a subject of its own the server keeps some.
    """
    binary = profiled_binary(tmp_path)
    monkeypatch.setenv("FLOTILLA_NATS_SERVER", str(binary))
    body = bytes(300)
    async with running_server(tmp_path) as server, raw_client(server.admin()) as raw:
        assert "error" not in await raw.request(b"$JS.API.STREAM.CREATE.T", STREAM)
        held = [await held_bytes(binary)]
        for subject in (b"t.one", b"t.%d"):
            for number in range(MESSAGES):
                raw.publish(subject.replace(b"%d", b"%d" % number), body)
                if number % AT_ONCE == 0:
                    # Acknowledged when all before it are stored: none wait in the server's own queues.
                    assert "seq" in await raw.request(b"t.one", b"")
            held.append(await held_bytes(binary))

    one, many = held[1] - held[0], held[2] - held[1]
    told = f"{one / MIB:.1f} MiB for one subject, {many / MIB:.1f} MiB for {MESSAGES}"
    assert one < MESSAGES * 25, told
    assert many > MESSAGES * 100, told
