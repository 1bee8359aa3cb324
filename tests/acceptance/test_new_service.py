"""A service is its settings and what it serves: probes, discovery, logs, signals and draining come with the chassis."""

import asyncio
import json
from pathlib import Path
from typing import Final

import pytest

from flotilla.testkit.fleet_process import FleetProcess
from flotilla.testkit.nats_server import RunningServer
from flotilla.testkit.probe_client import PROBED, probe_of
from flotilla.testkit.raw_client import raw_client

TOY: Final = '''
import asyncio
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import structlog
from prometheus_client import CollectorRegistry

from flotilla.chassis.deployable import Deployable, Runtime, Served, run_deployable
from flotilla.chassis.service import run_service
from flotilla.chassis.settings import ServiceSettings
from flotilla.chassis.signals import starting

logger = structlog.get_logger("toy")


class ToySettings(ServiceSettings, frozen=True, kw_only=True):
    """
    Attributes:
        may_drain: `FLOTILLA_MAY_DRAIN`: a file; what is held is done when it is there.
        waits: `FLOTILLA_WAITS`: whether it waits for ever before it serves.
        ends: `FLOTILLA_ENDS`: whether something else than a signal ends it.
    """

    may_drain: Path
    waits: bool = False
    ends: bool = False


async def run(settings: ToySettings, instance: str) -> None:
    over = asyncio.Event()

    @asynccontextmanager
    async def serve(runtime: Runtime) -> AsyncGenerator[Served]:
        with starting(runtime.stop):
            logger.info("starting")
            if settings.waits:
                await asyncio.Event().wait()
        if settings.ends:
            over.set()
        yield Served(live=lambda: True, ends=(over,), facts={"toys": 3})
        logger.info("draining", connected=runtime.connection.is_connected)
        async with asyncio.timeout(settings.grace_s):
            while not settings.may_drain.exists():
                await asyncio.sleep(0.02)
        logger.info("drained", connected=runtime.connection.is_connected)

    what = Deployable(
        connection_name="toy",
        inbox_prefix="_INBOX.orchestrator",
        trace_service="toy",
        discovery_name="toy",
        version="1.0.0",
        description="A service of a test",
        metadata={"instance": instance},
        registry=CollectorRegistry(),
        serve=serve,
    )
    await run_deployable(what, settings, instance)


if __name__ == "__main__":
    sys.exit(run_service("toy", ToySettings, run))
'''


ORDER: Final = {"starting", "ready", "draining", "drained", "stopped"}


class Toy:
    """The service as a process, with its log."""

    def __init__(self, process: FleetProcess, may_drain: Path) -> None:
        self.process: Final = process
        self._may_drain = may_drain

    @classmethod
    async def start(cls, server: RunningServer, folder: Path, **more: str) -> "Toy":
        """With an orchestrator's credentials, since there is no role for toys."""
        script, may_drain = folder / "toy.py", folder / "may-drain"
        script.write_text(TOY, encoding="utf-8")
        nats = server.orchestrator()
        environ = {
            "FLOTILLA_NATS_URL": nats.url,
            "FLOTILLA_NATS_CREDS": str(nats.creds),
            "FLOTILLA_MAY_DRAIN": str(may_drain),
            **PROBED,
            **more,
        }
        return cls(await FleetProcess.spawn("toy", (str(script),), environ, folder / "log"), may_drain)

    def events(self) -> dict[str, dict[str, object]]:
        """The lines of the log by their events, in order."""
        lines = [json.loads(line) for line in self.process.log_text().splitlines()]
        return {line["event"]: line for line in lines}

    async def until(self, event: str) -> None:
        """Wait for a line of the log."""
        async with asyncio.timeout(60):
            while event not in self.events():
                await asyncio.sleep(0.02)

    def let_drain(self) -> None:
        """What it holds is done."""
        self._may_drain.touch()


async def test_a_new_service_has_probes_discovery_and_a_drain(nats_server: RunningServer, tmp_path: Path):
    """
    It serves while it is connected, and closes its connection when what it held is done.
    """
    toy = await Toy.start(nats_server, tmp_path)
    await toy.until("ready")
    probe = probe_of(toy.process)
    assert 200 == await probe.status("/readyz")
    async with raw_client(nats_server.observer()) as raw:
        raw.subscribe(b"_INBOX.observer.x")
        raw.publish(b"$SRV.PING", b"", reply=b"_INBOX.observer.x")
        await raw.until(b'"toy"')

    toy.process.terminate()
    await probe.until_status("/readyz", 503)
    assert 200 == await probe.status("/livez")
    await toy.until("draining")
    toy.let_drain()

    assert 0 == await toy.process.wait()
    events = toy.events()
    assert ["starting", "ready", "draining", "drained", "stopped"] == [one for one in events if one in ORDER]
    assert 3 == events["ready"]["toys"]
    assert events["drained"]["connected"] is True


async def test_a_service_that_ends_for_a_reason_of_its_own_drains_as_well(nats_server: RunningServer, tmp_path: Path):
    """
    And takes no more work meanwhile: it is not ready.
    """
    toy = await Toy.start(nats_server, tmp_path, FLOTILLA_ENDS="true")
    await toy.until("draining")
    assert 503 == await probe_of(toy.process).status("/readyz")
    toy.let_drain()

    assert 0 == await toy.process.wait()
    assert "drained" in toy.events()


async def test_a_stop_signal_ends_a_service_that_waits_to_start(nats_server: RunningServer, tmp_path: Path):
    """
    It holds nothing yet, so there is nothing to drain.
    """
    toy = await Toy.start(nats_server, tmp_path, FLOTILLA_WAITS="true")
    await toy.until("starting")
    assert 503 == await probe_of(toy.process).status("/readyz")

    toy.process.terminate()

    assert 0 == await toy.process.wait()
    assert not {"ready", "draining"} & set(toy.events())


@pytest.mark.parametrize("name", ["FLOTILLA_MAY_DRAIN", "FLOTILLA_SLOTS"])
async def test_a_setting_that_is_missing_or_unknown_ends_it_with_one_line(
    nats_server: RunningServer, tmp_path: Path, name: str
):
    """
    As it ends every other service.
    """
    toy = await Toy.start(nats_server, tmp_path, **{name: "" if name == "FLOTILLA_MAY_DRAIN" else "4"})

    assert 2 == await toy.process.wait()
    assert name in toy.process.log_text()
    assert 1 == toy.process.log_text().count("\n")
