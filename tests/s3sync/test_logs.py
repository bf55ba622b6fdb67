"""Logs: one JSON object per line, on standard error, with secrets redacted."""

import json
import os
import subprocess
import sys
from typing import Any

from tests.support.paths import REPOSITORY


def logged_by(program: str, *, level: str = "INFO") -> list[dict[str, Any]]:
    """The log lines of a process with the service's logging configuration."""
    prologue = f"from s3sync.logs import logging_config; logging_config(level={level!r})\n"
    done = subprocess.run(
        [sys.executable, "-c", "import logging, structlog\n" + prologue + program],
        cwd=REPOSITORY,
        env={"PATH": os.defpath},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == ""
    return [json.loads(line) for line in done.stderr.splitlines()]


def test_an_event_is_one_line_of_json_with_its_fields() -> None:
    [line] = logged_by(
        "structlog.get_logger('replication.api').info('job.completed', job=7, key='图\\n片')"
    )
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "job.completed",
        "level": "info",
        "logger": "replication.api",
        "job": 7,
        "key": "图\n片",
    }


def test_the_standard_librarys_loggers_write_the_same_format() -> None:
    [line] = logged_by("logging.getLogger('django').warning('%s is %d', 'a', 1)")
    assert (line["event"], line["level"], line["logger"]) == ("a is 1", "warning", "django")


def test_the_line_of_an_exception_has_its_traceback() -> None:
    [line] = logged_by(
        """
try:
    1 / 0
except ZeroDivisionError:
    structlog.get_logger('x').exception('job.failed_unexpectedly', job=7)
"""
    )
    assert "ZeroDivisionError" in line["exception"]
    assert line["job"] == 7


def test_secrets_are_redacted_by_field_name() -> None:
    [line] = logged_by(
        """
structlog.get_logger('x').info('said', access_key_secret='S', Password='S', api_token='S',
    Authorization='S', signature='S', credential='S', key='shown')
"""
    )
    assert line["key"] == "shown"
    hidden = set(line) - {"key", "event", "level", "logger", "timestamp"}
    assert {line[name] for name in hidden} == {"[redacted]"}
    assert len(hidden) == 6


def test_the_level_applies_and_the_sdks_stay_silent_even_at_debug() -> None:
    program = """
for name in ('oss2.api', 'botocore.auth', 'boto3', 'urllib3', 'django-q'):
    logging.getLogger(name).info('signed with a secret')
structlog.get_logger('x').debug('shown at debug')
"""
    assert logged_by(program) == []
    assert [line["event"] for line in logged_by(program, level="DEBUG")] == ["shown at debug"]


def test_values_that_json_does_not_support_are_written_as_text() -> None:
    [line] = logged_by(
        "structlog.get_logger('x').info('said', numbers={1, 1}, error=ValueError('e'))"
    )
    assert line["numbers"] == "{1}"
    assert "ValueError" in line["error"] or line["error"] == "e"


def test_what_steers_a_terminal_is_escaped() -> None:
    """Among others: C1 controls, and what turns the direction of text around."""
    steering = "\x1b\x7f\x9b\u061c\u200f\u2028\u202e\u2066\ufeff"
    done = subprocess.run(
        [
            *(sys.executable, "-c"),
            "import structlog; from s3sync.logs import logging_config; "
            "logging_config(level='INFO'); "
            f"structlog.get_logger('a').info('job.completed', key='图{ascii(steering)[1:-1]}')",
        ],
        cwd=REPOSITORY,
        env={"PATH": os.defpath},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stderr)["key"] == f"图{steering}"
    assert "图" in done.stderr
    assert not any(character in done.stderr for character in steering)
