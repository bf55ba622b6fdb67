"""The commands by which documents and the image start the web server."""

import json
import re
import shlex
import sys

from tests.support.paths import REPOSITORY


def of_readme() -> list[str]:
    """The arguments of `manage.py` in README."""
    text = (REPOSITORY / "README.md").read_text()
    line = re.search(r"^(.+?)\s+# admin, status page, API$", text, re.MULTILINE)
    assert line
    return _runnable(shlex.split(line[1]))


def of_image() -> list[str]:
    """The arguments of the image's CMD."""
    text = (REPOSITORY / "Dockerfile").read_text()
    command = re.search(r"^CMD (\[.+?\])$", text, re.MULTILINE | re.DOTALL)
    assert command
    return _runnable(json.loads(command[1].replace("\\\n", "")))


def _runnable(command: list[str]) -> list[str]:
    """The command with this Python's programs, on a free port of loopback."""
    program, *arguments = command
    if "--bind" in arguments:
        at = arguments.index("--bind")
        del arguments[at : at + 2]
    runs = ["manage.py"] if program.endswith("manage.py") else ["-m", program]
    return [sys.executable, *runs, *arguments, "--bind=127.0.0.1:0"]
