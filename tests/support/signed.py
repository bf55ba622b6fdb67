"""The Lambda function as the tests run it, and calls signed as it signs them."""

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
def the_function() -> ModuleType:
    """deploy/lambda/handler.py, which is in no package of ours."""
    return load(HANDLER)


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"lambda_{path.stem}", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Context:
    """As much of Lambda's context as the function asks for."""

    def __init__(self, seconds: float = 30) -> None:
        self.seconds = seconds

    def get_remaining_time_in_millis(self) -> int:
        return int(self.seconds * 1000)


def authorization(body: bytes, *, key: str = LAMBDA_KEY, seconds_ago: float = 0) -> str:
    """The Authorization header that the function sends with this body."""
    header: str = the_function().sign(body, key=key.encode(), now=time.time() - seconds_ago)
    return header


def s3_event(*keys: str, bucket: str = "photos-bucket") -> dict[str, Any]:
    """What S3 invokes a function with; the keys are form-encoded."""
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
