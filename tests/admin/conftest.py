import pytest
from django.contrib.auth.models import User
from django.test import Client

from tests.support.browser import browser, open_page
from tests.support.groups import client_of_group
from tests.support.story import Service, make_service

__all__ = ["browser", "open_page"]


@pytest.fixture
def service(db: None) -> Service:
    return make_service()


@pytest.fixture
def operator_client(db: None) -> Client:
    """A client of a user who may do everything."""
    client = Client()
    client.force_login(User.objects.create_superuser("operator", "", "operator"))
    return client


@pytest.fixture
def viewer_client(db: None) -> Client:
    """A client of a user who may view everything and change nothing."""
    return client_of_group("Viewer")
