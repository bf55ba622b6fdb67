"""A client that is allowed to call."""

import pytest
from django.conf import settings
from django.test import Client


@pytest.fixture
def caller() -> Client:
    token = settings.S3SYNC.api_tokens[0]
    return Client(headers={"Authorization": f"Bearer {token}"})
