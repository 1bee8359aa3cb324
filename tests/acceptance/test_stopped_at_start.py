"""A stop signal while a service waits for what it needs to start: it holds nothing, and ends at once and well."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from flotilla.testkit.fleet_process import FleetProcess

NOWHERE = "nats://127.0.0.1:1"
WAITING_S = 60.0
END_S = 20.0
INFO = b'INFO {"server_id":"x","version":"2.11.0","proto":1,"headers":true,"max_payload":1048576}\r\n'
WORKER = {"FLOTILLA_ZONE": "local", "FLOTILLA_POOL": "p", "FLOTILLA_PROVIDER": "noop"}


@pytest.mark.parametrize(("module", "environ"), [("orchestrator", {}), ("local_inference", WORKER)])
async def test_a_service_that_finds_no_server_stops_when_told(tmp_path: Path, module: str, environ: dict[str, str]):
    """
    It would try for half a minute more.
    """
    process = await FleetProcess.spawn(
        module, ("-m", module), {**environ, "FLOTILLA_NATS_URL": NOWHERE}, tmp_path / "log"
    )
    await _until_logged(process, "nats_error")

    await _stops(process)


async def test_an_orchestrator_that_waits_for_its_streams_stops_when_told(tmp_path: Path):
    """
    It is connected, and JetStream does not answer.
    """
    asked = asyncio.Event()
    async with _server_without_streams(asked) as url:
        process = await FleetProcess.spawn(
            "orchestrator", ("-m", "orchestrator"), {"FLOTILLA_NATS_URL": url}, tmp_path / "log"
        )
        await asyncio.wait_for(asked.wait(), WAITING_S)

        await _stops(process)


async def _stops(process: FleetProcess) -> None:
    process.terminate()
    try:
        code = await process.wait(END_S)
    finally:
        process.kill()
    text = process.log_text()
    assert code == 0, text
    assert "Traceback" not in text
    assert '"stopped"' in text.splitlines()[-1]


async def _until_logged(process: FleetProcess, event: str) -> None:
    async with asyncio.timeout(WAITING_S):
        while event not in process.log_text():
            assert process.is_running, process.log_text()
            await asyncio.sleep(0.02)


@asynccontextmanager
async def _server_without_streams(asked: asyncio.Event) -> AsyncGenerator[str]:
    """Whoever connects gets PONGs and no answer; `asked` is set by the first request about a stream."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(INFO)
        while line := await reader.readline():
            if line.startswith(b"PING"):
                writer.write(b"PONG\r\n")
            elif b"$JS.API.STREAM." in line:
                asked.set()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"nats://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
