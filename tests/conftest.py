"""Fixtures: the stand-ins, and `road`: a source, a rule, a destination and a queue on them."""

import os
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
import structlog
from django.conf import settings as django_settings
from django.db import connection
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from pytest_django import Settings

from replication.models import (
    Destination,
    EventQueue,
    ReplicationRule,
    Source,
)
from s3sync.postgresql.base import DatabaseWrapper
from sandbox.environment import connect_bucket_to_queue
from sandbox.ministack import MiniStack
from sandbox.moto import Moto
from sandbox.oss import OssServer
from tests.support.database import empty_quickly
from tests.support.environment import OSS_KEY_ID, OSS_KEY_SECRET
from tests.support.pgbouncer import PgBouncer
from tests.support.processes import eventually
from tests.support.processes import test_database_url as database_url
from tests.support.road import OSS_REGION, Log, Road

# No deadline for an example: a machine may be busy.
hypothesis_settings.register_profile(
    "ordinary", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
hypothesis_settings.load_profile("ordinary")
hypothesis_settings.register_profile("thorough", max_examples=20_000, deadline=None)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Use two workers a processor: many tests only wait for other processes."""
    return 2 * (os.cpu_count() or 1)


def pytest_configure() -> None:
    """Spend no time on what no test is about."""
    empty_quickly()
    # Django's own hash of a password takes 0.3 s, to be slow for whoever guesses passwords.
    django_settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def logged() -> Iterator[Log]:
    """The lines that structlog writes; pytest's caplog sees only the standard library's logging."""
    log = Log()
    processors = structlog.get_config()["processors"]
    processors.append(log.keep)
    yield log
    processors.remove(log.keep)


@pytest.fixture(scope="session")
def aws() -> Iterator[MiniStack]:
    """S3, SQS, SNS and EventBridge."""
    with MiniStack() as server:
        yield server


@pytest.fixture(scope="session")
def moto() -> Iterator[Moto]:
    """A second implementation of S3, by other authors."""
    with Moto() as server:
        yield server


@pytest.fixture
def limits(settings: Settings) -> Callable[..., None]:
    """A function that changes the service's settings for one test."""

    def limit(**values: Any) -> None:
        settings.S3SYNC = settings.S3SYNC.model_copy(update=values)

    return limit


@pytest.fixture
def oss() -> Iterator[OssServer]:
    """An OSS stand-in with one bucket, `replica`."""
    keys = {OSS_KEY_ID: OSS_KEY_SECRET}
    with OssServer(keys=keys, buckets=["replica"], region=OSS_REGION) as server:
        yield server


@pytest.fixture
def make_road(db: None, aws: MiniStack, oss: OssServer) -> Callable[..., Road]:
    """A function that makes a road with its own queue and, by default, its own source bucket.

    Keyword arguments are the fields of the rule.
    """

    def make(*, source_bucket: str = "", **fields: Any) -> Road:
        name = f"t{uuid4().hex[:12]}"
        bucket = source_bucket or name
        url = connect_bucket_to_queue(aws, bucket=bucket, queue=name)
        source = Source.objects.create(
            name=name, bucket=bucket, region=aws.region, endpoint_url=aws.endpoint_url
        )
        destination = Destination.objects.create(
            name=name, bucket="replica", endpoint=oss.endpoint, region=OSS_REGION
        )
        rule = ReplicationRule.objects.create(
            name=name, source=source, destination=destination, **fields
        )
        queue = EventQueue.objects.create(name=name, url=url, region=aws.region)
        return Road(aws, oss, source, destination, rule, queue)

    return make


@pytest.fixture
def road(make_road: Callable[..., Road]) -> Road:
    return make_road()


@pytest.fixture
def pooler(db: None) -> Iterator[PgBouncer]:
    """PgBouncer in transaction mode, by way of which the test's database can be reached."""
    with PgBouncer(database_url()) as server:
        yield server
    eventually(lambda: not server.server_connections())


@pytest.fixture
def pooled(pooler: PgBouncer, monkeypatch: pytest.MonkeyPatch) -> Iterator[PgBouncer]:
    """Lead this process's own database connections through PgBouncer, those of its threads too."""
    connection.close()
    with monkeypatch.context() as patch:
        patch.setitem(connection.settings_dict, "HOST", "127.0.0.1")
        patch.setitem(connection.settings_dict, "PORT", pooler.port)
        patch.setattr(DatabaseWrapper, "is_refused_settings", False)
        yield pooler
        connection.close()
