"""`manage.py secondfactor list|reset`"""

from argparse import ArgumentParser
from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError
from django.db.models import Exists, OuterRef
from django_otp.plugins.otp_totp.models import TOTPDevice

from replication.operations import second_factor
from replication.operations.audit import command_line_actor


class Command(BaseCommand):
    help = "Lists whose logins need a second factor, and removes it from who has lost theirs."

    def add_arguments(self, parser: ArgumentParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True, metavar="list|reset")
        verbs.add_parser("list", help="list all users with a password")
        reset = verbs.add_parser(
            "reset", help="have this user log in without a code, and set it up anew"
        )
        reset.add_argument("name")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["verb"] == "list":
            self._list()
        else:
            self._reset(options["name"])

    def _list(self) -> None:
        devices = TOTPDevice.objects.filter(user=OuterRef("pk"), confirmed=True)
        for user in User.objects.annotate(has_factor=Exists(devices)).order_by("username"):
            if user.has_usable_password():
                self.stdout.write(
                    f"{user.username}  {'second factor' if user.has_factor else 'password alone'}"
                )

    def _reset(self, name: str) -> None:
        user = User.objects.filter(username=name).first()
        if user is None:
            raise CommandError(f"There is no user {name!r}; `secondfactor list` shows all.")
        if not second_factor.remove([user], by=command_line_actor()):
            raise CommandError(f"{name} has no second factor.")
        self.stdout.write(f"{name} logs in without a code now, and can set a new one up.")
