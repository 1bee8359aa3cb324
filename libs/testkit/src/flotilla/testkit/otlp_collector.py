"""
A collector of traces: a real HTTP server that takes OTLP as a collector does, and keeps what it was sent.

    async with otlp_collector() as collector:
        ...                                     # with OTEL_EXPORTER_OTLP_ENDPOINT=collector.url
        await collector.until(lambda seen: seen.named("flotilla.task"))
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from flotilla.testkit.patient_client import WAIT_S

SPANS_MAX: Final = 100_000


class SeenSpan:
    """
    One span as it came over the wire.

    Attributes:
        trace: The trace id in hexadecimal; so `span` and `parent`, which is "" for a root.
        kind: As OTLP numbers it: 1 internal, 2 server, 3 client, 4 producer, 5 consumer.
        error: The status's text; "" when the status is no error.
        service: The resource's `service.name`.
        resource: The resource's attributes.
    """

    def __init__(self, span: Any, resource: dict[str, Any]) -> None:
        self.name: Final[str] = span.name
        self.trace: Final[str] = span.trace_id.hex()
        self.span: Final[str] = span.span_id.hex()
        self.parent: Final[str] = span.parent_span_id.hex()
        self.kind: Final[int] = span.kind
        self.tracestate: Final[str] = span.trace_state
        self.error: Final[str] = span.status.message if span.status.code == span.status.STATUS_CODE_ERROR else ""
        self.attributes: Final[dict[str, Any]] = _plain(span.attributes)
        self.resource: Final = resource
        self.service: Final[str] = resource.get("service.name", "")
        self.started_ns: Final[int] = span.start_time_unix_nano
        self.ended_ns: Final[int] = span.end_time_unix_nano


class OtlpCollector:
    """
    What it was sent.

    Attributes:
        url: For OTEL_EXPORTER_OTLP_ENDPOINT.
        spans: In order of arrival.
        bodies: Of every request; aiohttp has decompressed them.
        requests: The paths asked for, refused ones included.
        status: What it answers; other than 200 nothing is kept but the path.
    """

    def __init__(self) -> None:
        self.url = ""
        self.status = 200
        self.spans: Final[list[SeenSpan]] = []
        self.bodies: Final[list[bytes]] = []
        self.requests: Final[list[str]] = []
        self._changed = asyncio.Condition()

    def named(self, name: str) -> list[SeenSpan]:
        """The spans of a name."""
        return [span for span in self.spans if span.name == name]

    def of_task(self, task: str) -> list[SeenSpan]:
        """The spans of the trace that a task is in."""
        traces = {span.trace for span in self.spans if span.attributes.get("flotilla.task.id") == task}
        return [span for span in self.spans if span.trace in traces]

    async def until(self, holds: Callable[["OtlpCollector"], object], timeout_s: float = WAIT_S) -> None:
        """Return when a condition holds of what has come; TimeoutError with the names of what came."""
        try:
            async with asyncio.timeout(timeout_s), self._changed:
                await self._changed.wait_for(lambda: bool(holds(self)))
        except TimeoutError:
            names = [(span.service, span.name, span.error) for span in self.spans[-30:]]
            raise TimeoutError(f"after {len(self.requests)} requests there are {names}") from None

    async def take(self, request: web.Request) -> web.Response:
        """Take one batch."""
        body = await request.read()
        self.requests.append(request.path)
        if self.status == 200 and len(self.spans) < SPANS_MAX:  # noqa: PLR2004
            self.bodies.append(body)
            for of_resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                resource = _plain(of_resource.resource.attributes)
                for of_scope in of_resource.scope_spans:
                    self.spans.extend(SeenSpan(span, resource) for span in of_scope.spans)
        async with self._changed:
            self._changed.notify_all()
        return web.Response(
            status=self.status,
            body=ExportTraceServiceResponse().SerializeToString(),
            content_type="application/x-protobuf",
        )


@asynccontextmanager
async def otlp_collector() -> AsyncGenerator[OtlpCollector]:
    """Listen on a free port of the loopback while the block runs."""
    collector = OtlpCollector()
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_route("*", "/{path:.*}", collector.take)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        collector.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield collector
    finally:
        await runner.cleanup()


def _plain(attributes: Any) -> dict[str, Any]:
    pairs: list[KeyValue] = list(attributes)
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> Any:
    which = value.WhichOneof("value")
    return None if which is None else getattr(value, which)
