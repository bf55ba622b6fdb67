"""A client with a valid token, and one of a user who may do everything in the admin."""

import pytest
from django.conf import settings
from django.test import Client

from tests.admin.conftest import operator_client

__all__ = ["operator_client"]


@pytest.fixture
def caller() -> Client:
    token = settings.S3SYNC.api_tokens[0]
    return Client(headers={"Authorization": f"Bearer {token}"})
