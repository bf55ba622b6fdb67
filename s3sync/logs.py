"""Writes logs as JSON lines to standard error, with secrets redacted."""

import logging
import logging.config
import os
import re
from functools import cache
from json import JSONEncoder
from typing import Any

import structlog
from structlog.typing import EventDict, WrappedLogger

# The value of a field with such a name is never logged, whatever its origin.
_SECRET_NAME = re.compile(
    r"secret|password|token|authorization|signature|credential", re.IGNORECASE
)
REDACTED = "[redacted]"

# What steers a terminal or turns text around: keys and answers of others may have it. JSON itself
# escapes only the first of the controls.
_STEERING = re.compile(r"[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")

_ENCODER = JSONEncoder(ensure_ascii=False, default=str)
_STDERR = 2


@cache
def _is_secret(name: str) -> bool:
    return bool(_SECRET_NAME.search(name))


def _redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    return {name: REDACTED if _is_secret(name) else value for name, value in event.items()}


def _as_json(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    line = _ENCODER.encode(event)
    return _STEERING.sub(lambda found: f"\\u{ord(found[0]):04x}", line)


_SHARED: list[Any] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    _redact,
    structlog.processors.format_exc_info,
]


class StderrLogger:
    """Writes s3sync's own events without the standard library's logging.

    That takes several times as long per line, and a lane writes a line for each object.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def msg(self, line: str) -> None:
        """Write a line with one call, so that lines of threads and processes do not mix."""
        os.write(_STDERR, f"{line}\n".encode(errors="backslashreplace"))

    debug = info = warning = error = critical = exception = msg


def logging_config(*, level: str) -> None:
    """Give the standard library's logging and structlog the same format. Call once, at start."""
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {
                "json": {
                    "()": structlog.stdlib.ProcessorFormatter,
                    "foreign_pre_chain": _SHARED,
                    "processors": [
                        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                        _as_json,
                    ],
                }
            },
            "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
            "root": {"handlers": ["stderr"], "level": level},
            "loggers": {
                # At DEBUG these loggers print tokens and signed headers.
                "oss2": {"level": "WARNING"},
                "botocore": {"level": "WARNING"},
                # It logs each renewal that failed with a traceback; stores/aws_renewal.py says it.
                "botocore.credentials": {"level": "ERROR"},
                "boto3": {"level": "WARNING"},
                "urllib3": {"level": "ERROR"},
                # django-q reports every renewal of a loop at INFO.
                "django-q": {"level": "WARNING", "handlers": ["stderr"], "propagate": False},
                "django.request": {"level": "ERROR"},
                # It masks name and address; replication/operations/logins_audit.py does not.
                "axes": {"level": "ERROR"},
            },
        }
    )
    structlog.configure(
        processors=[*_SHARED, _as_json],
        logger_factory=StderrLogger,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
