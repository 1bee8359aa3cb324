"""
Structured logs on standard error: one JSON object a line, or columns for people on a terminal.

Log events are snake_case nouns with keys. Never prompt text, never document text, never keys. The libraries below the
chassis log through `logging`; their `extra` becomes keys too. An exception is logged as where and what kind; its text only
where that is known to be safe, since others may quote what they choked on.
"""

import asyncio
import json
import logging
import sys
import traceback
from pathlib import Path
from typing import Any, Final

from flotilla.chassis.plain_structlog import EventDict, ExcInfo, Processor, WrappedLogger, structlog
from flotilla.chassis.terminal_text import clean
from flotilla.contracts.errors import FlotillaError
from flotilla.contracts.providers import PROVIDERS

FRAMES_MAX: Final = 8
CAUSES_MAX: Final = 5

_STANDARD: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


def _extras(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    record: Any = event.get("_record")
    if record is not None:
        event.update({key: value for key, value in record.__dict__.items() if key not in _STANDARD})
    return event


def _cleaned(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Nothing that another member sent reaches a terminal unescaped."""
    # Anything but a string is shown as `repr` shows it, which escapes.
    return {name: clean(value) if isinstance(value, str) else value for name, value in event.items()}


_ENCODER: Final = json.JSONEncoder(default=repr)


def _json_line(_: WrappedLogger, __: str, event: EventDict) -> str:
    return _ENCODER.encode(event)


def configure_logs(*, service: str, instance: str, level: str = "info") -> None:
    """Send every log of the process to standard error, with the service and its instance on each line."""

    def identity(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        event["service"] = service
        event["instance"] = instance
        return event

    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        identity,
    ]
    people = sys.stderr.isatty()
    render: Processor = structlog.dev.ConsoleRenderer() if people else _json_line
    last: list[Processor] = [
        structlog.processors.ExceptionRenderer(safe_traceback),
        *((_cleaned,) if people else ()),
        render,
    ]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*shared, _extras],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for noisy in ("httpx", "httpx2", "httpcore", "httpcore2", "nats", "urllib3", *(one.extra for one in PROVIDERS)):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    # Not through `logging`: its records and handlers cost three times as much as all of this, with every durable task.
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(root.level),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def where(error: BaseException) -> list[str]:
    """
    Where an exception was raised, the innermost frames last, without its text.

    For exceptions out of code that handles documents: their text, and what a traceback quotes, may be a document's.
    """
    frames = traceback.extract_tb(error.__traceback__)[-FRAMES_MAX:]
    return [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]


def safe_traceback(exc_info: ExcInfo) -> str:
    """
    An exception and what caused it, the first one on top: `where` of each, and its class.

    At most CAUSES_MAX of them. The text stands only with the project's own errors and the system's.
    """
    error: BaseException | None = exc_info[1]
    parts: list[str] = []
    while error is not None and len(parts) < CAUSES_MAX:
        parts.append("\n".join([*where(error), _named(error)]))
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "\n\n".join(reversed(parts))


def log_loop_errors(loop: asyncio.AbstractEventLoop) -> None:
    """Have errors that nobody awaited logged like others: asyncio's own line has their text, and arguments."""
    loop.set_exception_handler(_on_loop_error)


def _on_loop_error(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    what = str(context.get("message", "")).partition("<")[0].partition("(")[0][:80]
    logger = structlog.get_logger("asyncio")
    logger.error("loop_error", what=what.strip(), exc_info=context.get("exception"))


def _named(error: BaseException) -> str:
    kind = type(error)
    name = f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
    if isinstance(error, FlotillaError):
        return f"{name}: {error}"
    if isinstance(error, OSError) and error.strerror:
        return f"{name}: [Errno {error.errno}] {error.strerror}"
    return name
