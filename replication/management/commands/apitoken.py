"""`manage.py apitoken create|list|revoke`"""

import re
from argparse import ArgumentParser, ArgumentTypeError
from datetime import UTC, datetime, timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from replication.models import ApiToken, ReplicationRule, TokenRole
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
        create.add_argument(
            "--expires",
            metavar="DAYSd|never",
            type=_lifetime,
            default=api_tokens.USUAL_LIFETIME,
            help=f"when the token ends, such as 30d (default: {api_tokens.USUAL_LIFETIME.days}d)",
        )
        create.add_argument(
            "--rule",
            action="append",
            default=[],
            metavar="NAME",
            dest="rules",
            help="bind the token to this rule, and to no other; may be repeated",
        )
        verbs.add_parser("list", help="list all tokens, without their secrets")
        revoke = verbs.add_parser(
            "revoke", help="revoke a token for good: it is refused from now on"
        )
        revoke.add_argument("name")

    def handle(self, *args: Any, **options: Any) -> None:
        verb = {"create": self._create, "list": self._list, "revoke": self._revoke}
        verb[options["verb"]](**options)

    def _create(
        self, *, name: str, role: str, expires: timedelta | None, rules: list[str], **_: Any
    ) -> None:
        ends_at = timezone.now() + expires if expires else None
        try:
            made = api_tokens.create(
                name,
                role=TokenRole(role),
                by=command_line_actor(),
                ends_at=ends_at,
                rules=[_rule(rule) for rule in dict.fromkeys(rules)],
            )
        except ValidationError as error:
            raise CommandError(f"The token {name!r} was not created: {_in_words(error)}") from error
        end = f"ends {_moment(ends_at)}" if ends_at else "has no end"
        self.stderr.write(
            f"Token {name}, role {role}, {end}. Keep the secret: it can't be shown again."
        )
        self.stdout.write(made.secret)

    def _list(self, **_: Any) -> None:
        for token in ApiToken.objects.prefetch_related("rules"):
            used = (
                f"last used {_moment(token.last_used_at)}" if token.last_used_at else "never used"
            )
            self.stdout.write(
                f"{token.name}  {token.role}  {token.prefix}…  {_state(token)}  {used}"
                f"{_bound(token)}"
            )

    def _revoke(self, *, name: str, **_: Any) -> None:
        chosen = ApiToken.objects.filter(name=name)
        if not chosen.exists():
            raise CommandError(
                f"There is no token named {name!r}; `apitoken list` shows all names."
            )
        if not api_tokens.revoke(chosen, by=command_line_actor()):
            raise CommandError(f"The token {name!r} is already revoked.")
        self.stdout.write(f"Token {name} is revoked: it is refused from now on.")


def _lifetime(text: str) -> timedelta | None:
    if text == "never":
        return None
    if not re.fullmatch(r"[1-9][0-9]{0,4}d", text):
        raise ArgumentTypeError(f"{text!r} is neither a number of days such as 30d, nor never")
    return timedelta(days=int(text[:-1]))


def _rule(name: str) -> ReplicationRule:
    rule = ReplicationRule.objects.filter(name=name).first()
    if rule is None:
        raise CommandError(f"There is no rule {name!r}; `exportrules` prints all rules.")
    return rule


def _state(token: ApiToken) -> str:
    if token.revoked_at:
        return f"revoked {_moment(token.revoked_at)}"
    if token.ends_at is None:
        return "valid without an end"
    has_ended = token.ends_at <= timezone.now()
    return f"{'ended' if has_ended else 'valid until'} {_moment(token.ends_at)}"


def _bound(token: ApiToken) -> str:
    if not token.is_bound:
        return ""
    return f"  rules: {', '.join(rule.name for rule in token.rules.all()) or 'none any more'}"


def _moment(when: datetime) -> str:
    return f"{when.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _in_words(error: ValidationError) -> str:
    return " ".join(
        f"{field}: {' '.join(messages)}" for field, messages in error.message_dict.items()
    )
