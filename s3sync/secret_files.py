"""Reads secret settings from files, as Docker and Kubernetes mount them. No message has a value.

`S3SYNC_SECRET_KEY_FILE` names the file that has the value of `S3SYNC_SECRET_KEY`. A variable can be
read in more places than a file: by `docker inspect`, in `/proc`, in reports of crashes.
"""

import os
from collections.abc import Iterable
from pathlib import Path

SUFFIX = "_FILE"
_MAX_BYTES = 64 * 1024


def read(variables: Iterable[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return the values that files have, and what is wrong with the other files; by variable.

    Args:
        variables: the names without `_FILE`.
    """
    values: dict[str, str] = {}
    problems: dict[str, str] = {}
    for variable in variables:
        file = os.environ.get(variable + SUFFIX, "")
        if not file:
            continue
        if os.environ.get(variable):
            problems[variable] = f"{variable} is set, too; keep one of the two and unset the other"
            continue
        try:
            value = _content(Path(file))
        except OSError as error:
            problems[variable] = (
                f"the file can't be read ({error.strerror or type(error).__name__}); correct the "
                "path, or let the service's user read the file"
            )
        except UnicodeDecodeError:
            problems[variable] = "the file is not text in UTF-8; write the value alone into it"
        except ValueError as error:
            problems[variable] = f"the file is {error}; write the value alone into a file"
        else:
            if value:
                values[variable] = value
            else:
                problems[variable] = "the file is empty; write the value into it"
    return values, problems


def _content(file: Path) -> str:
    """
    Raises:
        OSError: it can't be read.
        ValueError: it is a pipe, which would be waited for, a device, too long, or no text.
    """
    if file.exists() and not (file.is_file() or file.is_dir()):
        raise ValueError("a pipe or a device")
    with file.open("rb") as opened:
        content = opened.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise ValueError(f"longer than {_MAX_BYTES} bytes")
    return content.decode("utf-8-sig").strip()
