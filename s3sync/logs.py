"""Logs as JSON lines on standard error, with secrets redacted."""

import logging
import logging.config
import re
from typing import Any

import structlog
from structlog.typing import EventDict, WrappedLogger

# Names whose values never reach a log, wherever they come from.
_SECRET_NAME = re.compile(
    r"secret|password|token|authorization|signature|credential", re.IGNORECASE
)
REDACTED = "[redacted]"


def _redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    return {name: REDACTED if _SECRET_NAME.search(name) else value for name, value in event.items()}


_SHARED: list[Any] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    _redact,
    structlog.processors.format_exc_info,
]


def logging_config(*, level: str) -> None:
    """Configure the standard library's logging and structlog alike, once, at start."""
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
                        structlog.processors.JSONRenderer(ensure_ascii=False, default=str),
                    ],
                }
            },
            "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
            "root": {"handlers": ["stderr"], "level": level},
            "loggers": {
                # At DEBUG these print tokens and signed headers.
                "oss2": {"level": "WARNING"},
                "botocore": {"level": "WARNING"},
                "boto3": {"level": "WARNING"},
                "urllib3": {"level": "ERROR"},
                # django-q reports every renewal of a loop at INFO.
                "django-q": {"level": "WARNING", "handlers": ["stderr"], "propagate": False},
                "django.request": {"level": "ERROR"},
            },
        }
    )
    structlog.configure(
        processors=[*_SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
