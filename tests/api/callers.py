"""Clients that call the API with tokens of both roles."""

from django.test import Client

from replication.models import ActorKind, TokenRole
from replication.operations import api_tokens
from replication.operations.audit import Actor


def a_caller(name: str, role: TokenRole) -> Client:
    """A client with a new token of this name and role."""
    made = api_tokens.create(name, role=role, by=Actor(ActorKind.USER, "tests"))
    return with_token(made.secret)


def with_token(secret: str) -> Client:
    return Client(headers={"Authorization": f"Bearer {secret}"})
