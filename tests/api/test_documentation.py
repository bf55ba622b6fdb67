"""docs/reference/api.md describes every endpoint, every error and every problem."""

import json
import re

from django.conf import settings
from django.test import Client
from django.urls import URLPattern, get_resolver

from replication.admin.status_page import PROBLEM_LISTS
from replication.api.openapi import as_text
from s3sync.middleware import ProbeMiddleware

DOCUMENT = (settings.BASE_DIR / "docs/reference/api.md").read_text()


def test_every_endpoint_is_documented(client: Client):
    schema = client.get("/api/v1/openapi.json").json()
    endpoints = {
        f"{method.upper()} {path}"
        for path, operations in schema["paths"].items()
        for method in operations
    }
    endpoints.add("GET /api/v1/openapi.json")
    endpoints |= {f"GET {path}" for path in ProbeMiddleware.PROBES}
    # Pages: the patterns of urls.py other than the root, the API and the admin.
    endpoints |= {
        f"GET /{pattern.pattern}"
        for pattern in get_resolver().url_patterns
        if isinstance(pattern, URLPattern) and str(pattern.pattern)
    }
    assert set(re.findall(r"^## `(.+)`$", DOCUMENT, re.MULTILINE)) == endpoints


def test_the_openapi_file_is_what_the_code_says():
    assert (settings.BASE_DIR / "docs/reference/openapi.json").read_text() == as_text(), (
        "make openapi"
    )


def test_every_error_is_documented():
    source = "".join(
        path.read_text() for path in (settings.BASE_DIR / "replication" / "api").glob("*.py")
    )
    errors = set(re.findall(r'(?:[Rr]efused|refuse)\(\s*(?:\d+,\s*)?"(\w+)"', source))
    assert errors == set(re.findall(r"^\| \d+ \| `(\w+)`", DOCUMENT, re.MULTILINE)), errors


def test_every_problem_is_documented():
    assert set(re.findall(r"^\| `(\w+)` \|", DOCUMENT, re.MULTILINE)) - {"code"} == set(
        PROBLEM_LISTS
    )


def test_the_examples_are_json():
    for example in re.findall(r"```json\n(.*?)```", DOCUMENT, re.DOTALL):
        json.loads(example)
