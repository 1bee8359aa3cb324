"""Traces by OpenTelemetry: what a collector in trouble costs whoever leaves."""

import asyncio
import threading

import pytest

from flotilla.chassis import otlp


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
