"""
Traces by OpenTelemetry's SDK, sent in batches by a thread of its own to a collector over OTLP/HTTP.

Imported only when traces are on. A collector that is slow, full or gone costs spans and never a task: the queue is bounded
(OTEL_BSP_MAX_QUEUE_SIZE, 2048), what does not fit is dropped, and trouble is logged once a minute at most.
"""

import asyncio
import logging
import threading
import time
from contextlib import suppress
from typing import Final

import requests
from opentelemetry import trace
from opentelemetry.context import Context as OtelContext
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from flotilla.chassis.plain_structlog import structlog
from flotilla.chassis.tracing import Attributes, Context, SpanKind

FLUSH_S: Final = 2.0
TROUBLE_EVERY_S: Final = 60.0

logger = structlog.get_logger("traces")

_PROPAGATOR: Final = TraceContextTextMapPropagator()
_KINDS: Final[dict[SpanKind, trace.SpanKind]] = {
    "server": trace.SpanKind.SERVER,
    "consumer": trace.SpanKind.CONSUMER,
    "client": trace.SpanKind.CLIENT,
    "internal": trace.SpanKind.INTERNAL,
}


class _Session(requests.Session):
    """
    Sends no password of `~/.netrc`, whose `default` entry is for any host, and which would replace the operator's own header.

    Proxies and certificates of the environment stay in force: for these there is a variable that somebody has set.
    """

    def prepare_request(self, request: requests.Request) -> requests.PreparedRequest:
        """Prepare without the environment, of which nothing but that file is looked for here."""
        self.trust_env = False
        try:
            return super().prepare_request(request)
        finally:
            self.trust_env = True


class OtlpSpan:
    """A span of OpenTelemetry's."""

    __slots__ = ("span",)

    def __init__(self, span: trace.Span) -> None:
        self.span: Final = span

    @property
    def traceparent(self) -> str | None:
        """For what is done elsewhere under this span."""
        at = self.span.get_span_context()
        return f"00-{at.trace_id:032x}-{at.span_id:016x}-{int(at.trace_flags):02x}"

    @property
    def tracestate(self) -> str | None:
        """As the caller gave it."""
        return self.span.get_span_context().trace_state.to_header() or None

    def end(self, attributes: Attributes, *, error: str = "") -> None:
        """End it; `error` becomes its status and `error.type`."""
        span = self.span
        if not span.is_recording():
            return
        span.set_attributes(dict(attributes))
        if error:
            span.set_attribute("error.type", error)
            span.set_status(trace.StatusCode.ERROR, error)
        span.end()


class OtlpTracer:
    """Begins spans and sends those that have ended."""

    on: bool = True

    def __init__(self, *, service: str, instance: str, attributes: Attributes) -> None:
        own = {"service.namespace": "flotilla", "service.name": service, "service.instance.id": instance, **attributes}
        # What the operator says in OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES comes last: it wins.
        resource = Resource.create().merge(Resource(own)).merge(OTELResourceDetector().detect())
        _listen_to_trouble()
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(session=_Session())))
        self._tracer = self._provider.get_tracer("flotilla")

    def begin(self, name: str, kind: SpanKind, attributes: Attributes, *, parent: Context) -> OtlpSpan:
        """Begin a span; see `Tracer`."""
        span = self._tracer.start_span(name, _context(parent), _KINDS[kind], dict(attributes))
        return OtlpSpan(span)

    async def aclose(self) -> None:
        """Send what is queued, for FLUSH_S at most; then nothing more is sent."""
        loop = asyncio.get_running_loop()
        done = loop.create_future()

        def shut_down() -> None:
            self._provider.shutdown()
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(done.set_result, None)

        # Neither the SDK's shutdown (30 s) nor a thread of the loop's executor, which its end would wait for.
        threading.Thread(target=shut_down, name="traces-flush", daemon=True).start()
        await asyncio.wait([done], timeout=FLUSH_S)


def _context(parent: Context) -> OtelContext:
    if isinstance(parent, OtlpSpan):
        return trace.set_span_in_context(parent.span, OtelContext())
    if parent.traceparent is None:
        return OtelContext()
    return _PROPAGATOR.extract(
        {"traceparent": parent.traceparent, "tracestate": parent.tracestate or ""}, OtelContext()
    )


class Trouble(logging.Handler):
    """Turns whatever OpenTelemetry logs into one line of ours a minute, without the texts of errors."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._quiet_until = 0.0
        self._unsaid = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Say it, or count it."""
        now = time.monotonic()
        if now < self._quiet_until:
            self._unsaid += 1
            return
        self._quiet_until = now + TROUBLE_EVERY_S
        unsaid, self._unsaid = self._unsaid, 0
        logger.warning("traces_not_sent", detail=_safe(record), unsaid=unsaid)


def _safe(record: logging.LogRecord) -> str:
    given = record.args if isinstance(record.args, tuple) else ()
    shown = tuple(type(value).__name__ if isinstance(value, BaseException) else value for value in given)
    with suppress(TypeError, ValueError):
        return str(record.msg) % shown
    return str(record.msg)


def _listen_to_trouble() -> None:
    theirs = logging.getLogger("opentelemetry")
    theirs.propagate = False
    theirs.handlers[:] = [Trouble()]
