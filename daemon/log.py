"""Log lines: text for people, JSON for machines, the surgery and camera from the context, no credentials in either."""

import logging
import logging.handlers
import re
import sys
from typing import Literal

import structlog
from structlog.typing import EventDict, WrappedLogger

# Libraries whose own lines repeat what ours say, or say more than they may: httpx whole URLs, aiosqlite whole rows.
QUIET = ("alembic", "aiosqlite", "httpcore", "httpx", "uvicorn.access")
_CREDENTIALS = re.compile(r"(?<=://)[^/\s@]+@")


def configure(level: str, form: Literal["text", "json"]) -> None:
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=False),
        structlog.processors.format_exc_info,
        _redact,
    ]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer(ensure_ascii=False)
        if form == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=0)
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for name in QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


def bind(**context: str) -> None:
    """Add to the context of every later line of this task."""
    structlog.contextvars.bind_contextvars(**context)


def _redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    for key, value in event.items():
        if isinstance(value, str) and "://" in value:
            event[key] = _CREDENTIALS.sub("***@", value)
    return event
