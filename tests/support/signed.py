"""The Lambda function as a module for tests, and calls signed as the function signs them."""

import importlib.util
import time
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.support.environment import LAMBDA_KEY
from tests.support.paths import REPOSITORY

HANDLER = REPOSITORY / "deploy" / "lambda" / "handler.py"


@cache
def lambda_function() -> ModuleType:
    """deploy/lambda/handler.py, which is not in a package."""
    return load(HANDLER)


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"lambda_{path.stem}", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Context:
    """The part of Lambda's context that the function uses."""

    def __init__(self, seconds: float = 30) -> None:
        self.seconds = seconds

    def get_remaining_time_in_millis(self) -> int:
        return int(self.seconds * 1000)


def authorization(body: bytes, *, key: str = LAMBDA_KEY, seconds_ago: float = 0) -> str:
    """The Authorization header that the function sends with this body."""
    header: str = lambda_function().sign(body, key=key.encode(), now=time.time() - seconds_ago)
    return header


def s3_event(*keys: str, bucket: str = "photos-bucket") -> dict[str, Any]:
    """The event with which S3 invokes a function; pass the keys form-encoded."""
    records = [
        {
            "eventVersion": "2.1",
            "eventSource": "aws:s3",
            "eventName": "ObjectCreated:Put",
            "s3": {"bucket": {"name": bucket}, "object": {"key": key}},
        }
        for key in keys
    ]
    return {"Records": records}
