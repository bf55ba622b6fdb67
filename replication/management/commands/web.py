"""`manage.py web`: the web server with the admin, the status page and the API."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from s3sync.environment import refuse_published_secret_key
from s3sync.web_server import WebServer


class Command(BaseCommand):
    help = (
        "Runs the web server with the admin, the status page and the HTTP API until SIGTERM or "
        "Ctrl-C. It first finishes the requests that have begun, for up to 30 s."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--bind",
            default="127.0.0.1:8000",
            metavar="HOST:PORT",
            help="where to listen; 0.0.0.0:8000 is every IPv4 address of this host, and [::]:8000 "
            "IPv6 too (default: %(default)s)",
        )
        parser.add_argument(
            "--processes", type=int, default=2, help="how many processes (default: %(default)s)"
        )
        parser.add_argument(
            "--threads",
            type=int,
            default=8,
            help="how many requests each process carries out at once (default: %(default)s)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        refuse_published_secret_key(settings.S3SYNC)
        WebServer(
            bind=options["bind"], processes=options["processes"], threads=options["threads"]
        ).run()
