"""Probes of real processes: what Kubernetes is told, and when."""

import asyncio
import signal
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

import orchestrator.__main__ as orchestrator_main
from flotilla.chassis import probes as probes_module
from flotilla.chassis.probes import beating
from flotilla.chassis.settings import SettingsT, load_settings
from flotilla.fabric.connection import NatsSettings
from flotilla.inference import serving
from flotilla.inference.settings import WorkerSettings
from flotilla.testkit.fleet import running_fleet
from flotilla.testkit.fleet_process import FleetProcess
from flotilla.testkit.nats_server import RunningServer
from flotilla.testkit.plain_client import BODIES
from flotilla.testkit.probe_client import PROBED, Probe, probe_of, probe_when_there
from flotilla.testkit.provider_openai import OpenAIServer
from flotilla.testkit.provider_steps import Says
from orchestrator.settings import OrchestratorSettings

WORKER = {"FLOTILLA_ZONE": "local", "FLOTILLA_POOL": "local", "FLOTILLA_PROVIDER": "noop"}


@pytest.mark.parametrize(("module", "own"), [("orchestrator", {}), ("local_inference", WORKER)])
async def test_a_service_that_has_no_server_yet_is_live_and_not_ready(tmp_path: Path, module: str, own: dict[str, str]):
    """
    Kubernetes must neither send it work nor restart it: NATS may just be later.
    """
    environ = {"FLOTILLA_NATS_URL": "nats://127.0.0.1:1", **PROBED, **own}
    process = await FleetProcess.spawn(module, ("-m", module), environ, tmp_path / "log")
    try:
        probe = await probe_when_there(process)

        assert (200, 503) == (await probe.status("/livez"), await probe.status("/readyz"))
        assert "process_resident_memory_bytes" in (await probe.scrape()).text
    finally:
        process.kill()
        await process.wait()


async def test_readiness_follows_the_connection_and_liveness_does_not(tmp_path: Path):
    """
    Restarting a pod brings no server back.
    """
    async with running_fleet(tmp_path, env=PROBED, worker_env=PROBED) as fleet:
        probes = [probe_of(process) for process in fleet.processes]
        before = [await probe.status("/readyz") for probe in probes]
        await fleet.server.stop()
        for probe in probes:
            await probe.until_status("/readyz", 503)
        live = [await probe.status("/livez") for probe in probes]
        await fleet.server.start()
        for probe in probes:
            await probe.until_status("/readyz", 200)

    assert [200, 200] == before
    assert [200, 200] == live


async def test_a_service_that_was_told_to_stop_is_not_ready_and_finishes(tmp_path: Path):
    """
    From the signal on no endpoint should send here, while what is held is finished, the probes still answering.
    """
    may_end = asyncio.Event()
    async with OpenAIServer() as server, running_fleet(tmp_path, local=0, env=PROBED) as fleet:
        server.otherwise = Says("done", hold=may_end)
        environ = {"OPENAI_BASE_URL": f"{server.url}/v1", "FLOTILLA_MODELS": "m", **PROBED}
        await fleet.start_worker(engine="vllm", env=environ)
        client = await fleet.client()
        asking = asyncio.ensure_future(client.ask("summarize", BODIES["summarize"], headers={"Nats-Msg-Id": "held"}))
        await client.until_status("held", "running")
        probes = [probe_of(process) for process in fleet.processes]
        for process in fleet.processes:
            process.terminate()
        for probe in probes:
            await probe.until_status("/readyz", 503)
        live = [await probe.status("/livez") for probe in probes]
        answered_before = asking.done()
        may_end.set()
        answer = await asking
        codes = [await process.wait() for process in fleet.processes]

    assert [200, 200] == live
    assert not answered_before
    assert "" == answer.kind
    assert [0, 0] == codes


async def test_an_orchestrator_whose_watch_has_died_is_not_live(
    nats_server: RunningServer, monkeypatch: pytest.MonkeyPatch
):
    """
    Without it no lost attempt would be noticed: the pod should be replaced.
    """
    monkeypatch.setattr(orchestrator_main, "beating", partial(beating, within_s=1.0))
    settings = _settings(OrchestratorSettings, nats_server.orchestrator())

    async with _running(lambda: orchestrator_main.run(settings, "o1"), monkeypatch) as probe:
        await _dies(probe, "LivenessWatch.watch")


async def test_a_worker_whose_ticker_has_died_is_not_live(nats_server: RunningServer, monkeypatch: pytest.MonkeyPatch):
    """
    Without it the orchestrators would take its attempts for lost.
    """
    monkeypatch.setattr(serving, "beating", partial(beating, within_s=1.0))
    settings = _settings(WorkerSettings, nats_server.worker("local", "local"), **WORKER)

    async def echo(text: dict[str, str]) -> dict[str, str]:
        return text

    what = serving.serving_handlers({"echo": echo}, settings)
    async with _running(lambda: serving.serve_worker(settings, "w1", what), monkeypatch) as probe:
        await _dies(probe, "Slots._tick")


async def _dies(probe: Probe, heart: str) -> None:
    """The process is live while the task that is its heart runs, and not soon after it ends."""
    await probe.until_status("/readyz", 200)
    await asyncio.sleep(1.2)  # longer than a heartbeat may be old
    assert 200 == await probe.status("/livez")
    for task in asyncio.all_tasks():
        if getattr(task.get_coro(), "__qualname__", "") == heart:
            task.cancel()
    await probe.until_status("/livez", 503)
    assert 200 == await probe.status("/readyz")


@asynccontextmanager
async def _running(run: Callable[[], Awaitable[None]], monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Probe]:
    """A service in this process, so that a part of it can be ended, until it is told to stop."""
    ports: asyncio.Queue[int] = asyncio.Queue()

    class Logger:
        def info(self, _: str, *, host: str, port: int) -> None:
            assert host == "127.0.0.1"
            ports.put_nowait(port)

    monkeypatch.setattr(probes_module, "logger", Logger())
    service = asyncio.ensure_future(run())
    getting = asyncio.ensure_future(ports.get())
    await asyncio.wait([service, getting], return_when=asyncio.FIRST_COMPLETED)
    yield Probe(getting.result())
    signal.raise_signal(signal.SIGTERM)
    await asyncio.wait_for(service, 60)


def _settings(kind: type[SettingsT], nats: NatsSettings, **more: str) -> SettingsT:
    return load_settings(
        kind, {"FLOTILLA_NATS_URL": nats.url, "FLOTILLA_NATS_CREDS": str(nats.creds), **PROBED, **more}
    )
