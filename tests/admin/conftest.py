import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from tests.admin.story import Service, make_service
from tests.browser import browser, open_page

__all__ = ["browser", "open_page"]


@pytest.fixture
def service(db: None) -> Service:
    return make_service()


@pytest.fixture
def operator_client(db: None) -> Client:
    """Somebody who may do everything."""
    return _client(User.objects.create_superuser("operator", "", "operator"))


@pytest.fixture
def viewer_client(db: None) -> Client:
    """Somebody who may look at everything, and change nothing."""
    user = User.objects.create_user("viewer", "", "viewer", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
    return _client(user)


def _client(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client
