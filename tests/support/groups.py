"""Users in the groups that a migration creates, even after a test that emptied all tables."""

from importlib import import_module

from django.apps import apps
from django.contrib.auth.models import Group, User
from django.test import Client


def client_of_group(name: str) -> Client:
    """A client in which a new user of this group is logged in."""
    import_module("replication.migrations.0010_groups").make_groups(apps, None)
    user = User.objects.create_user(name.lower(), "", name.lower(), is_staff=True)
    user.groups.add(Group.objects.get(name=name))
    client = Client()
    client.force_login(user)
    return client
