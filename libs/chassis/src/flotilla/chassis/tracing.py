"""
Traces: one from the caller's `traceparent` through every service to the model.

Off unless the standard variable OTEL_EXPORTER_OTLP_ENDPOINT (or ..._TRACES_ENDPOINT) says where a collector listens. This
is only the port: nothing of OpenTelemetry is imported while traces are off. `otlp.py` stands behind it when they are on.
"""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Final, Literal, Protocol

from flotilla.chassis.plain_structlog import structlog
from flotilla.contracts.errors import SettingsError

SpanKind = Literal["server", "consumer", "client", "internal"]
Attributes = Mapping[str, str | int | float | bool]
"""Names, kinds and numbers only: never a word of a document, a prompt or an answer."""

ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
PROTOCOL: Final = "http/protobuf"

logger = structlog.get_logger("traces")


class Context(Protocol):
    """Where a step stands in its trace, as the W3C headers tell it; task options and attempt options both do."""

    @property
    def traceparent(self) -> str | None:
        """The W3C header; None, or one that is malformed, begins a trace of its own."""
        ...

    @property
    def tracestate(self) -> str | None:
        """The W3C header, if there is one."""
        ...


class Span(Context, Protocol):
    """A step that has begun."""

    def end(self, attributes: Attributes, *, error: str = "") -> None:
        """It is over, now; `error` is the kind of failure, "" when it went well. Only the first call counts."""
        ...


class Tracer(Protocol):
    """Where spans are begun."""

    @property
    def on(self) -> bool:
        """Whether anybody looks; ask before attributes are gathered for `begin`."""
        ...

    def begin(self, name: str, kind: SpanKind, attributes: Attributes, *, parent: Context) -> Span:
        """Begin a step now, under a span of this process or under what a caller's headers say."""
        ...


class NoSpan:
    """A step that nobody looks at."""

    traceparent: str | None = None
    tracestate: str | None = None

    def end(self, attributes: Attributes, *, error: str = "") -> None:
        """Tell nobody: there are no traces."""


class NoTracer:
    """Stands where traces are off: begins spans that tell nobody, and costs next to nothing."""

    on: bool = False

    def begin(self, name: str, kind: SpanKind, attributes: Attributes, *, parent: Context) -> Span:  # noqa: ARG002
        """Give a span that does nothing."""
        return NO_SPAN


NO_SPAN: Final[Span] = NoSpan()
NO_TRACER: Final[Tracer] = NoTracer()


def endpoint_of(environ: Mapping[str, str]) -> str | None:
    """
    The collector that the environment names; None when traces are off.

    Raises:
        SettingsError: It is no HTTP URL, or another protocol than OTLP over HTTP is asked for.
    """
    if environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or environ.get("OTEL_TRACES_EXPORTER") == "none":
        return None
    named = next((name for name in ENDPOINTS if environ.get(name)), None)
    if named is None:
        return None
    protocol = next((name for name in PROTOCOLS if environ.get(name)), None)
    if protocol is not None and environ[protocol] != PROTOCOL:
        raise SettingsError(f"setting {protocol}: only {PROTOCOL} is spoken here")
    if not environ[named].startswith(("http://", "https://")):
        raise SettingsError(f"setting {named}: expected a URL that begins with http:// or https://")
    return environ[named]


@asynccontextmanager
async def traced(
    environ: Mapping[str, str], *, service: str, instance: str, attributes: Attributes | None = None
) -> AsyncGenerator[Tracer]:
    """
    A tracer while the block runs; at its end what is queued is sent, for `otlp.FLUSH_S` at most.

    `attributes` are the resource's, beside `service.*`. Other OTEL_* variables (headers, certificate, compression,
    sampler, batch sizes, resource attributes) mean what the OpenTelemetry specification says.

    Raises:
        SettingsError: See `endpoint_of`; or a value that OpenTelemetry refuses; or it is not installed.
    """
    if endpoint_of(environ) is None:
        yield NO_TRACER
        return
    try:
        from flotilla.chassis.otlp import OtlpTracer  # noqa: PLC0415
    except ImportError:
        raise SettingsError("traces need flotilla-chassis[otel], which is not installed") from None
    try:
        tracer = OtlpTracer(service=service, instance=instance, attributes=attributes or {})
    except ValueError:
        raise SettingsError("settings OTEL_*: a value is not allowed") from None
    logger.info("traces", protocol=PROTOCOL)
    try:
        yield tracer
    finally:
        await tracer.aclose()
