"""Traces by OpenTelemetry: what a collector in trouble costs whoever leaves, and what it is not told."""

import asyncio
import threading
from pathlib import Path

import pytest

from flotilla.chassis import otlp
from flotilla.chassis.tracing import NO_SPAN
from flotilla.testkit.raw_http import RawHttpServer, RawRequest, whole


async def test_a_collector_that_does_not_answer_is_waited_for_no_longer_than_the_bound(monkeypatch: pytest.MonkeyPatch):
    """
    Though the shutdown of OpenTelemetry takes as long as it likes.
    """
    monkeypatch.setattr(otlp, "FLUSH_S", 0.05)
    tracer = otlp.OtlpTracer(service="s", instance="i", attributes={})
    provider = tracer._provider  # pyright: ignore[reportPrivateUsage]
    shut_down = provider.shutdown
    goes_on = threading.Event()
    monkeypatch.setattr(provider, "shutdown", goes_on.wait)

    await asyncio.wait_for(tracer.aclose(), 60)

    goes_on.set()
    shut_down()


async def collect(_request: RawRequest, writer: asyncio.StreamWriter) -> None:
    """As a collector answers that has taken everything."""
    writer.write(whole(b""))


@pytest.mark.parametrize(("headers", "told"), [("", None), ("authorization=Bearer%20mine", "Bearer mine")])
async def test_a_collector_is_told_no_password_that_is_in_a_file_of_ones_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, headers: str, told: str | None
):
    """
    Its `default` is for any host; what the operator says for the collector stands.
    """
    netrc = tmp_path / "netrc"
    netrc.write_text("default login me password of-another-host\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", headers)
    async with RawHttpServer(collect) as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        monkeypatch.setattr(otlp, "FLUSH_S", 60.0)
        tracer = otlp.OtlpTracer(service="s", instance="i", attributes={})
        tracer.begin("step", "internal", {}, parent=NO_SPAN).end({})
        await tracer.aclose()

    assert [told] == [request.headers.get("authorization") for request in collector.requests]
