"""`manage.py apitoken create|list|revoke`"""

from argparse import ArgumentParser
from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError

from replication.models import ApiToken, TokenRole
from replication.operations import api_tokens
from replication.operations.audit import command_line_actor


class Command(BaseCommand):
    help = "Creates, lists and revokes the tokens that may call the API and /metrics."

    def add_arguments(self, parser: ArgumentParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True, metavar="create|list|revoke")
        create = verbs.add_parser("create", help="create a token; its secret is shown once")
        create.add_argument("name", help="lower-case letters, digits and hyphens")
        create.add_argument(
            "--role",
            choices=TokenRole.values,
            default=TokenRole.READ.value,
            help=f"what the token may do (default: {TokenRole.READ.value})",
        )
        verbs.add_parser("list", help="list all tokens, without their secrets")
        revoke = verbs.add_parser(
            "revoke", help="revoke a token for good: it is refused from now on"
        )
        revoke.add_argument("name")

    def handle(self, *args: Any, **options: Any) -> None:
        verb = {"create": self._create, "list": self._list, "revoke": self._revoke}
        verb[options["verb"]](**options)

    def _create(self, *, name: str, role: str, **_: Any) -> None:
        try:
            made = api_tokens.create(name, role=TokenRole(role), by=command_line_actor())
        except ValidationError as error:
            raise CommandError(f"The token {name!r} was not created: {_in_words(error)}") from error
        self.stderr.write(f"Token {name}, role {role}. Keep the secret: it can't be shown again.")
        self.stdout.write(made.secret)

    def _list(self, **_: Any) -> None:
        for token in ApiToken.objects.all():
            state = f"revoked {_moment(token.revoked_at)}" if token.revoked_at else "valid"
            used = (
                f"last used {_moment(token.last_used_at)}" if token.last_used_at else "never used"
            )
            self.stdout.write(f"{token.name}  {token.role}  {token.prefix}…  {state}  {used}")

    def _revoke(self, *, name: str, **_: Any) -> None:
        chosen = ApiToken.objects.filter(name=name)
        if not chosen.exists():
            raise CommandError(
                f"There is no token named {name!r}; `apitoken list` shows all names."
            )
        if not api_tokens.revoke(chosen, by=command_line_actor()):
            raise CommandError(f"The token {name!r} is already revoked.")
        self.stdout.write(f"Token {name} is revoked: it is refused from now on.")


def _moment(when: datetime) -> str:
    return f"{when:%Y-%m-%d %H:%M} UTC"


def _in_words(error: ValidationError) -> str:
    return " ".join(
        f"{field}: {' '.join(messages)}" for field, messages in error.message_dict.items()
    )
