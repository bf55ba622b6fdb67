"""The API's description, as stored in docs/reference/openapi.json."""

import json

from replication.api import api


def as_text() -> str:
    """OpenAPI 3.1 in the order of the code, so that a diff shows only changes of the API."""
    return json.dumps(api.get_openapi_schema(), indent=1, ensure_ascii=False) + "\n"
