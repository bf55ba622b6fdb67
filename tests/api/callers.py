"""Clients that call the API with tokens of both roles."""

from collections.abc import Collection

from django.test import Client

from replication.models import ActorKind, ReplicationRule, TokenRole
from replication.operations import api_tokens
from replication.operations.audit import Actor


def a_caller(name: str, role: TokenRole, *, rules: Collection[ReplicationRule] = ()) -> Client:
    """A client with a new token of this name and role, bound to these rules if there are any."""
    by = Actor(ActorKind.USER, "tests")
    made = api_tokens.create(name, role=role, by=by, ends_at=None, rules=rules)
    return with_token(made.secret)


def with_token(secret: str) -> Client:
    return Client(headers={"Authorization": f"Bearer {secret}"})
