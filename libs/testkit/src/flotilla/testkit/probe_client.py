"""
The probes and metrics of a fleet's process, read as a kubelet and a Prometheus server read them.

    await fleet.start_worker(env=PROBED)
    probe = probe_of(fleet.workers[0])
    assert await probe.status("/readyz") == 200
    assert (await probe.scrape()).value("flotilla_slots", state="free") == 8
"""

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

from flotilla.testkit.fleet_process import FleetProcess

PROBED: Final = {"FLOTILLA_HTTP_PORT": "0", "FLOTILLA_HTTP_HOST": "127.0.0.1"}
"""Settings of a service whose probes a test wants to read: on a free port."""

POLL_S: Final = 0.02
TIMEOUT_S: Final = 60.0


class Scrape:
    """
    What one scrape said.

    Attributes:
        text: As it came.
        series: The value of every series, by its name and labels.
        kinds: `counter`, `gauge` or `histogram`, by the family's name.
    """

    def __init__(self, text: str) -> None:
        self.text: Final = text
        self.series: Final[dict[tuple[str, frozenset[tuple[str, str]]], float]] = {}
        self.kinds: Final[dict[str, str]] = {}
        for family in text_string_to_metric_families(text):
            self.kinds[family.name] = family.type
            for sample in family.samples:
                self.series[(sample.name, frozenset(sample.labels.items()))] = sample.value

    def found(self, name: str, **labels: str) -> dict[frozenset[tuple[str, str]], float]:
        """The series of a name whose labels include those given."""
        wanted = set(labels.items())
        return {have: value for (series, have), value in self.series.items() if series == name and wanted <= set(have)}

    def value(self, name: str, **labels: str) -> float:
        """The sum of the series of a name whose labels include those given; 0 when there is none."""
        return sum(self.found(name, **labels).values())

    def label_names(self, name: str) -> set[str]:
        """The labels that the series of a name have."""
        return {label for labels in self.found(name) for label, _ in labels}


class Probe:
    """The HTTP side of one process."""

    def __init__(self, port: int) -> None:
        self.port: Final = port

    async def get(self, path: str, method: str = "GET") -> tuple[int, str]:
        """Status and body of a path."""
        async with asyncio.timeout(TIMEOUT_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            try:
                writer.write(f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
                head, _, body = (await reader.read()).partition(b"\r\n\r\n")
            finally:
                writer.close()
                with suppress(OSError):
                    await writer.wait_closed()
        return int(head.split(b" ", 2)[1]), body.decode()

    async def status(self, path: str) -> int:
        """The status of a path."""
        return (await self.get(path))[0]

    async def until_status(self, path: str, status: int) -> None:
        """Return when a path has a status; TimeoutError after TIMEOUT_S."""
        async with asyncio.timeout(TIMEOUT_S):
            while await self.status(path) != status:  # noqa: ASYNC110  (another process changes it)
                await asyncio.sleep(POLL_S)

    async def scrape(self) -> Scrape:
        """What Prometheus would read now."""
        return Scrape((await self.get("/metrics"))[1])

    async def until(self, holds: Callable[[Scrape], object]) -> Scrape:
        """A scrape for which a condition holds; TimeoutError after TIMEOUT_S, with the last scrape."""
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + TIMEOUT_S
        while not holds(scrape := await self.scrape()):
            if loop.time() >= give_up_at:
                raise TimeoutError(scrape.text)
            await asyncio.sleep(POLL_S)
        return scrape


def probe_of(process: FleetProcess) -> Probe:
    """The probes of a process that has logged where they are; LookupError when it has not."""
    for line in process.log_text().splitlines():
        if line.startswith("{") and '"event": "probes"' in line:
            return Probe(json.loads(line)["port"])
    raise LookupError(f"{process.name} has logged no probes:\n{process.log_tail()}")


async def probe_when_there(process: FleetProcess) -> Probe:
    """The probes of a process that has just been started; TimeoutError after TIMEOUT_S."""
    async with asyncio.timeout(TIMEOUT_S):
        while '"event": "probes"' not in process.log_text():  # noqa: ASYNC110  (another process writes it)
            await asyncio.sleep(POLL_S)
    return probe_of(process)
