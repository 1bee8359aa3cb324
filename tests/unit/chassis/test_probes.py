"""The small HTTP server behind the probes, against a real client and bad ones."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from flotilla.chassis import probes as probes_module
from flotilla.chassis.metrics import Gauge, registry_of
from flotilla.chassis.probes import CONNECTIONS_MAX, REQUEST_BYTES_MAX, Probes, beating, probes_served
from flotilla.contracts.errors import SettingsError
from flotilla.testkit.probe_client import Probe


class Served:
    """Probes, and their port."""

    def __init__(self, probes: Probes, port: int) -> None:
        self.probes = probes
        self.port = port
        self.probe = Probe(port)

    async def say(self, text: bytes) -> bytes:
        """What comes back for these bytes until the server closes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(text)
        answer = await asyncio.wait_for(reader.read(), 5)
        writer.close()
        return answer


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    """
    Probes on a free port.
    """
    probes = Probes(registry_of())
    async with probes_served(probes, host="127.0.0.1", port=0) as port:
        assert port
        yield Served(probes, port)


async def test_a_service_is_live_and_not_ready_until_it_says_so(served: Served):
    """
    Starting up is no reason to be killed.
    """
    before = await served.probe.status("/livez"), await served.probe.status("/readyz")
    served.probes.ready = lambda: True
    served.probes.live = lambda: False

    assert (200, 503) == before
    assert (503, 200) == (await served.probe.status("/livez"), await served.probe.status("/readyz"))


async def test_a_heartbeat_that_stopped_is_no_life():
    """
    By the loop's clock.
    """
    now = asyncio.get_running_loop().time()

    assert beating(lambda: now)()
    assert not beating(lambda: now - 10.5)()
    assert beating(lambda: now - 10.5, within_s=20)()


async def test_a_path_that_is_none_says_which_are(served: Served):
    """
    And a method that is none; HEAD and a query are fine.
    """
    status, text = await served.probe.get("/")

    assert (404, "try /livez, /readyz or /metrics\n") == (status, text)
    assert (405, "only GET and HEAD\n") == await served.probe.get("/livez", "POST")
    assert (200, "") == await served.probe.get("/livez", "HEAD")
    assert 200 == await served.probe.status("/livez?verbose")


@pytest.mark.parametrize(
    "text", [b"\r\n\r\n", b"GET /livez\r\n\r\n", b"\xff\xff\r\n\r\n", b"x" * REQUEST_BYTES_MAX * 3]
)
async def test_what_is_not_http_is_refused(served: Served, text: bytes):
    """
    And the server goes on.
    """
    assert (await served.say(text)).startswith(b"HTTP/1.1 400 ")
    assert 200 == await served.probe.status("/livez")


async def test_a_client_that_says_nothing_is_dropped(served: Served, monkeypatch: pytest.MonkeyPatch):
    """
    After a while; here a short one.
    """
    monkeypatch.setattr(probes_module, "REQUEST_TIMEOUT_S", 0.1)

    assert b"" == await served.say(b"GET /livez")


async def test_slow_clients_do_not_keep_a_probe_out(served: Served):
    """
    Who holds all connections open, however often, loses the oldest to a request that comes whole.
    """
    held = [await asyncio.open_connection("127.0.0.1", served.port) for _ in range(2 * CONNECTIONS_MAX)]
    for _, writer in held:
        writer.write(b"GET /livez HTTP/1.1\r\n")

    started = asyncio.get_running_loop().time()
    statuses = [await served.probe.status("/livez") for _ in range(3)]

    assert [200] * 3 == statuses
    assert asyncio.get_running_loop().time() - started < probes_module.REQUEST_TIMEOUT_S
    assert served.probes.connections <= CONNECTIONS_MAX
    for _, writer in held:
        writer.close()


async def test_a_reading_that_fails_is_an_answer_too():
    """
    The connection is not left open, and the next request is served.
    """

    def broken() -> list[tuple[tuple[str, ...], float]]:
        raise RuntimeError

    probes = Probes(registry_of(Gauge("x", "x", (), broken)))
    async with probes_served(probes, host="127.0.0.1", port=0) as port:
        probe = Probe(port or 0)

        assert 500 == await probe.status("/metrics")
        assert 200 == await probe.status("/livez")


async def test_a_port_in_use_is_a_wrong_setting(served: Served):
    """
    Named, like every other.
    """
    with pytest.raises(SettingsError, match="setting FLOTILLA_HTTP_PORT: cannot listen on "):
        async with probes_served(Probes(registry_of()), host="127.0.0.1", port=served.port):
            pytest.fail("it was given")


async def test_no_port_is_no_server():
    """
    Probes are for those who ask for them.
    """
    async with probes_served(Probes(registry_of()), host="127.0.0.1", port=None) as port:
        assert port is None
