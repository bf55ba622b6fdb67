"""Callers of the API with tokens of both roles."""

from django.test import Client

from replication import tokens
from replication.audit import Actor
from replication.models import ActorKind, TokenRole


def a_caller(name: str, role: TokenRole) -> Client:
    """A client with a new token of that name and role."""
    made = tokens.create(name, role=role, by=Actor(ActorKind.USER, "tests"))
    return with_token(made.secret)


def with_token(secret: str) -> Client:
    return Client(headers={"Authorization": f"Bearer {secret}"})
